"""Gates on the lungs of a pair: figures against boxes counted by hand, verdicts on lungs that lack a part."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.lungs.gates import head_axis, judge, scan_figures
from lcsd.lungs.parts import along
from lcsd.numerics.morphology import connected
from lcsd.settings.gates import GatesSettings
from tests.grids import GRIDS

SHAPE = (40, 30, 50)
"""(z, y, x) voxels of 5 mm: two lungs of 30 x 20 x 18 voxels, 1.35 l each, with a gap."""

GRID = Grid.centred((10.0, -20.0, 30.0), size=(50, 30, 40), spacing_mm=5.0)
RIGHT, LEFT = np.s_[5:35, 5:25, 5:23], np.s_[5:35, 5:25, 27:45]
TISSUE_HU, LUNG_HU, AIR_HU = 40.0, -850.0, -1000.0


def pair_of(*parts: tuple[slice, ...], hu: float = LUNG_HU, grid: Grid = GRID) -> tuple[Image, Image]:
    """Return a scan and its lungs."""
    mask = np.zeros(SHAPE, bool)
    for part in parts:
        mask[part] = True
    scan = np.where(mask, hu, TISSUE_HU).astype(np.float32)
    scan[0, 0, 0] = AIR_HU
    return Image(scan, grid), Image(mask, grid)


HEALTHY = scan_figures(*pair_of(RIGHT, LEFT))


def verdicts(moving: dict[str, object]) -> dict[str, set[str]]:
    """Return the names of failed and flagged gates of a healthy baseline and this follow-up."""
    found = judge({"fixed": HEALTHY, "moving": moving}, GatesSettings())
    return {
        "failed": {gate["name"] for gate in found if not gate["passed"]},
        "flagged": {gate["name"] for gate in found if gate["flagged"]},
    }


def test_figures_are_those_counted_by_hand() -> None:
    lung_l = 30 * 20 * 18 * 125e-6
    assert HEALTHY["volumes_l"] == pytest.approx({"left": lung_l, "right": lung_l})
    assert (HEALTHY["median_hu"], HEALTHY["sides_cm2"], HEALTHY["ends_cm2"]) == (LUNG_HU, 0.0, 0.0)
    assert verdicts(HEALTHY) == {"failed": set(), "flagged": set()}


def test_sides_are_the_patients() -> None:
    figures = scan_figures(*pair_of(RIGHT, np.s_[5:35, 5:25, 27:40]))
    assert figures["volumes_l"] == pytest.approx({"left": 30 * 20 * 13 * 125e-6, "right": 30 * 20 * 18 * 125e-6})


def test_area_at_the_sides_and_at_the_ends_is_told_apart() -> None:
    figures = scan_figures(*pair_of(np.s_[0:30, 5:25, 5:23], np.s_[5:35, 5:25, 27:50]))
    assert figures["sides_cm2"] == pytest.approx(30 * 20 * 0.25)
    assert figures["ends_cm2"] == pytest.approx(20 * 18 * 0.25)
    assert verdicts(figures)["failed"] == {"lung_sides_cm2"}
    assert verdicts(figures)["flagged"] == {"lung_ends_cm2", "lung_level"}


def test_padding_around_a_round_field_is_outside_of_it() -> None:
    scan, lungs = pair_of(RIGHT, LEFT)
    scan.array[:, :, 45:] = -3024.0
    assert scan_figures(scan, lungs)["sides_cm2"] == pytest.approx(30 * 20 * 0.25)
    scan.array[:, :, 46:] = -3024.0
    scan.array[:, :, 45] = TISSUE_HU
    assert scan_figures(scan, lungs)["sides_cm2"] == 0.0


@pytest.mark.parametrize("name", GRIDS)
def test_ends_lie_along_the_body_whatever_the_orientation(name: str) -> None:
    grid = GRIDS[name]
    axis = head_axis(grid)
    assert abs(grid.matrix[2, 2 - axis]) == np.abs(grid.matrix[2]).max()
    array = np.zeros(grid.shape, bool)
    np.moveaxis(array, axis, 0)[0, 1:-1, 1:-1] = True
    figures = scan_figures(Image(np.where(array, LUNG_HU, TISSUE_HU), grid), Image(array, grid))
    assert figures["ends_cm2"] > 0
    assert figures["sides_cm2"] == 0


@pytest.mark.parametrize(
    ("moving", "failed"),
    [
        (pair_of(RIGHT), {"lung_change"}),
        (pair_of(RIGHT, np.s_[5:20, 5:25, 27:45]), {"lung_balance_change"}),
        (pair_of(np.s_[5:15, 5:25, 5:23], np.s_[5:15, 5:25, 27:45]), {"lung_volume_l"}),
        (pair_of(RIGHT, LEFT, hu=174.0), {"lung_hu"}),
        (pair_of(), {"lungs", "lung_volume_l", "lung_hu", "lung_change"}),
    ],
    ids=["one lung is missing", "half of a lung is missing", "too small", "another unit", "empty"],
)
def test_each_fault_fails_its_own_gate(moving: tuple[Image, Image], failed: set[str]) -> None:
    assert verdicts(scan_figures(*moving))["failed"] == failed


@pytest.mark.parametrize("left", [np.s_[17:35, 5:25, 27:45], np.s_[5:23, 5:25, 27:45]], ids=["lower", "upper"])
def test_lungs_that_lack_the_same_part_in_both_scans_are_flagged(left: tuple[slice, ...]) -> None:
    figures = scan_figures(*pair_of(RIGHT, left))
    assert figures["level"] == pytest.approx(18 / 30, abs=0.03)
    found = judge({"fixed": figures, "moving": figures}, GatesSettings())
    assert {gate["name"] for gate in found if gate["flagged"]} == {"lung_level"}


def test_lung_outside_the_body_fails() -> None:
    scan, lungs = pair_of(RIGHT, LEFT)
    scan.array[:, :, 46:] = AIR_HU
    lungs.array[5:35, 2:28, 47:49] = True
    figures = scan_figures(scan, lungs)
    assert figures["outside"] == pytest.approx(26 * 2 / (26 * 2 + 2 * 20 * 18), abs=0.01)
    assert "lung_outside" in verdicts(figures)["flagged"]


def test_one_lung_in_both_scans_is_plausible() -> None:
    one = scan_figures(*pair_of(RIGHT))
    found = judge({"fixed": one, "moving": one}, GatesSettings())
    assert [gate["name"] for gate in found if not gate["passed"]] == []


def test_a_mask_of_another_scan_is_refused() -> None:
    scan, _ = pair_of(RIGHT, LEFT)
    other = Grid.centred((0.0, 0.0, 0.0), size=(50, 30, 40), spacing_mm=5.0)
    with pytest.raises(BadInputError) as caught:
        scan_figures(scan, pair_of(RIGHT, grid=other)[1])
    assert caught.value.code == "grid_mismatch"


@pytest.mark.parametrize("name", GRIDS)
def test_places_along_an_axis_are_those_of_the_grid(name: str) -> None:
    grid = replace(GRIDS[name], size=(7, 6, 5))
    mask = np.random.default_rng(0).random(grid.shape) < 0.4
    mask[:, 0] = False
    world = grid.voxel_to_world(np.argwhere(mask)[:, ::-1].astype(np.float64)) - np.asarray(grid.origin)
    for axis in range(3):
        np.testing.assert_allclose(along(mask, grid, axis), world[:, axis], atol=1e-9)


def test_parts_are_numbered_as_in_the_whole_volume() -> None:
    mask = np.random.default_rng(0).random((9, 14, 11)) < 0.3
    mask[:2] = mask[:, :3] = mask[..., -2:] = False
    labels, count = ndimage.label(mask)
    found = connected(mask)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.sizes[1:], np.bincount(labels.ravel())[1:])
    assert (len(found.order), found.sizes[0]) == (count, 0)
    assert len(connected(np.zeros_like(mask)).order) == 0
