"""``lcsd status`` and ``lcsd case`` beside a real Snakemake."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from lcsd.build import Build
from lcsd.case import why
from lcsd.cli import main as cli
from lcsd.status import Status, snapshot, status
from tests.workflow.conftest import PROFILE, ROOT, TINY, Workspace, rows_of

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TIMEOUT_S = 300


def build_of(workspace: Workspace) -> Build:
    return Build.from_file(workspace.folder / "config.yaml", results=workspace.results)


def looked(workspace: Workspace) -> Status:
    return status(workspace.results, build_of(workspace), directory=workspace.folder)


def test_a_running_a_killed_and_an_unlocked_build(cohort: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, cohort)
    workspace.results.mkdir()
    cases = [row["case"] for row in rows_of(cohort)]
    targets = [f"results/cases/{case}/lungs/fixed.nii.gz" for case in cases]
    process = subprocess.Popen(
        workspace.command(*targets), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + TIMEOUT_S
        found = looked(workspace)
        while not (found.count("running") and found.count("done")) and time.monotonic() < end:
            assert process.poll() is None, "the build ended before it was seen at work"
            time.sleep(0.1)
            found = looked(workspace)
        assert found.state == "running"
        assert found.folder == str(tmp_path)
        assert found.count("failed") == 0
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    killed = looked(workspace)
    assert killed.state == "locked"
    assert killed.count("running") >= 1
    workspace.snakemake("--unlock")
    unlocked = looked(workspace)
    assert unlocked.state == "idle"
    assert unlocked.count("running") == 0
    assert unlocked.count("failed") >= 1
    assert any(failure.message.startswith("cut off") for failure in unlocked.failures)
    workspace.snakemake(*targets)
    after = looked(workspace)
    assert after.count("failed") + after.count("running") == 0
    lungs = next(stage for stage in after.stages if stage.stage == "lungs")
    assert lungs.counts["done"] == len(cases)


def test_a_finished_build_has_ended(built: Workspace) -> None:
    built.command()  # the configuration of the build, whatever a test before has written
    found = looked(built)
    assert (found.state, found.finished, found.ended) == ("idle", found.cases, True)
    assert all(stage.median_s is not None for stage in found.stages)
    assert found.going is not None
    assert found.left.eta_s == 0


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"workflow": {"registration_cloud": "keypoints"}},
        {"lungs": {"closing_mm": 9.0}},
        {"vessels": {"objectness": {"least_hu": 190.0}}, "report": {"pages": 3}},
        {"fetch": {"retries": 9}},
    ],
    ids=lambda change: "-".join(change) or "nothing",
)
def test_what_is_said_to_run_is_what_snakemake_would_run(
    built: Workspace, change: dict[str, dict[str, object]]
) -> None:
    tiny = yaml.safe_load(TINY.read_text())
    planned = built.planned({name: tiny.get(name, {}) | value for name, value in change.items()})
    build, now = build_of(built), snapshot(built.results, built.folder)
    counts: dict[str, int] = {}
    for case in build.pairs:
        for job, causes in why(build, case, now).items():
            if any(cause.runs for cause in causes):
                counts[job.stage] = counts.get(job.stage, 0) + 1
    of_build = {name: planned[name] for name in planned if name not in ("report", "all", "total")}
    assert counts == of_build


def called(workspace: Workspace, *arguments: str) -> str:
    """Run ``lcsd case`` with the workspace's Snakefile and return what it printed."""
    command = [
        sys.executable, "-c", f"from {cli.__name__} import main; main()", "case", *arguments,
        "--config", "config.yaml", "--profile", str(PROFILE),
    ]  # fmt: skip
    done = subprocess.run(
        [*command, "--", "--snakefile", str(ROOT / "Snakefile")], cwd=workspace.folder,
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_case_is_made_again_from_a_stage_on_and_no_other(built: Workspace) -> None:
    built.command()
    first, second = (row["case"] for row in rows_of(built.manifest))
    before = {case: built.hashes(case) for case in (first, second)}
    times = {path: path.stat().st_mtime_ns for path in (built.results / "cases").rglob("*.npz")}
    printed = called(built, first, "--from", "cloud", "--dry-run")
    assert set(re.findall(r"^(\w+) +1$", printed, re.MULTILINE)) == {
        "cloud", "keypoints", "register",
    }  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in times} == times
    printed = called(built, first, "--from", "keypoints")
    assert f"--forcerun keypoints -- results/cases/{first}/clouds/fixed_keypoints.npz" in printed
    assert {case: built.hashes(case) for case in (first, second)} == before
    changed = {path for path in times if path.stat().st_mtime_ns != times[path]}
    folder = built.results / "cases" / first / "clouds"
    assert changed == {folder / f"{scan}_keypoints.npz" for scan in ("fixed", "moving")}
    # The other tests share this build; its report is older than these clouds now.
    built.snakemake()
