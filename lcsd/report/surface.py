"""Registration error on the surface of the lungs, from four sides."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.io.plotting import BASE_FONT_PT
from lcsd.report.sheet import LABEL_IN, PICTURE_WIDTH_IN, TITLE_IN, Box, Sheet

RAMP = ((0.0, "#a3b9c8"), (0.35, "#efa94a"), (0.65, "#d55e00"), (1.0, "#5a0820"))
"""Colours of an error from 0 to the largest, ever darker, so that the order is visible without colours. The 3-D view
uses them, too."""

KERNEL_MM = 15.0
"""Standard deviation of the Gaussian that spreads errors to the surface: 100 landmarks in a pair of lungs are 20 to
30 mm apart."""

NEIGHBOURS = 64
"""Number of nearest points whose errors count at a place; others have almost no weight."""

SMOOTHING_VOXELS = 2.0
"""Blur of the mask for outline and shading; without it, voxels would be visible as steps."""

AMBIENT = 0.55
"""Brightness of a surface seen edge-on."""

States = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Points (N, 3), LPS mm, and their errors (N,), mm, by the label of a row."""

GAP_IN = 0.08
"""Paper between two pictures."""

SCALE_IN = 0.95
"""Room for a colour scale, its ticks and its label."""

SCALE_PERCENTILE = 98.0
MARGIN_VOXELS = 3


@dataclass(frozen=True)
class View:
    """A side from which the lungs are seen, with the head up."""

    title: str
    axis: int  # array axis (z, y, x) of the line of sight
    reverse: bool  # whether the line of sight runs from high to low index
    mirror: bool  # whether columns run from high to low index
    edges: tuple[str, str]  # letters of the left and right edge


VIEWS = (
    View("front", 1, False, False, ("R", "L")),
    View("back", 1, True, True, ("L", "R")),
    View("right side", 2, False, True, ("P", "A")),
    View("left side", 2, True, False, ("A", "P")),
)


@dataclass(frozen=True)
class Shell:
    """The visible surface of the lungs from a side, in display order (head up)."""

    hit: NDArray[np.bool_]  # whether a pixel shows lung, shape (rows, columns)
    world: NDArray[np.float64]  # visible places, shape (number of hits, 3), LPS mm, in the order of ``hit``
    light: NDArray[np.float64]  # brightness of each place in [0, 1]


def softened(mask: Image) -> NDArray[np.float32]:
    """Return a mask (z, y, x), blurred, so that its voxels are no steps."""
    soft: NDArray[np.float32] = gaussian_filter(mask.array.astype(np.float32), SMOOTHING_VOXELS)
    return soft


def shell(soft: NDArray[np.float32], grid: Grid, view: View) -> Shell:
    """Return the visible surface of a softened mask (z, y, x) from a side, in orthographic projection."""
    inside = soft >= 0.5
    if view.reverse:
        inside = np.flip(inside, view.axis)
    hit = np.asarray(inside.any(axis=view.axis))
    depth = inside.argmax(axis=view.axis)
    depth = soft.shape[view.axis] - 1 - depth if view.reverse else depth
    columns = slice(None, None, -1) if view.mirror else slice(None)
    shown = hit[::-1, columns]
    voxels = np.insert(np.indices(hit.shape), view.axis, depth, axis=0)
    seen = voxels[:, ::-1, columns][:, shown]
    # Slopes per mm; the light comes from the viewer.
    slopes = np.stack([_slope(soft, seen, axis) / step for axis, step in enumerate(grid.spacing[::-1])])
    facing = np.abs(slopes[view.axis]) / np.maximum(np.linalg.norm(slopes, axis=0), 1e-6)
    light = AMBIENT + (1 - AMBIENT) * facing
    return Shell(shown, grid.voxel_to_world(seen.T[:, ::-1].astype(np.float64)), light)


def _slope(values: NDArray[np.float32], voxels: NDArray[np.intp], axis: int) -> NDArray[np.float64]:
    """Return the slope per voxel along an axis at voxels (3, N): central differences, one-sided at the border."""
    before, after = voxels.copy(), voxels.copy()
    before[axis] = np.maximum(voxels[axis] - 1, 0)
    after[axis] = np.minimum(voxels[axis] + 1, values.shape[axis] - 1)
    rise: NDArray[np.float64] = values[tuple(after)].astype(np.float64) - values[tuple(before)]
    return rise / np.maximum(after[axis] - before[axis], 1)


class Spread:
    """Spreads errors at points to places as Gaussian-weighted means of the errors at near points.

    Far from all points it is the error of the nearest one. Unlike a spline, a mean stays within the measured range.
    Points have shape (N, 3), N >= 1, and places (M, 3), both LPS mm.
    """

    def __init__(self, points: NDArray[np.float64], places: NDArray[np.float64]) -> None:
        count = min(NEIGHBOURS, len(points))
        distance, index = KDTree(points).query(places, k=count)
        self._index = index.reshape(-1, count)
        squares = distance.reshape(-1, count) ** 2
        weights = np.exp((squares.min(axis=1, keepdims=True) - squares) / (2 * KERNEL_MM**2))
        self._weights = weights / weights.sum(axis=1, keepdims=True)

    def __call__(self, errors: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return errors (N,) at the places, shape (M,), in the unit of the errors."""
        result: NDArray[np.float64] = (self._weights * errors[self._index]).sum(axis=1)
        return result


def _spread(states: States, shells: Sequence[Shell]) -> dict[str, list[NDArray[np.float64]]]:
    """Return the errors of each state on each shell; points that states share are searched once."""
    spreads: dict[bytes, list[Spread]] = {}
    for points, _ in states.values():
        key = points.tobytes()
        spreads[key] = spreads.get(key) or [Spread(points, shell.world) for shell in shells]
    return {name: [spread(errors) for spread in spreads[points.tobytes()]] for name, (points, errors) in states.items()}


def error_ramp() -> LinearSegmentedColormap:
    """Return the colours of errors."""
    return LinearSegmentedColormap.from_list("lcsd_error", list(RAMP))


def scale_top(errors: Sequence[NDArray[np.float64]]) -> float:
    """Return a round upper limit of a colour scale, mm, above 98 % of the errors of each set."""
    largest = max(float(np.percentile(values, SCALE_PERCENTILE)) for values in errors)
    for top in (0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40):
        if largest <= top:
            return float(top)
    return 50.0


def surface_figure(mask: Image, states: States, *, label: str) -> Figure:
    """Return the lungs from four sides, coloured by an error, a row per state.

    ``mask`` is the lungs of the baseline. ``states`` are points, shape (N, 3), LPS mm, and their errors, shape (N,),
    mm, by row label. ``label`` is the title of the colour scale, with its unit.
    """
    lungs = _cropped(mask)
    soft = softened(lungs)
    shells = [shell(soft, lungs.grid, view) for view in VIEWS]
    spacing = lungs.grid.spacing[::-1]
    sizes = [
        (s.hit.shape[1] * spacing[2 if view.axis == 1 else 1], s.hit.shape[0] * spacing[0])
        for s, view in zip(shells, VIEWS, strict=True)
    ]
    values = _spread(states, shells)
    scales = _scales(list(values.values()))
    ramp = error_ramp()
    inches_per_mm = (PICTURE_WIDTH_IN - LABEL_IN - SCALE_IN - GAP_IN * len(VIEWS)) / sum(width for width, _ in sizes)
    sizes = [(width * inches_per_mm, height * inches_per_mm) for width, height in sizes]
    row_in = sizes[0][1] + GAP_IN
    sheet = Sheet(PICTURE_WIDTH_IN, TITLE_IN + row_in * len(states))
    for row, (name, parts) in enumerate(values.items()):
        left, bottom = LABEL_IN, row_in * (len(states) - 1 - row) + GAP_IN / 2
        sheet.row_label(Box(left, bottom, *sizes[0]), name, fontsize=10)
        for view, part, seen, size in zip(VIEWS, parts, shells, sizes, strict=True):
            box = Box(left, bottom, *size)
            left += size[0] + GAP_IN
            picture = np.ones((*seen.hit.shape, 3))
            picture[seen.hit] = ramp(scales[row](part))[:, :3] * seen.light[:, None]
            sheet.picture(box, picture)
            sheet.sides(box, view.edges)
            if not row:
                sheet.title(box, view.title, fontsize=BASE_FONT_PT)
    # The first row has a scale of its own.
    for first, count in ((0, 1), (1, len(states) - 1)):
        if count:
            below = row_in * (len(states) - first - count)
            place = Box(PICTURE_WIDTH_IN - SCALE_IN + 0.25, below + 0.25, 0.13, row_in * count - 0.5)
            sheet.scale(place, ScalarMappable(scales[first], ramp), label)
    return sheet.figure


def _scales(rows: Sequence[Sequence[NDArray[np.float64]]]) -> list[Normalize]:
    """Return a scale for the first row and one for all others.

    On the scale of the errors before, all errors after a good registration would have one colour.
    """
    first = Normalize(0.0, scale_top(rows[0]))
    if len(rows) == 1:
        return [first]
    others = Normalize(0.0, scale_top([part for parts in rows[1:] for part in parts]))
    return [first, *[others] * (len(rows) - 1)]


def _cropped(mask: Image) -> Image:
    """Return the part of a mask around its voxels, with a margin."""
    used = [np.flatnonzero(mask.array.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    part = np.pad(mask.array[tuple(slice(u[0], u[-1] + 1) for u in used)], MARGIN_VOXELS)
    first = np.array([u[0] - MARGIN_VOXELS for u in used[::-1]])
    return Image(part, mask.grid.part(first, part.shape[::-1]))
