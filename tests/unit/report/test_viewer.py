"""The 3-D view's data: decoded as the page does, thinned, scaled; its still picture."""

import base64

import numpy as np
import pytest

from lcsd.report.registered import MovedCloud, RegisteredClouds
from lcsd.report.viewer import expected_figure, expected_top, residual_figure, residual_top, viewer_data


def motion(count: int = 500, *, methods: bool = True) -> RegisteredClouds:
    rng = np.random.default_rng(0)
    fixed, moving = (rng.uniform(-150, 150, (count + n, 3)) for n in (0, 40))
    after = {"divroc": MovedCloud(fixed + np.array([0, 0, 20.0]), rng.uniform(0, 2, count))} if methods else {}
    return RegisteredClouds(fixed, moving, rng.uniform(0, 9, count), after)


def decode(data: dict[str, object], text: str) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 3) and residuals (N,) in mm, as the vertex shader has them."""
    steps = np.frombuffer(base64.b64decode(text), dtype="<u2").reshape(-1, 4).astype(float)
    points = np.asarray(data["low_mm"]) + data["step_mm"] * steps[:, :3]
    return points, data["residual_step_mm"] * steps[:, 3]


def test_positions_and_residuals_survive_within_a_hundredth_of_a_millimetre() -> None:
    given = motion()
    data = viewer_data(given, limit=1000)
    points, residual = decode(data, data["fixed"])
    np.testing.assert_allclose(points, given.fixed, atol=0.01)
    np.testing.assert_allclose(residual, given.before, atol=0.0051)
    points, residual = decode(data, data["methods"][0]["points"])
    np.testing.assert_allclose(points, given.after["divroc"].points, atol=0.01)
    np.testing.assert_allclose(residual, given.after["divroc"].residual, atol=0.0051)
    np.testing.assert_allclose(decode(data, data["moving"])[0], given.moving, atol=0.01)
    assert data["methods"][0]["name"] == "DiVRoC"
    assert data["top_mm"] == residual_top(given) == 10.0


def test_large_clouds_are_thinned_alike_before_and_after() -> None:
    given = motion()
    data = viewer_data(given, limit=100)
    before, _ = decode(data, data["fixed"])
    after, _ = decode(data, data["methods"][0]["points"])
    assert len(before) == len(after) == len(decode(data, data["moving"])[0]) == 100
    np.testing.assert_allclose(after - before, np.tile([0, 0, 20.0], (100, 1)), atol=0.02)
    # The medians are those of all points.
    assert data["median_mm"] == pytest.approx(np.median(given.before))
    assert viewer_data(given, limit=100) == data


def test_distances_beyond_16_bits_end_there() -> None:
    given = motion(3, methods=False)
    data = viewer_data(RegisteredClouds(given.fixed, given.moving, np.full(3, 1e4), {}), limit=10)
    assert decode(data, data["fixed"])[1] == pytest.approx(np.full(3, 655.35))
    assert data["methods"] == []


def test_one_point_has_a_picture_and_data() -> None:
    point = np.zeros((1, 3))
    given = RegisteredClouds(point, point, np.zeros(1), {})
    assert decode(viewer_data(given, limit=1), viewer_data(given, limit=1)["fixed"])[0].shape == (1, 3)
    assert len(residual_figure(given).axes[0].images) == 2


def test_picture_is_darker_where_the_distance_is_larger() -> None:
    given = motion()
    figure = residual_figure(given)
    panels = [np.asarray(picture.get_array()) for picture in figure.axes[0].images]
    assert len(panels) == 4
    assert panels[0].mean() < panels[1].mean()


def test_a_point_far_off_does_not_make_the_pictures_grow() -> None:
    given = motion()
    moved = given.after["divroc"]
    moved.points[0] = 1e5
    # 16 bits still resolve the others to a hundredth of a millimetre.
    points, _ = decode(viewer_data(given, limit=1000), viewer_data(given, limit=1000)["fixed"])
    np.testing.assert_allclose(points, given.fixed, atol=0.01)
    panel = residual_figure(given).axes[0].images[0].get_array()
    assert panel is not None
    assert max(panel.shape[:2]) < 400


def test_expected_errors_are_in_the_data_thinned_like_the_points() -> None:
    given = motion()
    moved = given.after["divroc"]
    errors = np.linspace(0, 9, 500)
    known = RegisteredClouds(
        given.fixed,
        given.moving,
        given.before,
        {"divroc": MovedCloud(moved.points, moved.residual, errors), "corrfield": moved},
    )
    data = viewer_data(known, limit=1000)
    found = np.frombuffer(base64.b64decode(data["methods"][0]["expected"]), dtype="<u2") * data["residual_step_mm"]
    np.testing.assert_allclose(found, errors, atol=0.0051)
    assert data["methods"][1]["expected"] == ""
    assert data["expected_top_mm"] == expected_top(known) == 10.0
    thinned = viewer_data(known, limit=100)
    places, _ = decode(thinned, thinned["fixed"])
    found = np.frombuffer(base64.b64decode(thinned["methods"][0]["expected"]), dtype="<u2") * data["residual_step_mm"]
    rows = np.linalg.norm(places[:, None] - given.fixed[None], axis=-1).argmin(axis=1)
    np.testing.assert_allclose(found, errors[rows], atol=0.0051)
    assert len(expected_figure(known).axes[0].images) == 2


def test_without_expected_errors_there_is_no_picture_of_them() -> None:
    given = motion()
    assert expected_figure(given) is None
    assert viewer_data(given, limit=10)["expected_top_mm"] == 0
