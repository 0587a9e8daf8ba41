"""Dense clouds: each voxel, at its position, with the radius of its vessel."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lcsd.clouds import cloud
from lcsd.clouds.cloud import dense_cloud, local_radius
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from tests.grids import GRIDS


def naive_thickness(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[np.float64]:
    """Largest open ball inside the mask over each voxel, mm, by trying every pair."""
    voxels, step = np.argwhere(mask), np.array(spacing[::-1])
    inside = voxels * step
    outside = (np.argwhere(~np.pad(mask, 1)) - 1) * step
    depth = [np.sqrt(((outside - p) ** 2).sum(axis=1).min()) for p in inside]
    result = np.zeros(mask.shape)
    for voxel, p in zip(voxels, inside, strict=True):
        covering = [d for q, d in zip(inside, depth, strict=True) if ((p - q) ** 2).sum() < d * d - 1e-12]
        result[tuple(voxel)] = max(covering)
    return result


def test_points_are_voxel_centres_in_world() -> None:
    for grid in GRIDS.values():
        mask = np.zeros(grid.shape, bool)
        mask[2, 3, 4] = mask[5, 0, 10] = True
        cloud = dense_cloud(Image(mask, grid))
        expected = grid.voxel_to_world(np.array([[4.0, 3, 2], [10, 0, 5]]))
        np.testing.assert_allclose(cloud.points, expected, atol=1e-3)
        assert cloud.label is None


@pytest.mark.parametrize(("part", "spacing"), [(7, (1.0, 1.0, 1.0)), (100_000, (0.75, 1.25, 2.5))])
def test_radius_equals_brute_force(
    part: int, spacing: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "PART_VOXELS", part)
    rng = np.random.default_rng(0)
    mask = rng.random((9, 8, 7)) < 0.6
    mask[2:7, 2:7, 2:6] = True
    found = local_radius(mask, spacing)
    expected = np.where(mask, naive_thickness(mask, spacing) - 0.5 * min(spacing), 0)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_radius_of_a_long_cylinder_is_its_radius_in_mm() -> None:
    _, y, x = np.mgrid[:30, :30, :30]
    mask = (y - 15) ** 2 + (x - 15) ** 2 <= 6**2
    radius = local_radius(mask, (0.5, 0.5, 0.5))[10:20][mask[10:20]]
    assert np.median(radius) == pytest.approx(3.0, abs=0.5)


def test_single_voxel_and_border() -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = True
    assert local_radius(mask, (1.5, 1.5, 1.5))[0, 0, 0] == pytest.approx(0.75)


def test_labels_travel_and_empty_is_named() -> None:
    grid = Grid((4, 4, 4), (1, 1, 1), (0, 0, 0))
    labels = np.zeros(grid.shape, np.uint8)
    with pytest.raises(BadInputError, match=r"\[empty_vessels\]"):
        dense_cloud(Image(labels, grid))
    labels[1, 1, 1], labels[2, 2, 2] = 3, 4
    cloud = dense_cloud(Image(labels, grid), meta={"case": "x"})
    assert cloud.label is not None
    assert cloud.label.tolist() == [3, 4]
    assert cloud.meta["case"] == "x"
