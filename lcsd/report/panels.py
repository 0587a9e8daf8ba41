"""Panels of a case's pictures: slices side by side, projections of points, letters of the patient's sides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.io.images import Image

WINDOW_HU = (-1000.0, 50.0)
"""Black and white of slices: air and soft tissue, so that vessels stand out in the lung."""

MARGIN_MM = 12.0
"""Margin around lungs and vessels."""

FIXED_INK = np.array([0.80, 0.07, 0.58])
MOVING_INK = np.array([0.00, 0.55, 0.27])
"""Magenta and green differ for red-green colour-blind readers, too; together they give dark grey."""

OUTLINE = [withStroke(linewidth=2.0, foreground="#222222")]
BAR_OUTLINE = [withStroke(linewidth=4.0, foreground="#222222")]
"""Keep white letters and the scale bar legible on white tissue and paper."""

CONTOUR_COLOUR = "#F0E442"
"""Yellow of Okabe and Ito, for the lungs."""

PICTURE_DPI = 110
PICTURE_WIDTH_IN = 9.0
ROW_LABEL_IN = 0.35
INK_PERCENTILE = 98.0
"""Percentile of the densities of a projection that is drawn with full ink."""


@dataclass(frozen=True)
class Plane:
    """A slice through the common grid, seen as radiologists do (patient's right on the left)."""

    title: str
    axis: int  # array axis (z, y, x) that is constant
    flip: bool  # whether rows are shown from high to low index, so that the head is up
    across: tuple[str, str]  # letters of the left and right edge


PLANES = (
    Plane("axial", 0, False, ("R", "L")),
    Plane("coronal", 1, True, ("R", "L")),
    Plane("sagittal", 2, True, ("A", "P")),
)


@dataclass(frozen=True)
class Cut:
    """The shown part of a plane: its constant index, and the ranges of the other two axes."""

    plane: Plane
    index: int
    ranges: tuple[slice, slice]

    def voxels(self) -> NDArray[np.float64]:
        """Return voxel indices (x, y, z) of the shown pixels, shape (rows, columns, 3)."""
        axes = [np.arange(r.start, r.stop, dtype=np.float64) for r in self.ranges]
        axes.insert(self.plane.axis, np.array([float(self.index)]))
        z, y, x = np.meshgrid(*axes, indexing="ij")
        return np.stack([x, y, z], axis=-1).squeeze(self.plane.axis)

    def of(self, array: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the shown part of a volume (z, y, x)."""
        where: list[int | slice] = list(self.ranges)
        where.insert(self.plane.axis, self.index)
        return array[tuple(where)]

    def summed(self, array: NDArray[np.generic]) -> NDArray[np.float64]:
        """Return a volume (z, y, x) summed across the plane, in the shown part."""
        where = list(self.ranges)
        where.insert(self.plane.axis, slice(None))
        result: NDArray[np.float64] = array[tuple(where)].sum(axis=self.plane.axis, dtype=float)
        return result

    def pixel_mm(self, spacing_zyx: Sequence[float] | NDArray[np.float64]) -> tuple[float, float]:
        """Return the height and width of a pixel, mm."""
        height, width = (float(step) for axis, step in enumerate(spacing_zyx) if axis != self.plane.axis)
        return height, width

    def shown(self, picture: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a picture of the cut in display order, first row on top."""
        return picture[::-1] if self.plane.flip else picture


def largest_cut(plane: Plane, mask: NDArray[np.bool_], spacing_zyx: NDArray[np.float64]) -> Cut:
    """Return the cut with the largest area of the mask, with the mask's box and a margin."""
    others = tuple(axis for axis in range(3) if axis != plane.axis)
    area = mask.sum(axis=others)
    ranges = []
    for axis in others:
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(MARGIN_MM / spacing_zyx[axis])
        start, stop = max(used[0] - margin, 0), min(used[-1] + margin + 1, mask.shape[axis])
        ranges.append(slice(int(start), int(stop)))
    return Cut(plane, int(area.argmax()), (ranges[0], ranges[1]))


def grey(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return HU as brightness in [0, 1]."""
    low, high = WINDOW_HU
    return np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low), 0.0, 1.0)


@dataclass(frozen=True)
class Panels:
    """A figure of slices: a row per state, a column per cut."""

    figure: Figure
    axes: NDArray[np.object_]  # shape (rows, cuts)
    cuts: Sequence[Cut]
    extents: Sequence[tuple[float, float, float, float]]  # left, right, bottom and top of every column, mm

    def show(self, row: int, column: int, picture: NDArray[np.float64]) -> None:
        """Show a picture (rows, columns, 3) of a cut, with the patient's sides."""
        cut, panel = self.cuts[column], self.axes[row, column]
        panel.imshow(cut.shown(picture), extent=self.extents[column], interpolation="bilinear", aspect="equal")
        panel.set_axis_off()
        write_sides(panel, cut.plane.across, y=0.03, color="white", va="bottom", path_effects=OUTLINE)

    def outline(self, row: int, column: int, mask: NDArray[np.generic], colour: str) -> None:
        """Draw the outline of a mask (z, y, x) in a cut, if it meets the mask."""
        cut = self.cuts[column]
        part = cut.of(mask).astype(float)
        if part.any():
            self.axes[row, column].contour(
                cut.shown(part),
                levels=[0.5],
                colors=[colour],
                linewidths=0.7,
                alpha=0.9,
                origin="upper",
                extent=self.extents[column],
            )


def slice_panels(cuts: Sequence[Cut], spacing_zyx: NDArray[np.float64], labels: Sequence[str]) -> Panels:
    """Return empty panels for cuts, with titles, row labels and a scale bar."""
    sizes = []
    for cut in cuts:
        high, wide = cut.pixel_mm(spacing_zyx)
        rows, columns = (r.stop - r.start for r in cut.ranges)
        sizes.append((columns * wide, rows * high))
    row_mm = max(height for _, height in sizes)
    inches_per_mm = (PICTURE_WIDTH_IN - ROW_LABEL_IN) / sum(width for width, _ in sizes)
    figure = canvas(PICTURE_WIDTH_IN, 0.32 + row_mm * inches_per_mm * len(labels))
    axes = figure.subplots(len(labels), len(cuts), squeeze=False, width_ratios=[width for width, _ in sizes])
    for panel, cut, (width, height) in zip(axes[0], cuts, sizes, strict=True):
        panel.set_title(cut.plane.title, fontsize=10, loc="center", color="#222222", pad=3)
        # The scale bar needs these limits before a picture sets them.
        panel.set(xlim=(0.0, width), ylim=(0.0, height))
    for panel, label in zip(axes[:, 0], labels, strict=True):
        place = {"transform": panel.transAxes, "rotation": 90, "ha": "right", "va": "center"}
        panel.text(-0.03, 0.5, label, fontsize=10, color="#222222", **place)
    _scale_bar(axes[0, 0])
    return Panels(figure, axes, cuts, [(0.0, width, 0.0, height) for width, height in sizes])


def canvas(width_in: float, height_in: float) -> Figure:
    """Return an empty figure with narrow gaps between its panels."""
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    return Figure(figsize=(width_in, height_in), dpi=PICTURE_DPI, layout=layout)


def write_sides(panel: Axes, letters: tuple[str, str], *, y: float = 0.02, **style: Any) -> None:
    """Write the letters of the patient's sides at the left and right edge of a panel."""
    look = {"transform": panel.transAxes, "color": "#444444", "fontsize": 9, **style}
    for x, letter, side in zip((0.02, 0.98), letters, ("left", "right"), strict=True):
        panel.text(x, y, letter, ha=side, **look)


def _scale_bar(axes: Axes, length_mm: float = 50.0) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = left + 0.5 * (right - left), bottom + 0.06 * (top - bottom)
    axes.plot([x - length_mm / 2, x + length_mm / 2], [y, y], color="white", linewidth=2, path_effects=BAR_OUTLINE)
    axes.text(
        x,
        y + 0.02 * (top - bottom),
        f"{length_mm:.0f} mm",
        color="white",
        fontsize=8,
        ha="center",
        va="bottom",
        path_effects=OUTLINE,
    )


def full_ink(density: NDArray[np.float64]) -> float:
    """Return the density that is drawn with full ink; 1 if all densities are 0."""
    used = density[density > density.max() * 1e-3]
    return float(np.percentile(used, INK_PERCENTILE)) if len(used) else 1.0


def ink_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two inks on white paper, shape (..., 3); they multiply where they overlap."""
    paper = 1 - fixed[..., None] * (1 - FIXED_INK)
    result: NDArray[np.float64] = paper * (1 - moving[..., None] * (1 - MOVING_INK))
    return result


def hu_at(image: Image, world: NDArray[np.float64], **outside: Any) -> NDArray[np.float64]:
    """Return HU at LPS points (..., 3), mm, linearly interpolated; ``outside`` goes to ``map_coordinates``."""
    voxels = image.grid.world_to_voxel(world.reshape(-1, 3))[:, ::-1].T
    found = map_coordinates(image.array.astype(np.float32), voxels, order=1, **outside)
    result: NDArray[np.float64] = found.reshape(world.shape[:-1]).astype(np.float64)
    return result


@dataclass(frozen=True)
class Projection:
    """How points are projected along a world axis, with the head up."""

    axes: tuple[int, int]  # world axes (x, y, z) shown across and upwards
    # Lowest corner and extent of what is shown, shape (3,), LPS mm
    low: NDArray[np.float64]
    size: NDArray[np.float64]
    pixel_mm: float
    # Standard deviation of the blur; a blur of more than half a voxel hides the points' lattice
    blur_mm: float

    def density(self, points: NDArray[np.float64], weights: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the blurred number, or sum of weights, of points per pixel, shape (rows, columns)."""
        across, up = self.axes
        # Whole pixels from the lowest corner: otherwise rows of voxels interfere with rows of pixels.
        bins = [max(math.ceil(self.size[axis] / self.pixel_mm), 1) for axis in (up, across)]
        spans = [
            (self.low[axis], self.low[axis] + n * self.pixel_mm) for axis, n in zip((up, across), bins, strict=True)
        ]
        counts, _, _ = np.histogram2d(points[:, up], points[:, across], bins=bins, range=spans, weights=weights)
        blurred: NDArray[np.float64] = gaussian_filter(counts, self.blur_mm / self.pixel_mm)[::-1]
        return blurred
