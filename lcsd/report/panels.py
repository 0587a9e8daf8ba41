"""Slices of a case side by side: where they cut, how they are shown, inks of projections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

WINDOW_HU = (-1000.0, 50.0)
"""Black and white of the slices: from air to soft tissue, so that vessels stand out in the lung."""

MARGIN_MM = 12.0
"""Shown around lungs and vessels."""

FIXED_INK = np.array([0.80, 0.07, 0.58])
MOVING_INK = np.array([0.00, 0.55, 0.27])
"""Magenta and green keep their contrast for red-green blindness; both together go dark grey."""

OUTLINE = [withStroke(linewidth=2.0, foreground="#222222")]
BAR_OUTLINE = [withStroke(linewidth=4.0, foreground="#222222")]
"""Keep white letters and the scale bar legible on white tissue and paper."""

CONTOUR_COLOUR = "#F0E442"
"""Yellow of Okabe and Ito, for the lungs."""

PICTURE_DPI = 110
PICTURE_WIDTH_IN = 9.0
ROW_LABEL_IN = 0.35
INK_PERCENTILE = 98.0
"""Density at which a projected cloud or mask reaches full ink."""


@dataclass(frozen=True)
class Plane:
    """A slice through the common grid, seen as radiologists do (patient's right on the left).

    Parameters
    ----------
    title
        Name of the plane.
    axis
        Array axis (z, y, x) that is constant.
    flip
        Whether rows are shown from high to low index (head up).
    across
        Labels of the left and right edge.
    """

    title: str
    axis: int
    flip: bool
    across: tuple[str, str]


PLANES = (
    Plane("axial", 0, False, ("R", "L")),
    Plane("coronal", 1, True, ("R", "L")),
    Plane("sagittal", 2, True, ("A", "P")),
)


@dataclass(frozen=True)
class Cut:
    """Where a plane cuts the volume: the constant index and the shown ranges of the others."""

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
    """A figure of slices: a row per state, a column per cut.

    Parameters
    ----------
    axes
        Shape (rows, cuts).
    extents
        Left, right, bottom and top of every column, mm.
    """

    figure: Figure
    axes: NDArray[np.object_]
    cuts: Sequence[Cut]
    extents: Sequence[tuple[float, float, float, float]]

    def show(self, row: int, column: int, picture: NDArray[np.float64]) -> None:
        """Show a picture (rows, columns, 3) of a cut, with the patient's sides."""
        _show_cut(self.axes[row, column], self.cuts[column], picture, self.extents[column])

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
    """Return empty panels for cuts, with their titles, a label per row and a scale bar."""
    sizes = []
    for cut in cuts:
        high, wide = (i for axis, i in enumerate(spacing_zyx) if axis != cut.plane.axis)
        rows, columns = (r.stop - r.start for r in cut.ranges)
        sizes.append((columns * wide, rows * high))
    row_mm = max(height for _, height in sizes)
    inches_per_mm = (PICTURE_WIDTH_IN - ROW_LABEL_IN) / sum(width for width, _ in sizes)
    figure = canvas(PICTURE_WIDTH_IN, 0.32 + row_mm * inches_per_mm * len(labels))
    axes = figure.subplots(len(labels), len(cuts), squeeze=False, width_ratios=[width for width, _ in sizes])
    for panel, cut, (width, height) in zip(axes[0], cuts, sizes, strict=True):
        panel.set_title(cut.plane.title, fontsize=10, loc="center", color="#222222", pad=3)
        # The bar is drawn before the picture that sets these limits.
        panel.set(xlim=(0.0, width), ylim=(0.0, height))
    for panel, label in zip(axes[:, 0], labels, strict=True):
        _row_label(panel, label)
    _scale_bar(axes[0, 0])
    return Panels(figure, axes, cuts, [(0.0, width, 0.0, height) for width, height in sizes])


def _show_cut(axes: Axes, cut: Cut, picture: NDArray[np.float64], extent: tuple[float, float, float, float]) -> None:
    axes.imshow(cut.shown(picture), extent=extent, interpolation="bilinear", aspect="equal")
    axes.set_axis_off()
    for x, text in ((0.02, cut.plane.across[0]), (0.98, cut.plane.across[1])):
        axes.text(
            x,
            0.03,
            text,
            transform=axes.transAxes,
            color="white",
            fontsize=9,
            ha="left" if x < 0.5 else "right",
            va="bottom",
            path_effects=OUTLINE,
        )


def canvas(width_in: float, height_in: float) -> Figure:
    """Return an empty figure of that size whose panels lie close together."""
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    return Figure(figsize=(width_in, height_in), dpi=PICTURE_DPI, layout=layout)


def _row_label(axes: Axes, label: str) -> None:
    axes.text(
        -0.03, 0.5, label, transform=axes.transAxes, rotation=90, ha="right", va="center", fontsize=10, color="#222222"
    )


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
    """Return the density that is drawn with full ink; 1 where there is none."""
    used = density[density > density.max() * 1e-3]
    return float(np.percentile(used, INK_PERCENTILE)) if len(used) else 1.0


def ink_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two inks on white paper, shape (..., 3): they multiply where they overlap."""
    paper = 1 - fixed[..., None] * (1 - FIXED_INK)
    result: NDArray[np.float64] = paper * (1 - moving[..., None] * (1 - MOVING_INK))
    return result
