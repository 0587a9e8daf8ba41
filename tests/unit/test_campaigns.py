"""The campaigns of benchmarks/reliability see what they are there to see."""

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.reliability import isolation, kills
from benchmarks.reliability.processes import commands_of, descendants, kill_tree, working_in
from benchmarks.reliability.small import faults_of, hashes_of
from lcsd.build.provenance import OWN_DIGEST, own_digest
from lcsd.io.files import write_json
from tests.workflow.conftest import Workspace

TIMEOUT_S = 30


def ended(folder: Path) -> bool:
    """Whether no process works in a folder any more; those that were killed take a moment to end."""
    end = time.monotonic() + TIMEOUT_S
    while (working := working_in(folder)) and time.monotonic() < end:
        time.sleep(0.02)
    return not working


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A build of one case with an output and its provenance."""
    folder = tmp_path / "cases" / "a" / "scans"
    folder.mkdir(parents=True)
    (folder / "fixed.nii.gz").write_bytes(b"voxels")
    record: dict[str, object] = {"stage": "convert"}
    write_json(folder / "fixed.provenance.json", {**record, OWN_DIGEST: own_digest(record)})
    return tmp_path


def test_undisturbed_files_have_no_fault(results: Path) -> None:
    expected = hashes_of(results)
    assert list(expected) == ["cases/a/scans/fixed.nii.gz"]
    # A rest under a temporary name, as a kill leaves it, is no file of the build.
    (results / "cases/a/scans/.0123456789ab.tmp.fixed.nii.gz").write_bytes(b"vo")
    assert hashes_of(results) == expected
    assert faults_of(results, expected) == []


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("fixed.nii.gz", b"vox", "differs"),
        ("moving.nii.gz", b"voxels", "not in the undisturbed build"),
        ("tmp.fixed.nii.gz", b"voxels", "not in the undisturbed build"),
        ("../rejected.json", b"{}", "not in the undisturbed build"),
        ("fixed.provenance.json", b'{"stage": "con', "damaged"),
        ("fixed.provenance.json", b'{"stage": "convert"}', "damaged"),
    ],
)
def test_a_partial_a_foreign_and_a_broken_file_are_faults(results: Path, name: str, content: bytes, fault: str) -> None:
    expected = hashes_of(results)
    (results / "cases" / "a" / "scans" / name).write_bytes(content)
    (found,) = faults_of(results, expected)
    assert fault in found


def test_a_tree_is_killed_with_all_that_it_started(tmp_path: Path) -> None:
    """A shell, a shell in a session of its own below it, and a process below that."""
    root = subprocess.Popen(["bash", "-c", "setsid bash -c 'sleep 600; true'; true"], cwd=tmp_path)
    end = time.monotonic() + TIMEOUT_S
    while len(working_in(tmp_path)) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    assert len(descendants(root.pid)) == 2
    kill_tree(root.pid)
    root.wait()
    assert ended(tmp_path)


def test_jobs_are_the_commands_and_not_their_shells(tmp_path: Path) -> None:
    command = tmp_path / "lcsd"
    command.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    command.chmod(0o755)
    root = subprocess.Popen(["bash", "-c", f"{command} cloud; true"])
    end = time.monotonic() + TIMEOUT_S
    while not (found := commands_of(root.pid)) and time.monotonic() < end:
        time.sleep(0.02)
    (job,) = found
    assert job != root.pid
    kill_tree(root.pid)
    root.wait()


@pytest.mark.slow
def test_a_build_that_hangs_is_killed_and_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its end, and after one of its jobs was killed: the shell that waits for it goes on."""
    command = tmp_path / "lcsd"
    command.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    command.chmod(0o755)
    monkeypatch.setattr(kills, "RUN_S", 0.5)
    started: list[subprocess.Popen[bytes]] = []

    def start(_: object) -> subprocess.Popen[bytes]:
        hanging = ["bash", "-c", f"{command} cloud; sleep 600; true"]
        started.append(subprocess.Popen(hanging, cwd=tmp_path))
        return started[-1]

    monkeypatch.setattr(kills, "start", start)
    build = Workspace(tmp_path, tmp_path / "pairs.tsv")
    draw = random.Random(0)  # noqa: S311 - nothing to be kept secret
    for wanted in (0, 1):
        (fault,) = kills.one_build(build, {}, kills.Tally(wanted), draw, 0.1, print)
        assert "hangs" in fault
        assert started[-1].poll() is not None
        assert ended(tmp_path)
    assert len(started) == 2


@pytest.mark.parametrize(("faults", "code"), [([], 0), (["a: missing"], 1)])
def test_tally_is_the_last_line_and_decides_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], faults: list[str], code: int
) -> None:
    tally = kills.Tally(3, Counter(job=1, snakemake=1, tree=1), 2, faults)
    monkeypatch.setattr(kills, "campaign", lambda *_, **__: tally)
    for name in ("small_cohort", "undisturbed_build"):
        monkeypatch.setattr(kills, name, lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["kills", "3"])
    with pytest.raises(SystemExit) as ended:
        kills.main()
    assert bool(ended.value.code) == bool(code)
    end = "1 faults" if faults else "0 outputs differ"
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"3 kills (1 job, 1 snakemake, 1 tree) in 2 builds: {end}"


def test_isolation_counts_what_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for arguments in (["20"], ["5", "--broken", "0"], ["50", "--broken", "21"]):
        monkeypatch.setattr(sys, "argv", ["isolation", *arguments])
        with pytest.raises(SystemExit) as ended:
            isolation.main()
        assert ended.value.code == 2
