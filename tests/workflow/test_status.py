"""``lcsd status`` beside a real Snakemake."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lcsd.monitor.status import Status, status
from tests.workflow.conftest import Workspace, rows_of

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

TIMEOUT_S = 300


def looked(workspace: Workspace) -> Status:
    return status(workspace.results, workspace.build(), directory=workspace.folder)


def test_a_running_a_killed_and_an_unlocked_build(cohort: Path, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, cohort)
    workspace.results.mkdir()
    cases = [row["case"] for row in rows_of(cohort)]
    targets = [f"results/cases/{case}/lungs/fixed.nii.gz" for case in cases]
    process = subprocess.Popen(
        workspace.command(*targets), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
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
    assert any(failure.message.startswith("interrupted") for failure in unlocked.failures)
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
