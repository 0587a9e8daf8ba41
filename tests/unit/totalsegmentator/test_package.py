"""The unmodified package with small models of its own layout: both vessel tasks, lobes, crops."""

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.build.provenance import provenance_path
from lcsd.geometry import Grid
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, write_image, write_mask
from tests.models.anatomy import VESSEL, Truth, box_truth, coarse_truth

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("totalsegmentator")]

WEIGHTS = Path(__file__).resolve().parents[2] / "models" / "weights"
UNSEEN_SEED = 960


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def lcsd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "XDG_CONFIG_HOME": str(folder / "config"),
        "HOME": str(folder),
        "TOTALSEG_WEIGHTS_PATH": str(WEIGHTS),
        "PYTHONPATH": str(Path(__file__).resolve().parents[3]),
    }
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        done = subprocess.run(
            [sys.executable, "-c", "from lcsd.cli.main import main; main()", *arguments],
            env={**environment, "TMPDIR": temporary},
            capture_output=True,
            text=True,
            check=False,
        )
        assert list(Path(temporary).iterdir()) == []
    return done


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture(scope="module")
def box() -> Truth:
    return box_truth(UNSEEN_SEED)


def write(folder: Path, truth: Truth) -> list[str]:
    write_image(folder / "ct.nii.gz", truth.common, dtype=np.int16)
    write_mask(folder / "lungs.nii.gz", truth.common_lungs)
    return [str(folder / "ct.nii.gz"), "--lungs", str(folder / "lungs.nii.gz")]


def vessels(truth: Truth) -> NDArray[np.bool_]:
    return (truth.tubes.array == VESSEL) & truth.common_lungs.array


def test_both_vessel_tasks_at_once(box: Truth, tmp_path: Path, record_property: object) -> None:
    """Two jobs share the weights folder; neither changes it, and both are right."""
    image, *lungs = write(tmp_path, box)
    before = state(WEIGHTS)

    def job(task: str) -> subprocess.CompletedProcess[str]:
        return lcsd(
            tmp_path,
            "vessels",
            image,
            str(tmp_path / f"{task}.nii.gz"),
            *lungs,
            "--json",
            "--backend",
            "totalsegmentator",
            "--set",
            f"totalsegmentator.task={task}",
            "--threads",
            "1",
        )

    tasks = ("lung_vessels_LEGACY", "lung_vessels")
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(job, tasks))
    assert [r.returncode for r in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    assert state(WEIGHTS) == before
    assert not (tmp_path / ".totalsegmentator").exists()
    legacy, parted = (read_image(tmp_path / f"{task}.nii.gz") for task in tasks)
    for found in (legacy, parted):
        assert found.grid.same_as(box.common.grid)
    assert np.unique(legacy.array).tolist() == [0, 1]
    assert np.unique(parted.array).tolist() == [0, 1, 2]
    score = dice(legacy.array > 0, vessels(box))
    record_property("dice", score)  # type: ignore[operator]
    assert score > 0.75
    # The model of the parted task is a stand-in; where it finds vessels there are vessels.
    near = ndimage.binary_dilation(vessels(box))
    assert near[parted.array > 0].mean() > 0.85
    assert np.roll(near, 4, axis=0)[parted.array > 0].mean() < 0.7
    facts = read_json(provenance_path(tmp_path / "lung_vessels.nii.gz"))["facts"]["backend"]
    assert facts["totalsegmentator"]
    assert facts["options"]["task"] == "lung_vessels"
    assert any(name.startswith("Dataset117") for name in facts["weights"])
    assert any(name.startswith("Dataset297") for name in facts["weights"])
    assert json.loads(runs[1].stdout)["backend"] == "totalsegmentator"


def test_a_scan_without_lungs(tmp_path: Path) -> None:
    """The package writes zeros here and says nothing."""
    grid = Grid((48, 48, 48), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    write_image(tmp_path / "ct.nii.gz", Image(np.full(grid.shape, 40, np.int16), grid), dtype=np.int16)
    run = lcsd(
        tmp_path,
        "lungs",
        str(tmp_path / "ct.nii.gz"),
        str(tmp_path / "m.nii.gz"),
        "--method",
        "totalsegmentator",
        "--set",
        "totalsegmentator.model=fastest",
        "--threads",
        "1",
    )
    assert run.returncode == 2, run.stderr
    assert "[empty_crop]" in run.stderr
    assert not (tmp_path / "m.nii.gz").exists()


def test_full_anatomy(tmp_path: Path, record_property: object) -> None:
    """Both lungs of a whole unseen scan, and the vessels of all of the left one; the box lies in the right one."""
    truth = coarse_truth(UNSEEN_SEED)
    write_image(tmp_path / "native.nii.gz", truth.native, dtype=np.int16)
    run = lcsd(
        tmp_path,
        "lungs",
        str(tmp_path / "native.nii.gz"),
        str(tmp_path / "m.nii.gz"),
        "--method",
        "totalsegmentator",
        "--threads",
        "2",
        "--set",
        "totalsegmentator.model=fastest",
    )
    assert run.returncode == 0, run.stderr
    score = dice(read_mask(tmp_path / "m.nii.gz").array, truth.lungs.array)
    record_property("lung dice", score)  # type: ignore[operator]
    assert score > 0.85
    image, *lungs = write(tmp_path, truth)
    out = tmp_path / "v.nii.gz"
    run = lcsd(tmp_path, "vessels", image, str(out), *lungs, "--backend", "totalsegmentator", "--threads", "2")
    assert run.returncode == 0, run.stderr
    score = dice(read_mask(out).array, vessels(truth))
    record_property("vessel dice", score)  # type: ignore[operator]
    assert score > 0.78
