"""Pictures of one case: slices and vessel clouds, before and after registration."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.build.inventory import Case, Inventory
from lcsd.build.jobs import METHODS
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_field
from lcsd.io.images import Image, check_same_grid, read_image, read_mask
from lcsd.io.points import read_cloud
from lcsd.names import SCANS
from lcsd.plotting import method_name
from lcsd.report.panels import (
    CONTOUR_COLOUR,
    PICTURE_WIDTH_IN,
    PLANES,
    Cut,
    canvas,
    full_ink,
    grey,
    ink_mix,
    largest_cut,
    slice_panels,
)

DIMMED = 0.45
"""Brightness outside the lungs: registration is judged inside."""

CHECKER_MM = 20.0
"""Squares of the checkerboard: several across a lung, each wider than the vessels in it."""

PROJECTION_PIXEL_MM = 0.75
PROJECTION_BLUR_MM = 0.9
"""Wider than half a voxel of the common grid, or the lattice of the points shows as a moire."""

PROJECTION_MARGIN_MM = 3.0
SLAB_MM = 40.0
"""Thin enough to tell single vessels, thick enough to show trees."""

Points = NDArray[np.float64]


def colour_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fixed in magenta and moving in green, shape (..., 3); where they agree it is grey."""
    return np.stack([fixed, moving, fixed], axis=-1)


def warped_at(moving: Image, field: DisplacementField, voxels: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
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


@dataclass(frozen=True)
class Slices:
    """Sections through both scans of a case, before and after each method.

    Parameters
    ----------
    mask
        Lungs of the baseline, in whose middle the sections lie.
    cuts
        Where the sections lie.
    fixed
        Brightness of the baseline in each cut, (rows, columns) in [0, 1].
    moving
        Row label to the brightness of the follow-up in each cut: before, then warped.
    """

    mask: Image
    cuts: Sequence[Cut]
    fixed: Sequence[NDArray[np.float64]]
    moving: Mapping[str, Sequence[NDArray[np.float64]]]


def case_slices(case: Case, inventory: Inventory) -> Slices | None:
    """Return the sections of a case through the middle of its lungs.

    None if the images in the common grid do not exist. A broken file is recorded and left out.
    """
    fixed, moving = (inventory.attempt(case.files.image(scan), read_image) for scan in SCANS)
    mask = inventory.attempt(case.files.mask("fixed"), read_mask)
    if fixed is None or moving is None or mask is None:
        return None
    for other in (moving, mask):
        check_same_grid(other.grid, fixed.grid)
    spacing_zyx = np.asarray(fixed.grid.spacing[::-1])
    cuts = [largest_cut(plane, mask.array, spacing_zyx) for plane in PLANES]
    rows = {"before (rigid)": [grey(cut.of(moving.array)) for cut in cuts]}
    for method in METHODS:
        field = inventory.attempt(case.files.field(method), read_field)
        if field is not None:
            rows[f"after {method_name(method)}"] = [
                grey(warped_at(moving, field, cut.voxels(), fixed.grid)) for cut in cuts
            ]
    return Slices(mask, cuts, [grey(cut.of(fixed.array)) for cut in cuts], rows)


def overlay_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return slices of fixed (magenta) and moving (green), before and after each method.

    None if the images in the common grid do not exist. A broken file is recorded and left out.
    """
    slices = case_slices(case, inventory)
    return None if slices is None else mixed_figure(slices)


def mixed_figure(slices: Slices) -> Figure:
    """Return slices in which fixed is magenta and moving green, a row per state."""
    rows = [
        [colour_mix(f, m) for f, m in zip(slices.fixed, pictures, strict=True)] for pictures in slices.moving.values()
    ]
    return _slice_figure(slices, rows, list(slices.moving))


def checker_figure(slices: Slices) -> Figure:
    """Return slices in which squares of fixed and moving alternate, a row per state."""
    spacing_zyx = slices.mask.grid.spacing[::-1]
    squares = [
        checkers(cut, [s for axis, s in enumerate(spacing_zyx) if axis != cut.plane.axis]) for cut in slices.cuts
    ]
    rows = [
        [
            np.repeat(np.where(square, f, m)[..., None], 3, axis=-1)
            for square, f, m in zip(squares, slices.fixed, pictures, strict=True)
        ]
        for pictures in slices.moving.values()
    ]
    return _slice_figure(slices, rows, list(slices.moving))


def checkers(cut: Cut, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return which pixels of a cut show the first of two pictures: squares of ``CHECKER_MM``.

    Parameters
    ----------
    spacing
        Height and width of a pixel, mm.
    """
    rows, columns = (
        np.arange(r.stop - r.start) * step // CHECKER_MM for r, step in zip(cut.ranges, spacing, strict=True)
    )
    result: NDArray[np.bool_] = (rows[:, None] + columns[None, :]) % 2 == 0
    return result


def _slice_figure(slices: Slices, rows: Sequence[Sequence[NDArray[np.float64]]], labels: Sequence[str]) -> Figure:
    mask = slices.mask
    panels = slice_panels(slices.cuts, np.asarray(mask.grid.spacing[::-1]), labels)
    light = [np.where(cut.of(mask.array), 1.0, DIMMED)[..., None] for cut in slices.cuts]
    for row, pictures in enumerate(rows):
        for column, picture in enumerate(pictures):
            panels.show(row, column, picture * light[column])
            panels.outline(row, column, mask.array, CONTOUR_COLOUR)
    return panels.figure


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
        ink: Points = np.clip(density / full_ink(density), 0.0, 1.0)[::-1]
        return ink


SLABS = (
    Slab("coronal", 1, 0.5, (0, 2), ("R", "L")),
    # A quarter of the points lie to the right of the right lung's middle.
    Slab("sagittal", 0, 0.25, (1, 2), ("A", "P")),
)


def cloud_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return slabs of both vessel clouds before and after DiVRoC; None without clouds.

    The clouds shown before are the ones that were registered.
    """
    if ("fixed", "dense") not in case.points:
        return None
    moved = inventory.attempt(case.files.moved_points, read_cloud)
    kind = "dense"
    if moved is not None and case.points["fixed", "dense"] != len(moved):
        kind = "keypoints"
    clouds = [inventory.attempt(case.files.cloud(scan, kind), read_cloud) for scan in SCANS]
    if clouds[0] is None or clouds[1] is None:
        return None
    fixed, moving = (np.asarray(cloud.points, np.float64) for cloud in clouds if cloud is not None)
    if moved is not None and len(moved) != len(fixed):
        raise BadInputError(
            "the moved points belong to another cloud",
            code="length_mismatch",
            file=case.files.moved_points,
            expected=len(fixed),
            found=len(moved),
        )
    states = [("before (rigid)", fixed)]
    if moved is not None:
        states.append((f"after {method_name('divroc')}", np.asarray(moved.points, np.float64)))
    return _cloud_panels(states, moving, fixed)


def _cloud_panels(states: Sequence[tuple[str, Points]], moving: Points, fixed: Points) -> Figure:
    # Not of the moved points, too: a method may carry one anywhere, and the picture would grow.
    everything = np.concatenate([moving, fixed])
    low = everything.min(axis=0) - PROJECTION_MARGIN_MM
    size = everything.max(axis=0) + PROJECTION_MARGIN_MM - low
    widths = [float(size[slab.axes[0]]) for slab in SLABS] * len(states)
    # One state alone takes half the width, so that all cases have the same scale.
    width_in = PICTURE_WIDTH_IN * len(states) / 2
    inches_per_mm = width_in / sum(widths)
    figure = canvas(width_in, 0.3 + float(size[2]) * inches_per_mm)
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
                panel.text(
                    x,
                    0.02,
                    text,
                    transform=panel.transAxes,
                    color="#444444",
                    fontsize=8,
                    ha="left" if x < 0.5 else "right",
                )
    return figure
