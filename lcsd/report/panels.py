"""Panels of a case's pictures: slices side by side, projections of points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.io.images import Image
from lcsd.report.sheet import LABEL_IN, PICTURE_WIDTH_IN, TITLE_IN, Box, Sheet

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

GAP_IN = 0.03
"""Paper between two panels."""

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

    sheet: Sheet
    boxes: Sequence[Sequence[Box]]  # of every row, that of each cut
    cuts: Sequence[Cut]

    @property
    def figure(self) -> Figure:
        """The figure with all pictures."""
        return self.sheet.figure

    def show(self, row: int, column: int, picture: NDArray[np.float64]) -> None:
        """Show a picture (rows, columns, 3) of a cut, with the patient's sides."""
        cut, box = self.cuts[column], self.boxes[row][column]
        self.sheet.picture(box, cut.shown(picture))
        self.sheet.sides(box, cut.plane.across, y=0.03, color="white", va="bottom", path_effects=OUTLINE)

    def outline(self, row: int, column: int, mask: NDArray[np.generic], colour: str) -> None:
        """Draw the outline of a mask (z, y, x) in a cut, if it meets the mask."""
        cut = self.cuts[column]
        part = cut.of(mask).astype(float)
        if part.any():
            self.sheet.outline(self.boxes[row][column], cut.shown(part), colour)


def slice_panels(cuts: Sequence[Cut], spacing_zyx: NDArray[np.float64], labels: Sequence[str]) -> Panels:
    """Return empty panels for cuts, with titles, row labels and a scale bar."""
    sizes = []
    for cut in cuts:
        high, wide = cut.pixel_mm(spacing_zyx)
        rows, columns = (r.stop - r.start for r in cut.ranges)
        sizes.append((columns * wide, rows * high))
    inches_per_mm = (PICTURE_WIDTH_IN - LABEL_IN - GAP_IN * len(cuts)) / sum(width for width, _ in sizes)
    sizes = [(width * inches_per_mm, height * inches_per_mm) for width, height in sizes]
    row_in = max(height for _, height in sizes) + GAP_IN
    sheet = Sheet(PICTURE_WIDTH_IN, TITLE_IN + row_in * len(labels))
    boxes = []
    for row, label in enumerate(labels):
        bottom = row_in * (len(labels) - 1 - row)
        lefts = LABEL_IN + np.cumsum([0.0, *(width + GAP_IN for width, _ in sizes)])
        # Lower pictures lie in the middle of their row.
        places = [bottom + (row_in - height) / 2 for _, height in sizes]
        boxes.append([Box(float(x), y, *size) for x, y, size in zip(lefts, places, sizes, strict=False)])
        sheet.row_label(boxes[row][0], label, fontsize=10)
    for box, cut in zip(boxes[0], cuts, strict=True):
        sheet.title(box, cut.plane.title, fontsize=10)
    _scale_bar(sheet, boxes[0][0], inches_per_mm)
    return Panels(sheet, boxes, cuts)


def _scale_bar(sheet: Sheet, box: Box, inches_per_mm: float, length_mm: float = 50.0) -> None:
    (x, y), half = box.at(0.5, 0.06), length_mm * inches_per_mm / 2
    sheet.axes.plot([x - half, x + half], [y, y], color="white", linewidth=2, path_effects=BAR_OUTLINE)
    look = {"color": "white", "fontsize": 8, "path_effects": OUTLINE}
    sheet.text(box.at(0.5, 0.08), f"{length_mm:.0f} mm", ha="center", va="bottom", **look)


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
    found = map_coordinates(image.array, voxels, order=1, output=np.float32, **outside)
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
