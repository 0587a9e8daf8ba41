"""The run: what a job gets, and what the package may do wrong without saying so."""

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import LcsdError, WorkError
from lcsd.io.images import Image
from lcsd.numerics.device import Compute
from lcsd.settings.totalsegmentator import TotalSegmentatorSettings
from lcsd.totalsegmentator import TASKS, Segmentation, Session, run, session
from lcsd.totalsegmentator.models import TOTAL_6MM, VESSELS_LEGACY
from tests.processes import LIMITS_S, gone
from tests.unit.totalsegmentator.made_up import made_up_child, made_up_weights, scan

TASK = TASKS["lung_vessels_LEGACY"]

MANY = """
import json, os, signal, sys
from pathlib import Path
import nibabel, numpy as np
for line in sys.stdin:
    request = json.loads(line)
    image = nibabel.load(request["input"])
    value = int(image.get_fdata()[0, 0, 0])
    if value == 66:
        os.kill(os.getpid(), signal.SIGKILL)
    print("Crop is empty" if value == 67 else "cropping from (0) to (20, 16, 12)", flush=True)
    data = np.ones(image.shape, np.uint8)
    nibabel.save(nibabel.Nifti1Image(data, image.affine), request["output"])
    status = Path(request["status"])
    status.with_name("new").write_text(json.dumps({"facts": {"pid": os.getpid()}}))
    status.with_name("new").replace(status)
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return made_up_weights(tmp_path / "weights", (TOTAL_6MM, VESSELS_LEGACY))


def ready(weights: Path, **options: float) -> AbstractContextManager[Session]:
    settings = TotalSegmentatorSettings(weights=weights, **options)
    return session(TASK, settings, on=Compute(threads=3))


def run_child(weights: Path, monkeypatch: pytest.MonkeyPatch, kind: str, **options: object) -> Segmentation:
    limit = float(options.pop("limit_s", 60.0))  # type: ignore[arg-type]
    child = made_up_child(weights.parent, kind, **options)  # type: ignore[arg-type]
    monkeypatch.setattr(run, "CHILD", (sys.executable, str(child)))
    with ready(weights, limit_s=limit) as found:
        return found.segment(scan(), min_crop_mm=(15.0, 12.0, 9.0), file=Path("fixed.nii.gz"))


def test_result_lies_on_the_scan(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run_child(weights, monkeypatch, "good")
    assert found.labels.grid.same_as(scan().grid)
    assert found.labels.array.sum() == 125
    assert found.labels.array[4:9, 4:9, 4:9].all()
    assert found.facts["crop_voxels"] == [20, 16, 12]
    assert found.facts["options"]["resampling_order"] == 1
    assert found.facts["nnunetv2"]
    assert len(found.facts["weights"]) == 6


def test_a_job_shares_nothing(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = weights / "Dataset302_vertebrae_body_1559subj"
    old.mkdir()
    monkeypatch.setenv("nnUNet_compile", "true")
    monkeypatch.setenv("TOTALSEG_DISABLE_HTTP1", "1")
    facts = run_child(weights, monkeypatch, "environment").facts
    assert facts["config"]["send_usage_stats"] is False
    assert facts["config"]["statistics_disclaimer_shown"] is True
    assert facts["links"] == sorted([TOTAL_6MM.folder, VESSELS_LEGACY.folder])
    assert facts["variables"]["OMP_NUM_THREADS"] == "3"
    assert facts["variables"]["nnUNet_def_n_proc"] == "3"
    assert "nnUNet_compile" not in facts["variables"]
    assert facts["job"]["options"]["nr_thr_saving"] == 1
    assert old.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "options", "code", "exit_code"),
    [
        ("good", {"label": 0}, "empty_result", 2),
        ("empty_crop", {"label": 0}, "empty_crop", 2),
        ("good", {"crop": "20, 3, 12"}, "flat_crop", 2),
        ("silent", {}, "unknown_version", 1),
        ("good", {"label": 7}, "unexpected_labels", 1),
        ("elsewhere", {}, "result_elsewhere", 1),
        ("flipped", {}, "result_elsewhere", 1),
        ("smaller", {}, "result_elsewhere", 1),
        ("no_result", {}, "no_result", 1),
        ("killed", {}, "out_of_memory", 1),
        ("crash", {}, "totalsegmentator_failed", 1),
        ("slow", {"limit_s": 1.0, "mark": "pid"}, "time_limit", 1),
    ],
)
def test_faults(
    kind: str, options: dict[str, object], code: str, exit_code: int, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "mark" in options:
        options = {**options, "mark": str(weights.parent / "pid")}
    with pytest.raises(LcsdError) as caught:
        run_child(weights, monkeypatch, kind, **options)
    assert caught.value.code == code
    assert caught.value.exit_code == exit_code
    assert "\n" not in caught.value.message


def test_small_scan_may_be_smaller_than_the_least_crop(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_up_child(weights.parent, "good")
    monkeypatch.setattr(run, "CHILD", (sys.executable, str(made)))
    with ready(weights) as found:
        found.segment(scan(), min_crop_mm=(500.0, 500.0, 500.0))


def test_bad_weights_start_no_process(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (weights / VESSELS_LEGACY.path / "plans.json").unlink()
    monkeypatch.setattr(run.subprocess, "Popen", lambda *_, **__: pytest.fail("it was started"))
    with pytest.raises(WorkError) as caught, ready(weights):
        pass
    assert caught.value.code == "weights_missing"


@pytest.mark.slow
def test_time_limit_ends_the_process(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = weights.parent / "pid"
    for limit_s in LIMITS_S:
        with pytest.raises(WorkError) as caught:
            run_child(weights, monkeypatch, "slow", limit_s=limit_s, mark=str(mark))
        assert caught.value.code == "time_limit"
        if mark.exists():
            break
    assert gone(int(mark.read_text()))


@pytest.mark.slow
def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    """The real process watches its parent: nothing computes on or lies about for a job gone."""
    job = tmp_path / "lcsd_ts_job"
    (job / "scan").mkdir(parents=True)
    (job / "scan" / "scan.nii.gz").write_text("a patient's")
    (tmp_path / "weights").mkdir()
    (job / "weights").symlink_to(tmp_path / "weights")
    child = (
        "import os, sys, time; from pathlib import Path;"
        "from lcsd.totalsegmentator.child import requests_of_parent;"
        f"requests_of_parent(Path({str(job)!r}));"
        f"Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid())); time.sleep(60)"
    )
    parent = (
        "import subprocess, sys;"
        f"p = subprocess.Popen([sys.executable, '-c', {child!r}], stdin=subprocess.PIPE,"
        " start_new_session=True); p.wait()"
    )
    process = subprocess.Popen([sys.executable, "-c", parent])
    for _ in range(200):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            break
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert gone(int((tmp_path / "pid").read_text()))
    assert not job.exists()
    assert (tmp_path / "weights").exists()


@pytest.mark.slow
def test_one_process_does_many_scans_and_a_new_one_follows_a_failure(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = weights.parent / "child.py"
    child.write_text(MANY)
    monkeypatch.setattr(run, "CHILD", (sys.executable, str(child)))
    pids = []
    with ready(weights) as found:
        for value in (1, 1, 66, 1, 67, 1):
            image = Image(np.full(scan().array.shape, value, np.int16), scan().grid)
            try:
                made = found.segment(image, min_crop_mm=(15.0, 12.0, 9.0))
            except LcsdError as error:
                pids.append(error.code)
            else:
                pids.append(made.facts["pid"])
                # The crop is read from this scan's part of the log.
                assert made.facts["crop_voxels"] == [20, 16, 12]
        alive = pids[-1]
    first, second, lost, third, bad, fourth = pids
    assert first == second
    assert lost == "out_of_memory"
    assert third != first
    assert bad == "empty_crop"
    assert fourth == third == alive
    assert gone(alive)


@pytest.mark.slow
def test_a_process_that_died_between_two_scans_costs_none(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = weights.parent / "child.py"
    child.write_text(MANY)
    monkeypatch.setattr(run, "CHILD", (sys.executable, str(child)))
    with ready(weights) as found:
        pids = []
        for _ in range(2):
            made = found.segment(scan(), min_crop_mm=(15.0, 12.0, 9.0))
            pids.append(made.facts["pid"])
            os.kill(pids[-1], signal.SIGKILL)
            # Not reaped, and its last thread has ended, too.
            os.waitid(os.P_PID, pids[-1], os.WEXITED | os.WNOWAIT)
    assert pids[0] != pids[1]
