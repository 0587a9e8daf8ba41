"""Given lung masks: on the scan's grid, refused where they lie elsewhere."""

from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, resample, write_mask
from lcsd.lungs.given import given_mask, placed_mask
from tests.grids import GRIDS
from tests.thorax import dice, scan, thorax_grid


@pytest.fixture(scope="module")
def chest() -> dict[str, Image]:
    return scan(thorax_grid((3.0, 3.0, 3.0)))


def test_given_mask_is_put_on_the_scans_grid(chest: dict[str, Image], tmp_path: Path) -> None:
    other = scan(thorax_grid((4.0, 4.0, 4.0), GRIDS["ras"].matrix))["lungs"]
    write_mask(tmp_path / "own.nii.gz", other)
    mask = given_mask(tmp_path / "own.nii.gz", chest["hu"]).mask
    assert mask.grid.same_as(chest["hu"].grid)
    assert dice(mask.array, chest["lungs"].array) > 0.93


def test_given_mask_elsewhere_or_empty_is_refused(chest: dict[str, Image], tmp_path: Path) -> None:
    path = tmp_path / "own.nii.gz"
    lungs = chest["lungs"]
    far = Grid(lungs.grid.size, lungs.grid.spacing, (900.0, 0.0, 0.0), lungs.grid.direction)
    write_mask(path, Image(lungs.array, far))
    with pytest.raises(BadInputError) as caught:
        given_mask(path, chest["hu"])
    assert caught.value.code == "mask_elsewhere"
    write_mask(path, Image(np.zeros_like(lungs.array), lungs.grid))
    with pytest.raises(BadInputError) as caught:
        given_mask(path, chest["hu"])
    assert caught.value.code == "empty_mask"


def test_mask_on_part_of_the_scans_lattice_is_pasted_not_resampled() -> None:
    grid = Grid((9, 8, 7), (1.0, 2.0, 3.0), (5.0, 6.0, 7.0), GRIDS["oblique"].direction)
    for first in ([2, 1, 3], [-2, -1, 4], [6, 5, -1], [30, 0, 0]):
        origin = grid.voxel_to_world(np.array(first, float))
        part = Grid((4, 5, 4), grid.spacing, tuple(origin), grid.direction)
        mask = Image(np.random.default_rng(1).random(part.shape) < 0.5, part)
        expected = resample(mask, grid, nearest=True).array
        if expected.sum() < 0.5 * mask.array.sum():
            with pytest.raises(BadInputError, match="mask_elsewhere"):
                placed_mask(mask, grid, file=Path("m"))
        else:
            assert (placed_mask(mask, grid, file=Path("m")).array == expected).all()
