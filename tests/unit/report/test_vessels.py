"""Pictures of vessel masks: thickness by hand, complete panels, missing and broken files."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.inventory import Inventory
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, write_mask
from lcsd.report.panels import FIXED_INK, MOVING_INK, PLANES, largest_cut
from lcsd.report.vessels import thickness, vessel_figure
from tests.unit.report.conftest import GRID, lungs

MakeCase = Callable[..., Path]


@pytest.mark.parametrize(("plane", "expected_mm"), [(0, 9.0), (1, 8.0), (2, 2.0)])
def test_thickness_is_millimetres_across_the_plane(plane: int, expected_mm: float) -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[2:5, 2:4, 2:4] = True
    grid = Grid((9, 9, 9), (1.0, 4.0, 3.0), (0.0, 0.0, 0.0))
    cut = largest_cut(PLANES[plane], mask, np.array([3.0, 4.0, 1.0]))
    assert thickness(cut, Image(mask, grid)).max() == pytest.approx(np.sqrt(expected_mm))


@pytest.mark.parametrize(("thin", "row"), [("fixed", 0), ("moving", 1)])
def test_every_panel_has_a_picture_and_both_scans_have_one_scale(
    make_case: MakeCase, results: Path, thin: str, row: int
) -> None:
    folder = make_case("a")
    sheet = np.zeros_like(lungs())
    sheet[4:14, 5, 4] = True
    write_mask(folder / "vessels" / f"{thin}.nii.gz", Image(sheet, GRID))
    inventory = Inventory(results)
    figure = vessel_figure(inventory.cases(None)[0], inventory)
    assert figure is not None
    assert inventory.problems == []
    pictures = [np.asarray(picture.get_array()) for picture in figure.axes[0].images]
    assert len(pictures) == 12
    assert all(np.ptp(picture) > 0.1 for picture in pictures)
    # Seen from the front one voxel has (1 / 8) ** 0.5 of the ink of the lungs' eight.
    # Column by column: both projections, then both slices.
    pale, full = pictures[4 + row], pictures[4 + 1 - row]
    inks = (FIXED_INK, MOVING_INK)
    np.testing.assert_allclose(full.min(axis=(0, 1)), inks[1 - row])
    np.testing.assert_allclose(pale.min(axis=(0, 1)), 1 - (1 - inks[row]) / 8**0.5)


@pytest.mark.slow
def test_vessels_outside_the_lungs_are_within_the_picture(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    stray = lungs()
    stray[0, 0, 15] = True
    write_mask(folder / "vessels" / "fixed.nii.gz", Image(stray, GRID))
    inventory = Inventory(results)
    figure = vessel_figure(inventory.cases(None)[0], inventory)
    assert figure is not None
    # The coronal picture has every slice of the grid down from the lungs' margin above.
    assert np.asarray(figure.axes[0].images[4].get_array()).shape[0] == 16


@pytest.mark.parametrize("file", ["vessels/moving.nii.gz", "images/fixed.nii.gz"])
def test_without_a_file_there_is_no_picture(make_case: MakeCase, results: Path, file: str) -> None:
    path = make_case("a") / file
    path.unlink()
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    assert vessel_figure(case, inventory) is None
    assert inventory.problems == []
    path.write_bytes(b"no volume")
    inventory = Inventory(results)
    assert vessel_figure(case, inventory) is None
    assert [problem.file for problem in inventory.problems] == [f"cases/a/{file}"]


def test_masks_of_another_grid_are_refused(make_case: MakeCase, results: Path) -> None:
    other = Grid(GRID.size, GRID.spacing, (0.0, 0.0, 0.0))
    write_mask(make_case("a") / "vessels" / "fixed.nii.gz", Image(lungs(), other))
    inventory = Inventory(results)
    with pytest.raises(BadInputError, match=r"\[grid_mismatch\]"):
        vessel_figure(inventory.cases(None)[0], inventory)
