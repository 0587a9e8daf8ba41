"""Expected errors: evidence against loops, and clouds whose registration is known to be right or wrong."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from lcsd.divroc.motion import covering_grid, fit_affine
from lcsd.divroc.register import register_clouds
from lcsd.divroc.trust import (
    AROUND_MM,
    CAP_MM,
    DENSE_MM,
    EXPLAINED_MM,
    EXPLAINED_POINTS,
    NEAR_MM,
    RASTER_MM,
    SPARSE_MM,
    BlendedModel,
    LocalMeans,
    TrustModel,
    density_difference,
    disagreement,
    evidence,
    judged,
    trust_model,
)
from lcsd.errors import BadInputError
from lcsd.settings.register import RegisterLevel, RegisterSettings

Points = NDArray[np.float64]

LEVELS = (RegisterLevel(raster_mm=5.0, flow_mm=8.0, sigma_voxels=1.0, iterations=15),)
QUICK = RegisterSettings(levels=LEVELS, second_levels=LEVELS)


def tubes(seed: int, count: int = 12, points: int = 150, box: float = 60.0) -> Points:
    """Random curved tubes, in the way of vessels."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(count):
        start, direction = rng.uniform(-box, box, 3), rng.normal(size=3)
        bend = rng.normal(scale=0.4, size=3)
        along = np.linspace(-40, 40, points)[:, None]
        parts.append(start + along * direction / np.linalg.norm(direction) + bend * (along / 20) ** 2)
    cloud = np.concatenate(parts)
    return cloud + rng.normal(scale=0.4, size=cloud.shape)


def loop_mean(points: Points, values: Points, seen_from: Points, row: int, sigma: float) -> float:
    """The mean of trilinear splats smoothed by a Gaussian and sampled, one voxel at a time, seen from one point."""
    grid = covering_grid(np.concatenate([points, seen_from]), spacing_mm=RASTER_MM, margin_mm=RASTER_MM)
    sums = np.zeros((2, *grid.shape))
    for point, value in zip(points, values, strict=True):
        place = grid.world_to_voxel(point[None])[0]
        low = np.floor(place).astype(int)
        for corner in np.ndindex(2, 2, 2):
            index = low + corner
            weight = np.prod(1 - np.abs(place - index))
            sums[(slice(None), *index[::-1])] += weight * np.array([value, 1.0])
    reach = math.ceil(3 * sigma / RASTER_MM)
    steps = np.arange(-reach, reach + 1)
    taps = np.exp(-0.5 * (steps * RASTER_MM / sigma) ** 2)
    taps /= taps.sum()
    found = np.zeros(2)
    place = grid.world_to_voxel(seen_from[row][None])[0]
    low = np.floor(place).astype(int)
    for corner in np.ndindex(2, 2, 2):
        index = low + corner
        share = np.prod(1 - np.abs(place - index))
        for voxel in np.argwhere(sums[1] > 0):
            offset = index - voxel[::-1]
            if (np.abs(offset) <= reach).all():
                found += share * np.prod(taps[offset + reach]) * sums[(slice(None), *voxel)]
    return float(found[0] / found[1])


def test_local_means_are_those_of_loops() -> None:
    rng = np.random.default_rng(0)
    points, seen_from = rng.uniform(-20, 20, (30, 3)), rng.uniform(-15, 15, (5, 3))
    values = rng.uniform(0, 10, 30)
    found = LocalMeans(points, values[None], seen_from).within(NEAR_MM)[0]
    wanted = [loop_mean(points, values, seen_from, row, NEAR_MM) for row in range(5)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_local_mean_far_from_all_points_is_the_cap() -> None:
    points = np.zeros((3, 3))
    found = LocalMeans(points, np.zeros((1, 3)), np.array([[200.0, 0, 0], [0, 0, 0]])).within(NEAR_MM)
    np.testing.assert_array_equal(found, [[CAP_MM, 0.0]])


def test_distances_are_those_of_loops() -> None:
    rng = np.random.default_rng(1)
    fixed, moving = rng.uniform(-30, 30, (60, 3)), rng.uniform(-30, 30, (50, 3))
    moved = fixed + rng.normal(scale=3, size=fixed.shape)
    returned = fixed + rng.normal(scale=9, size=fixed.shape)
    found = evidence(fixed, moving, moved, returned)

    def nearest(points: Points, others: Points, *, rank: int = 0) -> Points:
        return np.array([np.sort([math.dist(point, other) for other in others])[rank] for point in points])

    def means(values: Points, points: Points, sigma: float) -> Points:
        return np.array([loop_mean(points, np.minimum(values, CAP_MM), moved, row, sigma) for row in range(3)])

    spacing = np.median(nearest(fixed, fixed, rank=1)) + np.median(nearest(moving, moving, rank=1))
    gap, missed, off = nearest(moved, moving), nearest(moving, moved), np.linalg.norm(returned - fixed, axis=1)
    tenth = np.median(nearest(fixed, fixed, rank=10)) + np.median(nearest(moving, moving, rank=10))
    np.testing.assert_allclose(found["apart_mm"], tenth / 2)
    np.testing.assert_allclose(found["return_mm"], np.minimum(off, CAP_MM))
    for name, values, points in (("gap", gap, moved), ("missed", missed, moving), ("return", off, moved)):
        np.testing.assert_allclose(found[f"{name}_near_mm"][:3], means(values, points, NEAR_MM), rtol=1e-3)
        np.testing.assert_allclose(found[f"{name}_around_mm"][:3], means(values, points, AROUND_MM), rtol=1e-3)
    limit = spacing + EXPLAINED_MM
    good = (gap < limit) & (found["gap_near_mm"] < limit) & (found["missed_near_mm"] < limit)
    assert EXPLAINED_POINTS <= good.sum() < len(fixed)
    wanted = np.minimum(nearest(moved, moved[good], rank=EXPLAINED_POINTS - 1), CAP_MM)
    np.testing.assert_allclose(found["unexplained_mm"], wanted)


def test_disagreement_is_the_local_spread_of_what_is_not_affine() -> None:
    rng = np.random.default_rng(2)
    fixed = rng.uniform(-20, 20, (40, 3))
    vectors = rng.normal(scale=3, size=fixed.shape)
    beyond = vectors - fit_affine(fixed, vectors).at(fixed)
    found = disagreement(fixed, fixed + vectors)
    for row in range(3):
        mean = [loop_mean(fixed, beyond[:, axis], fixed, row, AROUND_MM) for axis in range(3)]
        square = loop_mean(fixed, (beyond**2).sum(axis=1), fixed, row, AROUND_MM)
        assert found[row] == pytest.approx(math.sqrt(square - np.square(mean).sum()), rel=1e-3)
    affine = fixed @ rng.normal(size=(3, 3)) + 5
    np.testing.assert_allclose(disagreement(fixed, affine), 0, atol=1e-2)


def test_difference_of_densities_is_0_for_equal_and_1_for_distant_clouds() -> None:
    cloud = tubes(0)
    np.testing.assert_allclose(density_difference(cloud, cloud), 0, atol=1e-6)
    np.testing.assert_allclose(density_difference(cloud, cloud + np.array([400.0, 0, 0])), 1, atol=1e-3)
    half = np.concatenate([cloud[cloud[:, 2] < 0], cloud[cloud[:, 2] >= 0] + [0, 0, 15.0]])
    found = density_difference(cloud, half)
    assert found[cloud[:, 2] > 10].min() > found[cloud[:, 2] < -30].max()


def test_equal_clouds_are_trusted_with_and_without_a_way_back() -> None:
    cloud = tubes(1)
    for check, returned in (("backward", cloud), ("forward", None)):
        found = judged(trust_model("accurate", check).possible(evidence(cloud, cloud, cloud, returned)))
        assert found.untrusted_share == 0
        assert found.expected_mm.shape == (len(cloud),)
        assert found.expected_mm.max() < 1.0
        assert 0 < found.median_mm < found.p95_mm < 1.5


@pytest.mark.parametrize("check", ["backward", "forward"])
def test_a_lobe_in_a_wrong_place_is_untrusted_and_the_others_are_not(check: str) -> None:
    cloud = tubes(2, count=30, box=70.0)
    wrong = cloud[:, 2] > 30
    moved = cloud + wrong[:, None] * np.array([9.0, 6.0, 7.0])
    returned = None
    if check == "backward":
        returned = cloud + wrong[:, None] * np.array([-8.0, 11.0, 3.0])
    errors = judged(trust_model("accurate", check).possible(evidence(cloud, cloud, moved, returned))).expected_mm
    assert np.median(errors[cloud[:, 2] > 45]) > 5.0
    assert np.median(errors[cloud[:, 2] < -10]) < 2.0


def test_more_of_any_evidence_never_lowers_the_error() -> None:
    rng = np.random.default_rng(3)
    cloud = tubes(3)
    seen = evidence(cloud, tubes(4), cloud, cloud + rng.normal(scale=2, size=cloud.shape))
    model = trust_model("accurate", "backward")
    for part in (model.dense, model.sparse):
        before = part.total(seen)
        for name, values in seen.items():
            assert (part.total({**seen, name: values * 1.7}) >= before - 1e-12).all()


def test_models_are_blended_by_the_clouds_spacing() -> None:
    def flat(value: float) -> TrustModel:
        errors = {"at": [0.0], "quantiles": [[math.log(value)] * 3]}
        return TrustModel({"base": 0.0, "terms": {"a": {"at": [0.0, 1.0], "adds": [0.0, 0.0]}}, "errors": errors})

    spacing = np.array([0.1, DENSE_MM, (DENSE_MM + SPARSE_MM) / 2, SPARSE_MM, 9.0])
    found = BlendedModel(flat(1.0), flat(4.0)).possible({"a": np.ones(5), "apart_mm": spacing})
    np.testing.assert_allclose(found, np.repeat([[1.0], [1.0], [2.0], [4.0], [4.0]], 3, axis=1))


def test_voxels_of_vessels_are_dense_and_lines_of_their_spacing_are_sparse() -> None:
    along = 1.5 * np.arange(400.0)
    line = np.stack([along, 0 * along, 0 * along], axis=1)
    vessel = np.concatenate([line + np.array([0, y, z]) for y in (0, 1.5, 3.0) for z in (0, 1.5, 3.0)])
    for cloud, least, most in ((vessel, 0.0, DENSE_MM), (line, SPARSE_MM, math.inf)):
        apart = evidence(cloud, cloud, cloud)["apart_mm"]
        assert least <= apart.min() <= apart.max() <= most


def test_the_model_interpolates_terms_and_quantiles() -> None:
    content = {
        "base": 0.5,
        "terms": {"a": {"at": [0.0, 2.0], "adds": [0.0, 1.0]}},
        "errors": {"at": [0.5, 1.5], "quantiles": [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]]},
    }
    values = np.exp([-9.0, 0.0, 1.0, 2.0, 9.0])
    model = TrustModel(content)
    np.testing.assert_allclose(model.total({"a": values}), [0.5, 0.5, 1.0, 1.5, 1.5])
    found = model.possible({"a": values})
    np.testing.assert_allclose(np.log(found[2]), [-0.5, 1.0, 2.5])
    np.testing.assert_allclose(np.log(found[4]), [-0.5, 1.5, 3.5])


def test_figures_are_quantiles_over_points_and_possible_errors() -> None:
    possible = np.array([[1.0, 2.0, 3.0], [4.0, 6.0, 8.0]])
    found = judged(possible)
    np.testing.assert_array_equal(found.expected_mm, np.array([2.0, 6.0], np.float32))
    assert found.median_mm == 3.5
    assert found.p95_mm == pytest.approx(7.5)
    assert found.untrusted_share == 0.5


@pytest.mark.slow
def test_registration_reports_the_same_errors_every_time() -> None:
    fixed = tubes(5)
    moving = fixed + np.array([3.0, 0, -4.0])
    found = [register_clouds(fixed, moving, settings=QUICK) for _ in range(2)]
    first = found[0].expected_error_mm
    assert first is not None
    assert first.shape == (len(fixed),)
    assert first.dtype == np.float32
    assert first.tobytes() == found[1].expected_error_mm.tobytes()
    assert found[0].trust.untrusted_share == 0


@pytest.mark.slow
@pytest.mark.parametrize("check", ["backward", "forward"])
def test_vessels_of_two_people_are_untrusted(check: str) -> None:
    settings = QUICK.model_copy(update={"trust": check})
    found = register_clouds(tubes(6, count=25), tubes(7, count=25), settings=settings)
    assert found.trust.untrusted_share > 0.3


@pytest.mark.slow
def test_no_expected_error_where_the_model_was_not_fitted_or_nobody_asks() -> None:
    fixed = tubes(8)[::4]
    for change in ({"method": "chamfer"}, {"trust": "none"}):
        assert register_clouds(fixed, fixed + 1, settings=QUICK.model_copy(update=change)).expected_error_mm is None


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        ({}, "backward"),
        ({"effort": "fast"}, "forward"),
        ({"effort": "fast", "trust": "backward"}, "backward"),
        ({"trust": "forward"}, "forward"),
        ({"trust": "none"}, None),
        ({"method": "cpd"}, None),
        ({"method": "unet"}, "backward"),
        ({"method": "dgcnn", "effort": "fast"}, "forward"),
        ({"method": "pointpwc", "effort": "none"}, None),
    ],
)
def test_the_way_back_is_left_out_where_it_would_double_the_time(settings: dict[str, str], check: str | None) -> None:
    assert RegisterSettings(**settings).check() == check


@pytest.mark.parametrize("count", [2, 5, 13])
def test_tiny_clouds_have_an_expected_error(count: int) -> None:
    fixed = np.random.default_rng(9).uniform(-20, 20, (count, 3))
    found = register_clouds(fixed, fixed + 2, settings=QUICK)
    assert np.isfinite(found.expected_error_mm).all()


def test_empty_clouds_are_refused() -> None:
    with pytest.raises(BadInputError) as caught:
        register_clouds(np.empty((0, 3)), tubes(9), settings=QUICK)
    assert caught.value.code == "empty_cloud"
