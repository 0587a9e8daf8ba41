"""Pictures: orientation, warping by the field's definition, colours, projection."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.inventory import Inventory
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.report import overlays
from lcsd.report.overlays import SLABS, colour_mix, warped_at

MakeCase = Callable[..., Path]

GRID = Grid((9, 8, 7), (2.0, 2.0, 2.0), (-8.0, 10.0, -100.0))


def test_warped_image_is_the_moving_image_at_the_moved_point() -> None:
    # A linear image samples exactly: M(p) = 1 x + 2 y - 3 z in world millimetres.
    z, y, x = np.meshgrid(*[np.arange(n, dtype=float) for n in GRID.shape], indexing="ij")
    voxels = np.stack([x, y, z], axis=-1)
    ramp = Image((GRID.voxel_to_world(voxels) @ [1.0, 2.0, -3.0]).astype(np.float32), GRID)
    vectors = np.full((*GRID.shape, 3), (1.0, -2.0, 0.5), dtype=np.float32)
    inner = voxels[2:5, 2:6, 2:6]
    found = warped_at(ramp, DisplacementField(vectors, GRID), inner, GRID)
    expected = (GRID.voxel_to_world(inner) + np.array([1.0, -2.0, 0.5])) @ [1.0, 2.0, -3.0]
    assert found.shape == inner.shape[:-1]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_equal_pictures_mix_to_grey() -> None:
    grey = np.linspace(0, 1, 5)
    np.testing.assert_array_equal(colour_mix(grey, grey), np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(colour_mix(np.ones(1), np.zeros(1))[0], [1, 0, 1])


def test_slab_shows_points_where_they_are() -> None:
    low, size = np.zeros(3), np.full(3, 60.0)
    points = np.array([[15.0, 30.0, 45.0], [15.0, 30.0 + overlays.SLAB_MM, 5.0]])
    ink = SLABS[0].ink(points, 30.0, low, size)
    row, column = np.unravel_index(ink.argmax(), ink.shape)
    pixel = overlays.PROJECTION_PIXEL_MM
    assert column * pixel == pytest.approx(15.0, abs=1.5)
    assert (ink.shape[0] - 1 - row) * pixel == pytest.approx(45.0, abs=1.5)
    # The second point lies outside the slab.
    assert ink[ink.shape[0] - 1 - round(5 / pixel), round(15 / pixel)] == 0


def test_empty_slab_is_white() -> None:
    ink = SLABS[0].ink(np.zeros((0, 3)), 0.0, np.zeros(3), np.full(3, 10.0))
    assert ink.max() == 0


def test_figures_exist_for_a_case_and_not_for_an_empty_one(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    (results / "cases" / "b").mkdir()
    inventory = Inventory(results)
    full, empty = inventory.cases(None)
    figure = overlays.overlay_figure(full, inventory)
    assert figure is not None
    assert len(figure.axes[0].images) == 9  # before, corrfield, DiVRoC in three planes
    clouds = overlays.cloud_figure(full, inventory)
    assert clouds is not None
    assert len(clouds.axes[0].images) == 4
    assert overlays.overlay_figure(empty, inventory) is None
    assert overlays.cloud_figure(empty, inventory) is None


def test_clouds_without_registration_show_the_start_only(make_case: MakeCase, results: Path) -> None:
    (make_case("a") / "registration" / "points.npz").unlink()
    inventory = Inventory(results)
    (case,) = inventory.cases(None)
    figure = overlays.cloud_figure(case, inventory)
    assert figure is not None
    assert len(figure.axes[0].images) == 2
