"""The command that tests a GPU: what it finds on a device is counted, compared and never passed over."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu

FEW = (
    gpu.Task("rasterise and gradient", "500, 12^3", gpu.raster(500, 12), gpu.ROUNDING, "share", 1),
    gpu.Task("distance and gradient", "500, 12^3", gpu.distance(500, 12), gpu.SIGNS, "share", 1),
    gpu.Task("register, fast", "300", gpu.registration(300, "fast"), gpu.NEAR_MM, "mm", 1),
)


@pytest.mark.slow
def test_the_cpu_agrees_with_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--device", "cpu", "--out", str(tmp_path)], FEW) == 0
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["tests"] is None
    assert [row["apart"] for row in found["rows"]] == [0, 0, 0]
    assert all(row["agrees"] and row["cpu_s"] > 0 and row["device_s"] > 0 for row in found["rows"])
    text = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert text.endswith(capsys.readouterr().out)
    assert text.count("| agrees |") == len(FEW)


def test_the_volume_that_corrfield_gets_has_keypoints() -> None:
    (field,) = gpu.correspondences(40)("cpu")()
    assert field.shape == (40**3, 3)
    assert np.isfinite(field).all()
    assert np.abs(field).max() > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_card_it_refuses_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu.main(["--out", str(tmp_path)], FEW) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "[no_cuda]" in said.err
    assert not list(tmp_path.iterdir())


def task(on_cpu: float, elsewhere: Callable[[], float]) -> gpu.Task:
    def prepare(device: str) -> gpu.Work:
        return lambda: [np.full((2, 3), on_cpu if device == "cpu" else elsewhere())]

    return gpu.Task("made up", "2", prepare, 0.1, "mm", 1)


def broken() -> float:
    raise RuntimeError("CUDA error: an illegal instruction\nmore")


@pytest.mark.parametrize(
    ("elsewhere", "agrees"),
    [(lambda: 1.0, True), (lambda: 1.05, True), (lambda: 1.07, False), (lambda: math.nan, False), (broken, False)],
)
def test_what_differs_or_fails_on_the_device_does_not_agree(elsewhere: Callable[[], float], agrees: bool) -> None:
    row = gpu.compared(task(1.0, elsewhere), "elsewhere")
    assert row.agrees == agrees
    assert bool(row.why) == (elsewhere is broken)
    assert gpu.passes(None, [row]) == agrees


def test_a_share_is_of_the_length_of_each_array() -> None:
    shares = gpu.Task("made up", "2", lambda _: list, 0.1, "share", 1)
    one, other = [np.ones(4), np.array([3.0, 4.0])], [np.ones(4), np.array([3.0, 4.5])]
    assert gpu.apart(shares, one, other) == pytest.approx(0.5 / math.hypot(3, 4.5))
    assert gpu.apart(shares, [np.zeros(2)], [np.zeros(2)]) == 0


def test_no_task_starts_late() -> None:
    found, rows = gpu.examine("cpu", FEW, budget_s=-1.0)
    assert not any(row.agrees for row in rows)
    assert all(row["cpu_s"] is None and row["why"] for row in found["rows"])
    assert gpu.table(found, rows).count("left out") == len(FEW)


MADE_UP = """
import pytest
pytestmark = pytest.mark.cuda
def test_passes(): pass
def test_passes_too(): pass
def test_fails(): assert False
def test_skips(): pytest.skip("no")
"""


@pytest.mark.slow
def test_tests_are_counted(tmp_path: Path) -> None:
    (tmp_path / "test_made_up.py").write_text(MADE_UP, encoding="utf-8")
    assert gpu.cuda_tests(tmp_path, 60.0) == {"passed": 2, "failed": 1, "skipped": 1}
    assert gpu.cuda_tests(tmp_path, 0.01) == {"passed": 0, "failed": 1, "skipped": 0}


@pytest.mark.parametrize(
    ("passed", "failed", "skipped", "good"), [(5, 0, 0, True), (5, 1, 0, False), (5, 0, 1, False), (0, 0, 0, False)]
)
def test_no_test_may_fail_or_be_skipped(passed: int, failed: int, skipped: int, good: bool) -> None:
    assert gpu.passes({"passed": passed, "failed": failed, "skipped": skipped}, []) == good
