"""Pictures of one case: slices and vessel clouds, before and after registration."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.build import METHODS
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.images import DisplacementField, Image, check_same_grid, read_field, read_image, read_mask
from lcsd.points import read_cloud
from lcsd.report.collect import Case, Inventory
from lcsd.report.style import method_name

WINDOW_HU = (-1000.0, 50.0)
"""Black and white of the slices: from air to soft tissue, so that vessels stand out in the lung."""

MARGIN_MM = 12.0
"""Shown around the lungs."""

DIMMED = 0.45
"""Brightness outside the lungs: registration is judged inside."""

CONTOUR_COLOUR = "#F0E442"
FIXED_INK = np.array([0.80, 0.07, 0.58])
MOVING_INK = np.array([0.00, 0.55, 0.27])
"""Magenta and green keep their contrast for red-green blindness; both together go dark grey."""

OUTLINE = [withStroke(linewidth=2.0, foreground="#222222")]
"""Keeps white letters legible on white tissue."""

PICTURE_DPI = 110
PICTURE_WIDTH_IN = 9.0
ROW_LABEL_IN = 0.35
PROJECTION_PIXEL_MM = 0.75
PROJECTION_BLUR_MM = 0.9
"""Wider than half a voxel of the common grid, or the lattice of the points shows as a moire."""

PROJECTION_MARGIN_MM = 3.0
SLAB_MM = 40.0
"""Thin enough to tell single vessels, thick enough to show trees."""

INK_PERCENTILE = 98.0
"""Density at which a projected cloud reaches full ink."""


Points = NDArray[np.float64]


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
class _Cut:
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

    def shown(self, picture: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a picture of the cut in display order, first row on top."""
        return picture[::-1] if self.plane.flip else picture


def _cut(plane: Plane, mask: NDArray[np.bool_], spacing_zyx: NDArray[np.float64]) -> _Cut:
    """Return the cut with the largest lung area, with the lungs' box and a margin."""
    others = tuple(axis for axis in range(3) if axis != plane.axis)
    area = mask.sum(axis=others)
    ranges = []
    for axis in others:
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        margin = round(MARGIN_MM / spacing_zyx[axis])
        start, stop = max(used[0] - margin, 0), min(used[-1] + margin + 1, mask.shape[axis])
        ranges.append(slice(int(start), int(stop)))
    return _Cut(plane, int(area.argmax()), (ranges[0], ranges[1]))


def _grey(values: NDArray[np.generic]) -> NDArray[np.float64]:
    low, high = WINDOW_HU
    return np.clip((np.asarray(values, dtype=np.float64) - low) / (high - low), 0.0, 1.0)


def colour_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fixed in magenta and moving in green, shape (..., 3); where they agree it is grey."""
    return np.stack([fixed, moving, fixed], axis=-1)


def warped_at(
    moving: Image, field: DisplacementField, voxels: NDArray[np.float64], grid: Grid
) -> NDArray[np.float64]:
    """Return the warped moving image ``M(x + u(x))`` at voxels of the fixed grid.

    Parameters
    ----------
    voxels
        Continuous indices (x, y, z) on ``grid``, shape (..., 3).

    Returns
    -------
    NDArray
        Shape (...), HU; outside the moving image its nearest voxel.
    """
    world = grid.voxel_to_world(voxels).reshape(-1, 3)
    target = moving.grid.world_to_voxel(world + field.at(world))[:, ::-1].T
    sampled = map_coordinates(moving.array.astype(np.float32), target, order=1, mode="nearest")
    result: NDArray[np.float64] = sampled.reshape(voxels.shape[:-1]).astype(np.float64)
    return result


def _rows(
    case: Case, inventory: Inventory, fixed: Image, moving: Image, cuts: Sequence[_Cut]
) -> list[tuple[str, list[NDArray[np.float64]]]]:
    """Return the label and the colour-mix pictures of every row of the overlay."""
    reference = [_grey(cut.of(fixed.array)) for cut in cuts]
    before = [_grey(cut.of(moving.array)) for cut in cuts]
    rows = [("before (rigid)", before)]
    for method, folder in METHODS.items():
        field = inventory.attempt(case.folder / folder / "field.nii.gz", read_field)
        if field is not None:
            after = [_grey(warped_at(moving, field, cut.voxels(), fixed.grid)) for cut in cuts]
            rows.append((f"after {method_name(method)}", after))
    return [
        (label, [colour_mix(f, m) for f, m in zip(reference, pictures, strict=True)])
        for label, pictures in rows
    ]


def _show(
    axes: Axes, cut: _Cut, picture: NDArray[np.float64], extent: tuple[float, float, float, float]
) -> None:
    axes.imshow(cut.shown(picture), extent=extent, interpolation="bilinear", aspect="equal")
    axes.set_axis_off()
    for x, text in ((0.02, cut.plane.across[0]), (0.98, cut.plane.across[1])):
        axes.text(
            x, 0.03, text, transform=axes.transAxes, color="white", fontsize=9,
            ha="left" if x < 0.5 else "right", va="bottom", path_effects=OUTLINE,
        )  # fmt: skip


def overlay_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return slices of fixed (magenta) and moving (green), before and after each method.

    None if the images in the common grid do not exist. A broken file is recorded and left out.
    """
    images = case.folder / "images"
    fixed = inventory.attempt(images / "fixed.nii.gz", read_image)
    moving = inventory.attempt(images / "moving.nii.gz", read_image)
    mask = inventory.attempt(images / "fixed_mask.nii.gz", read_mask)
    if fixed is None or moving is None or mask is None:
        return None
    for other in (moving, mask):
        check_same_grid(other.grid, fixed.grid)
    spacing_zyx = np.asarray(fixed.grid.spacing[::-1])
    cuts = [_cut(plane, mask.array, spacing_zyx) for plane in PLANES]
    rows = _rows(case, inventory, fixed, moving, cuts)
    sizes = []
    for cut in cuts:
        high, wide = (i for axis, i in enumerate(spacing_zyx) if axis != cut.plane.axis)
        shape = cut.of(mask.array).shape
        sizes.append((shape[1] * wide, shape[0] * high))
    row_mm = max(height for _, height in sizes)
    inches_per_mm = (PICTURE_WIDTH_IN - ROW_LABEL_IN) / sum(width for width, _ in sizes)
    figure = _canvas(PICTURE_WIDTH_IN, 0.32 + row_mm * inches_per_mm * len(rows))
    grid = figure.subplots(
        len(rows), len(cuts), squeeze=False, width_ratios=[width for width, _ in sizes],
    )  # fmt: skip
    light = [np.where(cut.of(mask.array), 1.0, DIMMED)[..., None] for cut in cuts]
    for row, (label, pictures) in enumerate(rows):
        for column, (cut, picture) in enumerate(zip(cuts, pictures, strict=True)):
            axes = grid[row, column]
            extent = (0.0, sizes[column][0], 0.0, sizes[column][1])
            _show(axes, cut, picture * light[column], extent)
            contour = cut.of(mask.array).astype(float)
            axes.contour(
                cut.shown(contour), levels=[0.5], colors=[CONTOUR_COLOUR], linewidths=0.6,
                alpha=0.8, origin="upper", extent=extent,
            )  # fmt: skip
            if row == 0:
                axes.set_title(cut.plane.title, fontsize=10, loc="center", color="#222222", pad=3)
        _row_label(grid[row, 0], label)
    _scale_bar(grid[0, 0])
    return figure


def _canvas(width_in: float, height_in: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    return Figure(figsize=(width_in, height_in), dpi=PICTURE_DPI, layout=layout)


def _row_label(axes: Axes, label: str) -> None:
    axes.text(
        -0.03, 0.5, label, transform=axes.transAxes, rotation=90, ha="right", va="center",
        fontsize=10, color="#222222",
    )  # fmt: skip


def _scale_bar(axes: Axes, length_mm: float = 50.0) -> None:
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    x, y = left + 0.5 * (right - left), bottom + 0.06 * (top - bottom)
    axes.plot([x - length_mm / 2, x + length_mm / 2], [y, y], color="white", linewidth=2,
              path_effects=OUTLINE)  # fmt: skip
    axes.text(x, y + 0.02 * (top - bottom), f"{length_mm:.0f} mm", color="white", fontsize=8,
              ha="center", va="bottom", path_effects=OUTLINE)  # fmt: skip


@dataclass(frozen=True)
class Slab:
    """A thick slice of a cloud, projected along one axis.

    Parameters
    ----------
    title
        Name of the view.
    along
        World axis (x, y, z) of the projection.
    level
        Where the slab lies: quantile of the fixed cloud along that axis.
    axes
        World axes shown across and upwards.
    across
        Labels of the left and right edge.
    """

    title: str
    along: int
    level: float
    axes: tuple[int, int]
    across: tuple[str, str]

    def ink(self, points: Points, middle: float, low: Points, size: Points) -> Points:
        """Return the density of the slab's points in [0, 1], shape (rows, columns), head up."""
        inside = points[np.abs(points[:, self.along] - middle) <= SLAB_MM / 2]
        columns, rows = (self.axes[0], self.axes[1])
        bins = [max(math.ceil(size[axis] / PROJECTION_PIXEL_MM), 1) for axis in (rows, columns)]
        # Whole pixels of the lattice's own fraction: otherwise voxel rows beat with pixel rows.
        spans = [
            (low[axis], low[axis] + count * PROJECTION_PIXEL_MM)
            for axis, count in zip((rows, columns), bins, strict=True)
        ]
        counts, _, _ = np.histogram2d(inside[:, rows], inside[:, columns], bins=bins, range=spans)
        density = np.sqrt(gaussian_filter(counts, PROJECTION_BLUR_MM / PROJECTION_PIXEL_MM))
        used = density[density > density.max() * 1e-3]
        full = float(np.percentile(used, INK_PERCENTILE)) if len(used) else 1.0
        ink: Points = np.clip(density / full, 0.0, 1.0)[::-1]
        return ink


SLABS = (
    Slab("coronal", 1, 0.5, (0, 2), ("R", "L")),
    # A quarter of the points lie to the right of the right lung's middle.
    Slab("sagittal", 0, 0.25, (1, 2), ("A", "P")),
)


def ink_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return two inks on white paper, shape (..., 3): they multiply where they overlap."""
    paper = 1 - fixed[..., None] * (1 - FIXED_INK)
    result: NDArray[np.float64] = paper * (1 - moving[..., None] * (1 - MOVING_INK))
    return result


def cloud_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return slabs of both vessel clouds before and after DiVRoC; None without clouds.

    The clouds shown before are the ones that were registered.
    """
    moved = inventory.attempt(case.folder / METHODS["divroc"] / "points.npz", read_cloud)
    kind = "dense"
    if moved is not None and case.points.get(("fixed", "dense")) != len(moved):
        kind = "keypoints"
    clouds = [
        inventory.attempt(case.folder / "clouds" / f"{scan}_{kind}.npz", read_cloud)
        for scan in ("fixed", "moving")
    ]
    if clouds[0] is None or clouds[1] is None:
        return None
    fixed, moving = (np.asarray(cloud.points, np.float64) for cloud in clouds if cloud is not None)
    if moved is not None and len(moved) != len(fixed):
        raise BadInputError(
            "the moved points belong to another cloud", code="length_mismatch",
            file=case.folder / METHODS["divroc"] / "points.npz", expected=len(fixed),
            found=len(moved),
        )  # fmt: skip
    states = [("before (rigid)", fixed)]
    if moved is not None:
        states.append((f"after {method_name('divroc')}", np.asarray(moved.points, np.float64)))
    return _cloud_panels(states, moving, fixed)


def _cloud_panels(states: Sequence[tuple[str, Points]], moving: Points, fixed: Points) -> Figure:
    everything = np.concatenate([moving, *(points for _, points in states)])
    low = everything.min(axis=0) - PROJECTION_MARGIN_MM
    size = everything.max(axis=0) + PROJECTION_MARGIN_MM - low
    widths = [float(size[slab.axes[0]]) for slab in SLABS] * len(states)
    # One state alone takes half the width, so that all cases have the same scale.
    width_in = PICTURE_WIDTH_IN * len(states) / 2
    inches_per_mm = width_in / sum(widths)
    figure = _canvas(width_in, 0.3 + float(size[2]) * inches_per_mm)
    panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for state, (label, points) in enumerate(states):
        for view, slab in enumerate(SLABS):
            panel = panels[state * len(SLABS) + view]
            middle = float(np.quantile(fixed[:, slab.along], slab.level))
            inks = [slab.ink(cloud, middle, low, size) for cloud in (points, moving)]
            panel.imshow(ink_mix(*inks))
            panel.set_axis_off()
            panel.set_title(f"{label}, {slab.title}", fontsize=9, color="#222222", pad=2)
            for x, text in zip((0.02, 0.98), slab.across, strict=True):
                panel.text(x, 0.02, text, transform=panel.transAxes, color="#444444", fontsize=8,
                           ha="left" if x < 0.5 else "right")  # fmt: skip
    return figure
