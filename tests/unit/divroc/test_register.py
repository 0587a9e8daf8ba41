"""Registration finds known motions, agrees with its own field, and refuses bad clouds."""

import sys

import numba
import numpy as np
import pytest
import torch

from lcsd.divroc.optimise import _stalled
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid
from lcsd.io.points import Cloud
from lcsd.settings.register import RegisterLevel, RegisterSettings

QUICK = RegisterSettings(
    levels=(
        RegisterLevel(raster_mm=8.0, flow_mm=8.0, sigma_voxels=1.0, iterations=25),
        RegisterLevel(raster_mm=4.0, flow_mm=6.0, sigma_voxels=1.0, iterations=25),
    ),
    second_levels=(RegisterLevel(raster_mm=4.0, flow_mm=8.0, sigma_voxels=1.0, iterations=25),),
    learning_rate_mm=0.6,
    start="affine",
    stop_share=0.0,  # tests count steps
)


def branches(seed: int, *, count: int = 60) -> np.ndarray:
    """Points along random curved branches in a box of 120 mm, far from the origin."""
    rng = np.random.default_rng(seed)
    tips = []
    for _ in range(count):
        start, heading = rng.uniform(-50, 50, 3), rng.normal(size=3)
        along = np.linspace(0, 40, 60)[:, None]
        bend = rng.normal(size=3) * (along / 40) ** 2 * 8
        tips.append(start + heading / np.linalg.norm(heading) * along + bend)
    points = np.concatenate(tips)
    return points[np.abs(points).max(axis=1) < 60] + [30.0, -40.0, -900.0]


def breathing(points: np.ndarray) -> np.ndarray:
    """Smooth motion of up to 12 mm, largest at low z."""
    x, y, z = (points - [30.0, -40.0, -900.0]).T
    depth = (60 - z) / 120
    return np.stack([2 * np.sin(y / 40), 3 * np.cos(x / 50), -9 * depth**2 - 1], axis=1)


@pytest.fixture(scope="module")
def pair() -> tuple[np.ndarray, np.ndarray]:
    fixed = branches(0)
    rng = np.random.default_rng(1)
    moving = fixed + breathing(fixed)
    # Neither cloud holds all points of the other.
    return fixed[rng.random(len(fixed)) < 0.8], moving[rng.random(len(fixed)) < 0.8]


@pytest.fixture(scope="module")
def result(pair: tuple[np.ndarray, np.ndarray]) -> RegistrationResult:
    return register_clouds(*pair, settings=QUICK)


def error(result: RegistrationResult, fixed: np.ndarray) -> float:
    off = result.displacements - breathing(fixed)
    return float(np.linalg.norm(off, axis=1).mean())


def share_found(result: RegistrationResult, fixed: np.ndarray) -> float:
    """Return by what the true motion is multiplied to be as near as possible to the one that was found."""
    true = breathing(fixed)
    return float((result.displacements * true).sum() / (true * true).sum())


@pytest.mark.slow
def test_finds_a_smooth_motion(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    before = np.linalg.norm(breathing(pair[0]), axis=1).mean()
    assert before > 4.5
    assert error(result, pair[0]) < 0.8
    assert result.folding_percent == 0
    assert result.std_log_jacobian is not None
    assert 0 < result.std_log_jacobian < 0.2


def test_result_is_consistent(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    fixed = pair[0]
    assert result.moved_points.dtype == np.float32
    np.testing.assert_allclose(result.moved_points, fixed + result.displacements, atol=1e-3)
    np.testing.assert_allclose(result.field.at(fixed), result.displacements, atol=0.1)
    assert result.iterations == len(result.loss) == 25 + 25 + 25
    assert result.seconds > 0
    assert result.inverse_field is None
    assert result.loss[24] < 0.5 * result.loss[0]
    corners = result.field.grid.corners()
    assert (corners.min(axis=0) <= fixed.min(axis=0) - 18).all()
    assert (corners.max(axis=0) >= fixed.max(axis=0) + 18).all()


@pytest.mark.slow
def test_direction_is_fixed_to_moving() -> None:
    fixed = branches(0)
    shift = np.array([6.0, -3.0, 9.0])
    result = register_clouds(fixed, fixed + shift, settings=QUICK)
    np.testing.assert_allclose(result.displacements.mean(axis=0), shift, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["translation", "none"])
def test_finds_it_from_other_starts(pair: tuple[np.ndarray, np.ndarray], start: str) -> None:
    found = register_clouds(*pair, settings=with_changes(start=start))
    assert error(found, pair[0]) < 1.5
    assert share_found(found, pair[0]) == pytest.approx(1.0, abs=0.1)


@pytest.mark.slow
def test_points_at_one_place_count_once(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    fixed, moving = pair
    twice = np.arange(len(fixed)) % 3 == 0
    clouds = np.concatenate([fixed, fixed[twice]]), np.concatenate([moving, *[moving[:50]] * 9])
    found = register_clouds(*clouds, settings=QUICK)
    for name in ("moved_points", "expected_error_mm"):
        whole = getattr(result, name)
        np.testing.assert_array_equal(getattr(found, name), np.concatenate([whole, whole[twice]]))
    assert found.trust is not None
    assert result.trust is not None
    assert found.trust.p95_mm == result.trust.p95_mm


def test_equal_clouds_stay() -> None:
    fixed = branches(2, count=20)
    result = register_clouds(fixed, fixed, settings=QUICK)
    assert np.abs(result.displacements).max() < 0.1


@pytest.mark.slow
def test_clouds_and_arrays_are_the_same(pair: tuple[np.ndarray, np.ndarray]) -> None:
    points = [part[:500].astype(np.float32) for part in pair]
    of_arrays = register_clouds(*points, settings=QUICK)
    of_clouds = register_clouds(*(Cloud(part) for part in points), settings=QUICK)
    assert of_clouds.moved_points.tobytes() == of_arrays.moved_points.tobytes()


@pytest.mark.slow
def test_same_bytes_for_any_number_of_threads(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    before = numba.get_num_threads(), torch.get_num_threads()
    try:
        numba.set_num_threads(1)
        torch.set_num_threads(2)  # tests have one
        again = register_clouds(*pair, settings=QUICK)
    finally:
        numba.set_num_threads(before[0])
        torch.set_num_threads(before[1])
    assert again.loss == result.loss
    assert again.moved_points.tobytes() == result.moved_points.tobytes()
    assert again.field.vectors.tobytes() == result.field.vectors.tobytes()
    assert again.std_log_jacobian == result.std_log_jacobian


@pytest.mark.slow
def test_field_lies_on_the_grid_asked_for(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    grid = Grid(
        size=(20, 30, 25), spacing=(4.0, 3.0, 5.0), origin=(0.0, -80.0, -840.0), direction=(1, 0, 0, 0, 1, 0, 0, 0, -1)
    )
    field = register_clouds(*pair, settings=QUICK, grid=grid).field
    assert field.grid.same_as(grid)
    inside = pair[0][grid.contains(pair[0])]
    np.testing.assert_allclose(field.at(inside), result.field.at(inside), atol=0.3)


@pytest.mark.slow
def test_progress_is_told(pair: tuple[np.ndarray, np.ndarray]) -> None:
    seen: list[tuple[int, float]] = []
    settings = with_changes(effort="fast", levels=QUICK.levels[:1])
    found = register_clouds(*pair, settings=settings, progress=lambda number, loss: seen.append((number, loss)))
    assert seen == list(enumerate(found.loss, start=1))


@pytest.mark.slow
def test_a_progress_bar_is_drawn_on_request(
    pair: tuple[np.ndarray, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = with_changes(effort="fast", levels=QUICK.levels[:1])
    register_clouds(*pair, settings=settings, progress=True)
    assert "25/25" in capsys.readouterr().err
    register_clouds(*pair, settings=settings, progress=False)
    assert capsys.readouterr().err == ""


def test_divergence_names_the_iteration(pair: tuple[np.ndarray, np.ndarray]) -> None:
    settings = with_changes(learning_rate_mm=1e30)
    with pytest.raises(WorkError, match="level 1, iteration 2") as caught:
        register_clouds(*pair, settings=settings)
    assert caught.value.code == "diverged"


def with_changes(**changes: object) -> RegisterSettings:
    return RegisterSettings(**{**QUICK.model_dump(), **changes})


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"method": "chamfer"},
        {"method": "ot", "ot": {"points": 700}},
        {"method": "cpd", "cpd": {"points": 500, "iterations": 40, "beta_mm": 40.0}},
        {"extrapolator": "divroc"},
        {"extrapolator": "knn"},
        {"extrapolator": "tps"},
        {"saturation": 0.0, "norm": "l2"},
        {"balance": 0.5},
        {"max_points": 1500},
    ],
    ids=str,
)
def test_every_method_finds_it(pair: tuple[np.ndarray, np.ndarray], changes: dict[str, object]) -> None:
    found = register_clouds(*pair, settings=with_changes(**changes))
    assert error(found, pair[0]) < 2
    assert len(found.moved_points) == len(pair[0])
    np.testing.assert_allclose(found.field.at(pair[0]), found.displacements, atol=1.0)


@pytest.mark.slow
def test_symmetric_motion_has_an_inverse(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = register_clouds(*pair, settings=with_changes(symmetric=True))
    assert error(found, pair[0]) < 0.8
    assert found.inverse_field is not None
    back = found.moved_points + found.inverse_field.at(found.moved_points.astype(np.float64))
    np.testing.assert_allclose(back, pair[0], atol=0.1)


def test_the_affine_start_alone_has_an_inverse_if_it_is_asked_for(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = register_clouds(*pair, settings=with_changes(symmetric=True, effort="none"))
    assert found.inverse_field is not None
    moved = found.moved_points.astype(np.float64)
    np.testing.assert_allclose(moved + found.inverse_field.at(moved), pair[0], atol=1e-3)
    assert register_clouds(*pair, settings=with_changes(effort="none")).inverse_field is None


@pytest.mark.slow
def test_symmetric_registration_does_not_prefer_a_side(pair: tuple[np.ndarray, np.ndarray]) -> None:
    settings = with_changes(symmetric=True, start="translation")
    there = register_clouds(*pair, settings=settings)
    back = register_clouds(pair[1], pair[0], settings=settings)
    returned = there.moved_points + back.field.at(there.moved_points.astype(np.float64))
    assert np.linalg.norm(returned - pair[0], axis=1).mean() < 0.3


@pytest.mark.slow
def test_fast_is_the_first_run(pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult) -> None:
    found = register_clouds(*pair, settings=with_changes(effort="fast"))
    assert found.iterations == sum(level.iterations for level in QUICK.levels)
    assert found.loss == result.loss[: found.iterations]
    assert error(found, pair[0]) < 1


@pytest.mark.slow
def test_a_stalled_level_ends_early(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = register_clouds(*pair, settings=with_changes(stop_share=0.05))
    assert 3 * 11 <= found.iterations < 75
    assert error(found, pair[0]) < 1.2


@pytest.mark.parametrize(
    ("last", "stalled"),
    [
        ([1.0] * 11, True),
        ([1.0, *[0.5] * 10], False),  # fell within the last steps
        ([2.0, *[1.0] * 10, 0.995], True),
        ([2.0, *[1.0] * 10, 0.98], False),
        ([1.0, *[1.5] * 10, 1.5], False),  # large first steps have raised it
        ([2.0, *[1.0] * 10, 1.2], False),  # rising
        ([1.0] * 10, False),
    ],
)
def test_a_level_has_stalled_if_little_changes_below_its_start(last: list[float], stalled: bool) -> None:
    assert _stalled(last, 0.01) == stalled
    assert not _stalled(last, 0.0)


@pytest.mark.slow
def test_labels_keep_structures_apart() -> None:
    # Artery left, vein right; each moves up by 8 mm. Where each was, the other kind lies now.
    rng = np.random.default_rng(0)
    artery = np.c_[rng.uniform(-50, -5, 2000), rng.uniform(-40, 40, 2000), rng.normal(size=2000)]
    vein = artery * [-1, 1, 1]
    up = np.array([0.0, 0.0, 8.0])
    label = np.repeat(np.uint8([1, 2]), 2000)
    fixed = Cloud(np.concatenate([artery, vein]).astype(np.float32), label=label)
    moving = Cloud(np.concatenate([artery + up, vein, vein + up, artery]).astype(np.float32), label=np.repeat(label, 2))
    shift = {
        use: register_clouds(fixed, moving, settings=with_changes(start="none", use_labels=use)).displacements[:, 2]
        for use in (True, False)
    }
    np.testing.assert_allclose(shift[True].mean(), 8, atol=0.5)
    assert abs(shift[False].mean() - 8) > 1


def test_clouds_without_a_common_structure_are_refused() -> None:
    points = LINE.astype(np.float32)
    arteries, veins = (Cloud(points, label=np.full(10, kind, np.uint8)) for kind in (1, 2))
    with pytest.raises(BadInputError, match=r"\[labels_differ\]"):
        register_clouds(arteries, veins, settings=QUICK)


@pytest.mark.parametrize(("method", "package"), [("cpd", "pycpd"), ("ot", "geomloss")])
def test_a_missing_package_is_named(
    method: str, package: str, pair: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BadInputError, match=r"\[missing_package\]"):
        register_clouds(*pair, settings=with_changes(method=method))


LINE = np.arange(30.0).reshape(10, 3)


@pytest.mark.parametrize(
    ("fixed", "moving", "code"),
    [
        (np.zeros((0, 3)), LINE, "empty_cloud"),
        (LINE, np.zeros((0, 3)), "empty_cloud"),
        (LINE[:1], LINE, "degenerate_cloud"),
        (LINE, np.ones((50, 3)), "degenerate_cloud"),
        (LINE, np.where(LINE == 4, np.nan, LINE), "non_finite_points"),
        (np.where(LINE == 4, np.inf, LINE), LINE, "non_finite_points"),
        (LINE[:, :2], LINE, "bad_points"),
        (LINE, LINE + 1000, "frame_mismatch"),
        (LINE / 1000, LINE, "wrong_unit"),
        (LINE, LINE * 1000, "wrong_unit"),
        (LINE / 20, LINE, "wrong_unit"),  # scaled to -1 to 1, or to 0 to 1
        (LINE + 2e6, LINE + 2e6, "wrong_unit"),  # single precision rounds such coordinates
        (LINE, np.vstack([LINE, np.zeros((5, 3))]), "filled_cloud"),
    ],
)
def test_bad_clouds(fixed: np.ndarray, moving: np.ndarray, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        register_clouds(fixed, moving, settings=QUICK)
    assert caught.value.code == code


def test_grid_elsewhere_is_refused(pair: tuple[np.ndarray, np.ndarray]) -> None:
    grid = Grid.centred(np.zeros(3), size=(5, 5, 5), spacing_mm=2.0)
    with pytest.raises(BadInputError, match=r"\[no_overlap\]"):
        register_clouds(*pair, settings=QUICK, grid=grid)


def test_clouds_on_a_line_and_of_two_points_work() -> None:
    found = register_clouds(LINE, LINE + 1, settings=QUICK)
    np.testing.assert_allclose(found.displacements, 1, atol=0.3)
    two = register_clouds(LINE[:2], LINE[:2] + 1, settings=QUICK)
    np.testing.assert_allclose(two.displacements, 1, atol=0.3)


@pytest.mark.cuda
@pytest.mark.parametrize("repeatable", [False, True])
def test_cuda_agrees_with_the_cpu(
    pair: tuple[np.ndarray, np.ndarray], result: RegistrationResult, repeatable: bool
) -> None:
    torch.use_deterministic_algorithms(repeatable)
    try:
        first, second = (register_clouds(*pair, settings=QUICK, device="cuda") for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert np.abs(first.displacements - result.displacements).mean() < 0.05
    if repeatable:
        assert first.moved_points.tobytes() == second.moved_points.tobytes()


@pytest.mark.slow
def test_coherent_drift_matches_each_structure_with_its_own_kind() -> None:
    # Two lines move up by 12 mm. Where each was, the other kind lies now.
    line = np.stack([np.linspace(0, 60, 60), np.zeros(60), np.zeros(60)], axis=1)
    apart, up = np.array([100.0, 0, 0]), np.array([0.0, 12, 0])
    fixed = np.concatenate([line, line + apart]).astype(np.float32)
    moving = np.concatenate([line + up, line, line + apart + up, line + apart]).astype(np.float32)
    label, there = np.repeat(np.uint8([1, 2]), 60), np.repeat(np.uint8([1, 2, 2, 1]), 60)
    cpd = {"points": 300, "iterations": 60, "beta_mm": 100.0, "stiffness": 1.0}
    found = {}
    for use in (True, False):
        settings = with_changes(method="cpd", start="none", use_labels=use, cpd=cpd)
        result = register_clouds(Cloud(fixed, label=label), Cloud(moving, label=there), settings=settings)
        found[use] = result.displacements[:, 1].mean()
    np.testing.assert_allclose(found[True], 12, atol=1)
    assert found[False] < 8
