"""Compiled kernels on machines whose installation and home cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lcsd.config import Config
from lcsd.monitor.doctor import examine
from lcsd.numerics import kernel_cache


@pytest.fixture
def read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make package and home look read-only; return the folder for temporary files."""
    monkeypatch.setenv(kernel_cache.VARIABLE, "")  # as if unset; what is set is undone after the test
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(kernel_cache, "writable", lambda place: tmp_path in place.parents)
    return tmp_path


def state_of_doctor() -> str:
    findings = examine(Config(manifest=Path("pairs.tsv")))
    return next(finding.state for finding in findings if finding.name == "compiled code")


def test_a_usual_machine_stores_code_beside_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel_cache.VARIABLE, "")  # as if unset; what is set is undone after the test
    kernel_cache.prepare()
    assert not os.environ[kernel_cache.VARIABLE]
    assert kernel_cache.folder() in kernel_cache.usual_folders()
    assert state_of_doctor() == "good"


def test_a_read_only_machine_gets_a_private_folder(read_only: Path) -> None:
    kernel_cache.prepare()
    found = Path(os.environ[kernel_cache.VARIABLE])
    assert found.parent == read_only
    assert found.stat().st_mode & 0o077 == 0
    assert state_of_doctor() == "risky"


@pytest.mark.parametrize("trap", ["file", "link", "open"])
def test_a_folder_of_another_is_not_trusted(read_only: Path, trap: str) -> None:
    place = read_only / f"{kernel_cache.PRIVATE_NAME}{os.getuid()}"
    other = read_only / "other"
    other.mkdir()
    if trap == "link":
        place.symlink_to(other)
    elif trap == "open":
        place.mkdir()
        place.chmod(0o777)
    else:
        place.write_text("")
    kernel_cache.prepare()
    chosen = os.environ.get(kernel_cache.VARIABLE)
    assert chosen != str(place)
    assert trap == "file" or chosen is not None


def test_an_inherited_folder_is_judged_again(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job on another machine inherits the name of a folder that somebody else may have made there."""
    other = read_only / f"{kernel_cache.PRIVATE_NAME}other"
    other.mkdir()
    other.chmod(0o777)
    monkeypatch.setenv(kernel_cache.VARIABLE, str(other))
    kernel_cache.prepare()
    assert os.environ[kernel_cache.VARIABLE] != str(other)
    other.chmod(0o700)
    monkeypatch.setenv(kernel_cache.VARIABLE, str(other))
    kernel_cache.prepare()
    assert os.environ[kernel_cache.VARIABLE] == str(other)


def test_a_choice_of_the_user_stays(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel_cache.VARIABLE, "/mine")
    kernel_cache.prepare()
    assert os.environ[kernel_cache.VARIABLE] == "/mine"


def test_nowhere_to_write_is_said(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_cache, "writable", lambda _: False)
    monkeypatch.setattr(kernel_cache.tempfile, "tempdir", str(read_only / "none" / "there"))
    kernel_cache.prepare()
    assert kernel_cache.folder() is None
    assert state_of_doctor() == "missing"


def test_folders_that_do_not_exist_are_judged_by_the_one_above(tmp_path: Path) -> None:
    assert kernel_cache.writable(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    assert not kernel_cache.writable(tmp_path / "file" / "b")


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a folder read-only")
@pytest.mark.slow
def test_a_command_runs_on_a_read_only_installation(tmp_path: Path) -> None:
    """The kernels compile into the private folder where package and home are mounted read-only (numba, issue 4908)."""
    package = kernel_cache.PACKAGE
    (tmp_path / "private").mkdir()
    script = f"""
    mount --bind {package} {package} && mount -o remount,ro,bind {package} || exit 77
    export HOME={package} TMPDIR={tmp_path / "private"}; unset XDG_CACHE_HOME
    exec {sys.executable} -c '
import numpy as np, lcsd
from lcsd.numerics.approximations import exp_negative
print(lcsd.numerics.kernel_cache.folder())'
    """
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this machine does not let a process have its own mounts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().startswith(str(tmp_path / "private"))
    assert list((tmp_path / "private").glob("*"))
