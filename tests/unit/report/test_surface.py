"""Errors on the lungs: what is seen from where, spreading by a naive oracle, scales."""

import numpy as np
import pytest

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.report import surface
from lcsd.report.surface import KERNEL_MM, VIEWS, Spread, scale_top, shell, softened, surface_figure

GRID = Grid((24, 20, 28), (2.0, 3.0, 2.5), (-20.0, 30.0, -40.0))


@pytest.fixture
def box() -> Image:
    """A box apart from all borders."""
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[6:22, 6:14, 7:17] = True
    return Image(mask, GRID)


@pytest.mark.parametrize(
    ("title", "axis", "face"), [("front", 1, 6), ("back", 1, 13), ("right side", 0, 7), ("left side", 0, 16)]
)
def test_a_view_sees_the_face_that_is_turned_to_it(box: Image, title: str, axis: int, face: int) -> None:
    view = next(view for view in VIEWS if view.title == title)
    seen = shell(softened(box), box.grid, view)
    expected = GRID.origin[axis] + GRID.spacing[axis] * face
    # The blur takes a voxel of so small a box.
    apart = np.median(seen.world[:, axis]) - expected
    assert apart == pytest.approx(0.0, abs=GRID.spacing[axis] + 1e-6)
    assert seen.light.max() == pytest.approx(1.0, abs=0.01)
    assert seen.light.min() >= surface.AMBIENT


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.title)
def test_light_is_that_of_the_slope_towards_the_viewer(view: surface.View) -> None:
    # Touches every border of the grid, where slopes are one-sided.
    soft = np.random.default_rng(3).uniform(0, 1, GRID.shape).astype(np.float32)
    seen = shell(soft, GRID, view)
    slopes = np.stack(np.gradient(soft.astype(np.float64), *GRID.spacing[::-1]))
    facing = np.abs(slopes[view.axis]) / np.maximum(np.linalg.norm(slopes, axis=0), 1e-6)
    z, y, x = np.rint(GRID.world_to_voxel(seen.world)[:, ::-1]).astype(int).T
    np.testing.assert_allclose(seen.light, surface.AMBIENT + (1 - surface.AMBIENT) * facing[z, y, x], rtol=1e-5)


@pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.title)
def test_rows_begin_at_the_head_and_edges_are_as_written(box: Image, view: surface.View) -> None:
    seen = shell(softened(box), box.grid, view)
    rows, columns = np.nonzero(seen.hit)
    height, across = seen.world[:, 2], seen.world[:, 1 if view.axis == 2 else 0]
    assert height[rows == rows.min()].mean() > height[rows == rows.max()].mean()
    # L and P are the high ends of x and y.
    left = across[columns == columns.min()].mean() < across[columns == columns.max()].mean()
    assert left == (view.edges[0] in "RA")


def test_spread_is_the_gaussian_mean_and_far_away_the_nearest() -> None:
    rng = np.random.default_rng(0)
    points, errors = rng.uniform(0, 60, (20, 3)), rng.uniform(0, 5, 20)
    places = rng.uniform(-10, 70, (15, 3))
    squares = ((places[:, None] - points[None]) ** 2).sum(axis=-1)
    weights = np.exp(-squares / (2 * KERNEL_MM**2))
    expected = (weights * errors).sum(axis=1) / weights.sum(axis=1)
    np.testing.assert_allclose(Spread(points, places)(errors), expected, rtol=1e-9)
    far = np.array([[1e5, 0.0, 0.0]])
    closest = errors[np.linalg.norm(points - far, axis=1).argmin()]
    assert Spread(points, far)(errors)[0] == pytest.approx(closest, rel=1e-3)
    assert Spread(points[:1], places)(errors[:1]) == pytest.approx(np.full(15, errors[0]))


def test_scales_end_at_round_errors() -> None:
    assert scale_top([np.linspace(0, 7.0, 100)]) == 8.0
    assert scale_top([np.zeros(3), np.array([0.1])]) == 0.5
    assert scale_top([np.array([400.0])]) == 50.0


def test_figure_shows_the_error_where_it_is(box: Image) -> None:
    points = np.array([[0.0, 0.0, 0.0], [0.0, 100.0, 0.0]])
    states = {"before": (points, np.array([0.0, 8.0])), "after": (points, np.array([0.0, 0.4]))}
    figure = surface_figure(box, states, label="error, mm")
    pictures = [np.asarray(picture.get_array()) for picture in figure.axes[0].images]
    assert len(pictures) == 2 * len(VIEWS)
    # The front face is far from the large error at the back; dark is large.
    inked = [picture[picture.sum(axis=-1) < 2.99].mean() for picture in pictures[:2]]
    assert inked[0] > inked[1] + 0.05
    # Each kind of row has a scale of its own.
    labels = [axes.get_ylabel() for axes in figure.axes[1:]]
    assert labels == ["error, mm", "error, mm"]


def test_mask_at_the_border_of_its_grid_is_drawn(box: Image) -> None:
    full = Image(np.ones(GRID.shape, dtype=bool), GRID)
    figure = surface_figure(full, {"before": (np.zeros((1, 3)), np.ones(1))}, label="mm")
    assert len(figure.axes[0].images) == len(VIEWS)
