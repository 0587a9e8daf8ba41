"""Jobs whose build has ended: they are told, write nothing and end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import WorkError
from lcsd.io import orphans
from lcsd.io.files import atomic_path
from lcsd.io.orphans import BUILD_VARIABLE, build_process, orphaned, watch

TIMEOUT_S = 60


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> int:
    """Make this process a job of a build that has ended; return the build's process id."""
    build = subprocess.Popen([sys.executable, "-c", ""])
    build.wait()
    monkeypatch.setenv(BUILD_VARIABLE, str(build.pid))
    return build.pid


@pytest.mark.parametrize("value", ["", "0", "1", "-3", "none"])
def test_without_a_build_nothing_is_an_orphan(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(BUILD_VARIABLE, value)
    assert build_process() is None
    assert not orphaned()
    monkeypatch.delenv(BUILD_VARIABLE)
    assert not orphaned()


def test_a_build_is_an_ancestor_however_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUILD_VARIABLE, str(os.getpid()))
    child = "from lcsd.io.orphans import orphaned; print(orphaned())"
    direct = [sys.executable, "-c", child]
    behind_a_shell = ["bash", "-c", f"{sys.executable} -c '{child}'; true"]
    for command in (direct, behind_a_shell):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"


def test_a_process_that_is_no_ancestor_is_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        monkeypatch.setenv(BUILD_VARIABLE, str(other.pid))
        assert orphaned()
        other.kill()


def test_an_orphan_writes_nothing(ended: int, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("newer")
    with pytest.raises(WorkError) as caught, atomic_path(path) as temporary:
        temporary.write_text("older")
    assert caught.value.code == "build_ended"
    assert path.read_text() == "newer"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_command_of_an_ended_build_does_not_begin(ended: int, tmp_path: Path) -> None:
    rejected = tmp_path / "rejected.json"
    arguments = ["lungs", str(tmp_path / "a.nii.gz"), str(tmp_path / "b.nii.gz")]
    result = CliRunner().invoke(main, [*arguments, "--rejected", str(rejected)])
    assert result.exit_code == 1
    assert "build_ended" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_watch_tells_an_orphan_once(ended: int, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    monkeypatch.setattr(orphans, "POLL_S", 0.01)
    watch(lambda: told.append(True))
    end = time.monotonic() + TIMEOUT_S
    while not told and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)
    assert told == [True]


@pytest.mark.slow
def test_a_job_ends_with_its_build_and_is_no_fault_of_the_case(tmp_path: Path) -> None:
    """A build, its shell and a job that would go on for minutes; the build alone is killed."""
    job = tmp_path / "job.py"
    job.write_text(
        "import time\n"
        "from pathlib import Path\n"
        "import click\n"
        "from lcsd.cli.common import stage\n"
        "from lcsd.cli.options import FILE\n"
        "from lcsd.settings.cloud import CloudSettings\n"
        "@click.command()\n"
        "@click.argument('out', type=FILE)\n"
        "@stage('cloud', CloudSettings)\n"
        "def command(run, out):\n"
        "    print('started', flush=True)\n"
        "    time.sleep(600)\n"
        "command()\n"
    )
    shell = (
        f"export {BUILD_VARIABLE}=$PPID;"
        f" {sys.executable} {job} {tmp_path}/out --rejected {tmp_path}/rejected.json"
        f" > {tmp_path}/log 2>&1; echo $? > {tmp_path}/code.part;"
        f" mv {tmp_path}/code.part {tmp_path}/code"
    )
    build = subprocess.Popen([sys.executable, "-c", f"import subprocess; subprocess.run(['bash', '-c', {shell!r}])"])
    _wait_for(lambda: "started" in _text(tmp_path / "log"), tmp_path)
    build.kill()
    build.wait()
    _wait_for((tmp_path / "code").exists, tmp_path)
    assert (tmp_path / "code").read_text() == "143\n"
    assert "the build that started this job has ended" in _text(tmp_path / "log")
    assert not (tmp_path / "rejected.json").exists()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def _wait_for(condition, folder: Path) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < end, _text(folder / "log")
        time.sleep(0.05)
