"""Sparse clouds equal a brute-force search written from the definition, ties included."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lcsd.clouds.keypoints import Neighbours, find_keypoints, local_maxima, nearest_neighbours, sparse_cloud
from lcsd.errors import BadInputError
from lcsd.io.points import Cloud
from lcsd.settings.keypoints import KeypointsSettings

TOLERANCE = KeypointsSettings().tie_tolerance


def oracle(voxels: NDArray[np.int64], *, k: int, j: int, sigma: float) -> NDArray[np.bool_]:
    """Density and maximum point by point, neighbours sorted by (squared distance, row)."""
    density, near = [], []
    for p in voxels:
        squared = [int(((q - p) ** 2).sum()) for q in voxels]
        order = sorted(range(len(voxels)), key=lambda row: (squared[row], row))[:k]
        density.append(sum(np.exp(-squared[row] * sigma**2) for row in order) / k)
        near.append(order[:j])
    highest = [max(density[row] for row in rows) for rows in near]
    return np.array([d >= h * (1 - TOLERANCE) for d, h in zip(density, highest, strict=True)])


def tubes(seed: int, count: int) -> NDArray[np.int64]:
    """Voxels of a few crossing tubes, with plateaus of equal density like real vessels."""
    rng = np.random.default_rng(seed)
    voxels: set[tuple[int, ...]] = set()
    while len(voxels) < count:
        axis, radius = int(rng.integers(3)), int(rng.integers(3))
        centre = rng.integers(0, 20, size=3)
        for step in range(12):
            for a in range(-radius, radius + 1):
                for b in range(-radius, radius + 1):
                    if a * a + b * b <= radius * radius:
                        offset = np.insert(np.array([a, b]), axis, step)
                        voxels.add(tuple(int(v) for v in centre + offset))
    return np.array(sorted(voxels))


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.3, 0.7, 3.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_equals_brute_force_on_a_lattice(seed: int, sigma: float) -> None:
    voxels = tubes(seed, 350)
    neighbours = nearest_neighbours(voxels.astype(float), 29)
    found = local_maxima(neighbours, j=15, sigma=sigma, tie_tolerance=TOLERANCE)
    expected = oracle(voxels, k=29, j=15, sigma=sigma)
    assert 0 < expected.sum() < len(voxels)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("lower", "tolerance", "kept"), [(0.0, 0.0, True), (0.09, 0.1, True), (0.11, 0.1, False), (0.01, 0.0, False)]
)
def test_densities_within_the_tolerance_of_the_highest_tie(lower: float, tolerance: float, kept: bool) -> None:
    """Two points see each other; the density of the second is lower by a share."""
    far = -np.log(1 - 2 * lower)
    pair = Neighbours(np.array([[0, 1], [1, 0]]), np.array([[0.0, 0.0], [0.0, far]]))
    assert local_maxima(pair, j=2, sigma=1.0, tie_tolerance=tolerance).tolist() == [True, kept]


@pytest.mark.parametrize("workers", [1, 2])
def test_neighbours_are_a_total_order(workers: int) -> None:
    voxels = np.argwhere(np.ones((6, 6, 6))).astype(float)
    shuffled = voxels[np.random.default_rng(0).permutation(len(voxels))]
    found = nearest_neighbours(shuffled, 9, workers=workers)
    for row, p in enumerate(shuffled):
        squared = ((shuffled - p) ** 2).sum(axis=1)
        expected = np.lexsort((np.arange(len(shuffled)), squared))[:9]
        np.testing.assert_array_equal(found.index[row], expected)
        np.testing.assert_array_equal(found.squared[row], squared[expected])


def test_world_position_order_and_spacing_do_not_matter() -> None:
    voxels = tubes(3, 400)
    settings = KeypointsSettings(min_points=20)
    rows, _ = find_keypoints(voxels * 1.5, voxel_mm=1.5, settings=settings)
    moved = (voxels * 0.7 + [-312.4, 55.1, -1207.3]).astype(np.float32)
    again, _ = find_keypoints(moved, voxel_mm=0.7, settings=settings)
    np.testing.assert_array_equal(rows, again)


@pytest.mark.slow
def test_sigma_grows_until_enough_points_stay() -> None:
    voxels = tubes(4, 600)
    few, first = find_keypoints(voxels, voxel_mm=1, settings=KeypointsSettings(min_points=1))
    wanted = len(few) + 1
    many, later = find_keypoints(voxels, voxel_mm=1, settings=KeypointsSettings(min_points=wanted))
    assert first.sigma == KeypointsSettings().sigma_start
    assert later.sigma is not None
    assert later.sigma > first.sigma
    assert len(many) >= wanted
    np.testing.assert_array_equal(many, np.flatnonzero(oracle(voxels, k=29, j=15, sigma=later.sigma)))


@pytest.mark.parametrize(("points", "wanted"), [(50, 60), (600, 590)])
def test_shortage_is_an_error_or_all_points_by_setting(points: int, wanted: int) -> None:
    voxels = tubes(5, points)[:points] if points < 100 else tubes(5, points)
    settings = KeypointsSettings(min_points=wanted, sigma_limit=0.7)
    kept, report = find_keypoints(voxels, voxel_mm=1, settings=settings)
    assert len(kept) == len(voxels)
    assert report.sigma is None
    assert str(wanted) in report.warnings[0]
    strict = settings.model_copy(update={"on_shortage": "error"})
    with pytest.raises(BadInputError, match=r"\[too_few_keypoints\]"):
        find_keypoints(voxels, voxel_mm=1, settings=strict)


def test_fewer_points_than_k_one_point_and_bad_values() -> None:
    with pytest.raises(BadInputError, match=r"\[fewer_points_than_k\]"):
        find_keypoints(np.zeros((28, 3)), voxel_mm=1)
    with pytest.raises(BadInputError, match=r"\[empty_cloud\]"):
        find_keypoints(np.zeros((0, 3)), voxel_mm=1)
    with pytest.raises(BadInputError, match=r"\[non_finite_points\]"):
        find_keypoints(np.full((40, 3), np.nan), voxel_mm=1)
    rows, _ = find_keypoints(np.zeros((1, 3)), voxel_mm=1, settings=KeypointsSettings(k=1, j=1, min_points=1))
    assert rows.tolist() == [0]


def test_equal_points_all_tie() -> None:
    rows, _ = find_keypoints(np.zeros((40, 3)), voxel_mm=1, settings=KeypointsSettings(min_points=40))
    assert len(rows) == 40


def test_sparse_cloud_keeps_radius_and_names_its_rows() -> None:
    voxels = tubes(6, 500)
    dense = Cloud(
        (voxels * 1.5).astype(np.float32),
        radius=np.arange(len(voxels), dtype=np.float32),
        meta={"spacing_mm": [1.5, 1.5, 1.5], "case": "a"},
    )
    sparse, report = sparse_cloud(dense, KeypointsSettings(min_points=10))
    assert sparse.index is not None
    assert len(sparse) == report.sparse
    np.testing.assert_array_equal(sparse.points, dense.points[sparse.index])
    np.testing.assert_array_equal(sparse.radius, dense.radius[sparse.index])  # type: ignore[index]
    assert sparse.meta["case"] == "a"
    assert sparse.meta["sigma"] == report.sigma
    with pytest.raises(BadInputError, match=r"\[no_spacing\]"):
        sparse_cloud(Cloud(dense.points), KeypointsSettings())
