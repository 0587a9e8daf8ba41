"""Vessels by TotalSegmentator: what becomes of its labels (its own run: the slow tests)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.clouds import dense_cloud
from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid
from lcsd.images import Image, read_image, write_image, write_mask
from lcsd.settings.totalsegmentator import VesselTaskSettings
from lcsd.settings.vessels import VesselsSettings
from lcsd.totalsegmentator import Segmentation
from lcsd.vessels import make_vessels, totalsegmentator

GRID = Grid((20, 16, 12), (1.5, 1.5, 2.0), (10.0, -40.0, 300.0))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-in for the run: ``labels`` is what it gives; records what it is called with."""
    content: dict[str, Any] = {"labels": np.zeros(GRID.shape, np.uint8)}

    def fake(scan: Image, task: object, settings: object, **options: Any) -> Segmentation:
        content.update(options, task=task)
        return Segmentation(Image(content["labels"], scan.grid), {"torch": "x"}, 1.0)

    monkeypatch.setattr(totalsegmentator, "segment", fake)
    return content


def lungs() -> Image:
    mask = np.zeros(GRID.shape, bool)
    mask[2:10, 3:13, 4:16] = True
    return Image(mask, GRID)


def settings(**options: Any) -> VesselsSettings:
    return VesselsSettings(
        backend="totalsegmentator", totalsegmentator=VesselTaskSettings(**options)
    )


def scan() -> Image:
    return Image(np.full(GRID.shape, -800, np.int16), GRID)


def test_legacy_vessels_are_one_label_inside_the_lungs(calls: dict[str, Any]) -> None:
    calls["labels"][4:8, 5, 0:20] = 1
    calls["labels"][4:8, 8, 4:16] = 2  # airways
    found = make_vessels(scan(), lungs(), settings(), device="cuda", threads=3)
    assert found.mask.array.dtype == bool
    expected = (calls["labels"] == 1) & lungs().array
    assert (found.mask.array == expected).all()
    assert found.cut_voxels == 4 * 8
    assert found.facts == {"torch": "x"}
    assert (calls["device"], calls["threads"]) == ("cuda", 3)
    assert calls["task"].task == "lung_vessels_LEGACY"
    # Half of the lungs' 12 x 10 x 8 voxels of 1.5 x 1.5 x 2 mm.
    assert calls["least_crop_mm"] == (9.0, 7.5, 8.0)


def test_reach_outside_the_lungs(calls: dict[str, Any]) -> None:
    calls["labels"][6, 5, 0:20] = 1
    found = make_vessels(scan(), lungs(), settings(outside_mm=3.0))
    assert np.flatnonzero(found.mask.array[6, 5]).tolist() == list(range(2, 18))
    assert found.cut_voxels == 4


def test_arteries_and_veins_become_labels_of_the_cloud(calls: dict[str, Any]) -> None:
    for row, label in enumerate((1, 2, 3, 4)):
        calls["labels"][5, 4 + row, 6:12] = label
    found = make_vessels(scan(), lungs(), settings(task="lung_vessels")).mask
    assert found.array.dtype == np.uint8
    assert np.unique(found.array).tolist() == [0, 1, 2]
    assert (found.array[5, 6, 6:12] == 1).all()
    assert (found.array[5, 7, 6:12] == 2).all()
    cloud = dense_cloud(found)
    assert cloud.label is not None
    assert cloud.label.tolist() == [1] * 6 + [2] * 6


def test_missing_labels(calls: dict[str, Any]) -> None:
    calls["labels"][5, 5, 6:12] = 3
    with pytest.raises(WorkError) as caught:
        make_vessels(scan(), lungs(), settings(task="lung_vessels"), file=Path("fixed.nii.gz"))
    assert caught.value.code == "missing_labels"
    assert "lung_veins" in caught.value.message
    calls["labels"][:] = 2
    with pytest.raises(WorkError) as caught:
        make_vessels(scan(), lungs(), settings())
    assert caught.value.code == "missing_labels"


def test_vessels_outside_only_empty_lungs_and_other_grid(calls: dict[str, Any]) -> None:
    calls["labels"][0, 0, 0] = 1
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), lungs(), settings())
    assert caught.value.code == "empty_vessels"
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), Image(np.zeros(GRID.shape, bool), GRID), settings())
    assert caught.value.code == "empty_lungs"
    moved = Grid(GRID.size, GRID.spacing, (0.0, 0.0, 0.0))
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), Image(lungs().array, moved), settings())
    assert caught.value.code == "grid_mismatch"


def test_command(calls: dict[str, Any], tmp_path: Path) -> None:
    calls["labels"][5, 5, 6:12] = 3
    calls["labels"][5, 7, 6:12] = 4
    write_image(tmp_path / "ct.nii.gz", scan(), dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", lungs())
    arguments = ["vessels", str(tmp_path / "ct.nii.gz"), str(tmp_path / "v.nii.gz")]
    arguments += ["--lungs", str(tmp_path / "lungs.nii.gz")]
    chosen = ["--backend", "totalsegmentator", "--set", "totalsegmentator.task=lung_vessels"]
    run = CliRunner().invoke(main, [*arguments, *chosen, "--threads", "2", "--json"])
    assert run.exit_code == 0, run.output
    assert np.unique(read_image(tmp_path / "v.nii.gz").array).tolist() == [0, 1, 2]
    assert '"voxels": 12' in run.stdout
    assert calls["threads"] == 2


def test_commands_without_weights_or_gpu(tmp_path: Path) -> None:
    write_image(tmp_path / "ct.nii.gz", scan(), dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", lungs())
    base = ["vessels", str(tmp_path / "ct.nii.gz"), str(tmp_path / "v.nii.gz")]
    base += ["--lungs", str(tmp_path / "lungs.nii.gz")]
    chosen = ["--backend", "totalsegmentator"]
    where = ["--set", f"totalsegmentator.weights={tmp_path}"]
    run = CliRunner().invoke(main, [*base, *chosen, *where])
    assert run.exit_code == 1
    assert "[weights_missing]" in run.stderr
    assert not (tmp_path / "v.nii.gz").exists()


def test_objectness_refuses_a_gpu() -> None:
    with pytest.raises(BadInputError) as caught:
        make_vessels(scan(), lungs(), device="cuda")
    assert caught.value.code == "bad_usage"
