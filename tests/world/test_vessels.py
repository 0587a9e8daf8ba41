"""Vessel masks of the world: what is no vessel mask is refused at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.geometry import Grid
from lcsd.io.images import Image, write_image
from lcsd.io.points import read_cloud
from lcsd.settings.gates import GatesSettings
from lcsd.vessels.gates import judge, scan_figures
from tests.world import anatomy


@dataclass(frozen=True)
class Row:
    """A mask of one block of voxels, where such was reported, and the outcome: a reason code, or the points."""

    kind: str
    source: str
    name: str
    edges: tuple[int, int, int]  # of the block, voxels
    voxel_mm: float
    code: str = ""


ROWS = [
    Row("runaway input", "made up: a lung mask given as vessels", "lungs", (190, 150, 190), 1.0, "too_much_vessel"),
    Row("runaway input", "made up: the same, coarse", "coarse_lungs", (36, 30, 36), 5.0, "too_much_vessel"),
    Row("runaway input", "made up: vessels of a fine scan", "fine_vessels", (400, 20, 20), 0.5),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_masks_that_are_no_vessels(row: Row, tmp_path: Path) -> None:
    shape = tuple(edge + 2 for edge in row.edges)
    array = np.zeros(shape[::-1], np.uint8)
    array[1:-1, 1:-1, 1:-1] = 1
    write_image(
        tmp_path / "mask.nii.gz", Image(array, Grid(shape, (row.voxel_mm,) * 3, (0.0, 0.0, 0.0))), dtype=np.uint8
    )
    done = CliRunner().invoke(main, ["cloud", str(tmp_path / "mask.nii.gz"), str(tmp_path / "cloud.npz")])
    if row.code:
        assert done.exit_code == 2
        assert f"[{row.code}]" in done.stderr
        assert "mask.nii.gz" in done.stderr
        assert not (tmp_path / "cloud.npz").exists()
    else:
        assert done.exit_code == 0, done.output
        assert len(read_cloud(tmp_path / "cloud.npz")) == np.prod(row.edges)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda v: v, ""),
        (lambda v: np.roll(v, 4, axis=2), "not_vessels"),
        (lambda v: np.roll(v, 3, axis=1), "not_vessels"),
        (lambda v: np.roll(v, (1, 1), axis=(0, 1)), "not_vessels"),
        (lambda v: np.flip(v, 2), "not_vessels"),
    ],
)
def test_a_given_map_lies_on_the_vessels(change: Callable[[np.ndarray], np.ndarray], code: str, tmp_path: Path) -> None:
    """lzhLab/LiVS 3: vessel maps beside the vessels of their scans. Silent before: nearly all is in the lungs."""
    made = anatomy.chest()
    vessels = change(made.lungs & (made.hu > -500)).astype(np.uint8)
    write_image(tmp_path / "ct.nii.gz", made.image(), dtype=np.int16)
    write_image(tmp_path / "lungs.nii.gz", Image(made.lungs.astype(np.uint8), made.grid), dtype=np.uint8)
    write_image(tmp_path / "map.nii.gz", Image(vessels, made.grid), dtype=np.uint8)
    call = [
        "vessels",
        str(tmp_path / "ct.nii.gz"),
        str(tmp_path / "out.nii.gz"),
        "--given",
        str(tmp_path / "map.nii.gz"),
    ]
    done = CliRunner().invoke(main, [*call, "--lungs", str(tmp_path / "lungs.nii.gz")])
    assert done.exit_code == 2 * bool(code), done.output
    assert (f"[{code}]" in done.stderr) == bool(code)
    figures = scan_figures(*(Image(of, made.grid) for of in (vessels, made.lungs, made.hu)))
    gates = judge({"fixed": figures, "moving": figures}, GatesSettings())
    assert {gate["passed"] for gate in gates if gate["name"] == "vessel_contrast_hu"} == {not code}
