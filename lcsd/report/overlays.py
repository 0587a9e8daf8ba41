"""Pictures of one case: slices and vessel clouds, before and after registration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lcsd.build.inventory import Case, Inventory
from lcsd.build.jobs import METHODS
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_field
from lcsd.io.images import Image, check_same_grid, read_image, read_mask
from lcsd.io.plotting import method_name
from lcsd.io.points import read_cloud
from lcsd.names import SCANS
from lcsd.report.panels import (
    CONTOUR_COLOUR,
    GAP_IN,
    PLANES,
    Cut,
    Projection,
    full_ink,
    grey,
    hu_at,
    ink_mix,
    largest_cut,
    slice_panels,
)
from lcsd.report.sheet import PICTURE_WIDTH_IN, TITLE_IN, Box, Sheet

DIMMED = 0.45
"""Brightness outside the lungs, since registration is judged inside."""

CHECKER_MM = 20.0
"""Squares of the checkerboard: several across a lung, and wider than its vessels."""

PROJECTION_PIXEL_MM = 0.75
PROJECTION_BLUR_MM = 0.9

PROJECTION_MARGIN_MM = 3.0
SLAB_MM = 40.0
"""Thin enough to show single vessels, thick enough to show trees."""

Points = NDArray[np.float64]


def colour_mix(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return fixed in magenta and moving in green, shape (..., 3); grey where they agree."""
    return np.stack([fixed, moving, fixed], axis=-1)


def warped_at(moving: Image, field: DisplacementField, voxels: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return the warped moving image ``M(x + u(x))`` at voxels of the fixed grid.

    ``voxels`` are continuous indices (x, y, z) on ``grid``, shape (..., 3). The result is in HU, shape (...); outside
    the moving image it is the nearest voxel's.
    """
    world = grid.voxel_to_world(voxels)
    displacement = field.at(world.reshape(-1, 3)).reshape(world.shape)
    return hu_at(moving, world + displacement, mode="nearest")


@dataclass(frozen=True)
class Slices:
    """Sections through both scans of a case, before and after each method."""

    mask: Image  # lungs of the baseline
    cuts: Sequence[Cut]
    fixed: Sequence[NDArray[np.float64]]  # brightness of the baseline in each cut, (rows, columns) in [0, 1]
    # Brightness of the follow-up in each cut by row label: before, then warped by each method
    moving: Mapping[str, Sequence[NDArray[np.float64]]]


def case_slices(case: Case, inventory: Inventory) -> Slices | None:
    """Return the sections of a case through the middle of its lungs.

    None if the images in the common grid do not exist. A broken file is recorded and left out.
    """
    fixed, moving = (inventory.once(case.files.image(scan), read_image) for scan in SCANS)
    mask = inventory.once(case.files.mask("fixed"), read_mask)
    if fixed is None or moving is None or mask is None:
        return None
    for other in (moving, mask):
        check_same_grid(other.grid, fixed.grid)
    spacing_zyx = np.asarray(fixed.grid.spacing[::-1])
    cuts = [largest_cut(plane, mask.array, spacing_zyx) for plane in PLANES]
    rows = {"before (rigid)": [grey(cut.of(moving.array)) for cut in cuts]}
    for method in METHODS:
        field = inventory.once(case.files.field(method), read_field)
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
    """Return slices with fixed in magenta and moving in green, a row per state."""
    rows = [
        [colour_mix(f, m) for f, m in zip(slices.fixed, pictures, strict=True)] for pictures in slices.moving.values()
    ]
    return _slice_figure(slices, rows, list(slices.moving))


def checker_figure(slices: Slices) -> Figure:
    """Return slices as checkerboards of fixed and moving, a row per state."""
    spacing_zyx = slices.mask.grid.spacing[::-1]
    squares = [checkers(cut, cut.pixel_mm(spacing_zyx)) for cut in slices.cuts]
    rows = [
        [
            np.repeat(np.where(square, f, m)[..., None], 3, axis=-1)
            for square, f, m in zip(squares, slices.fixed, pictures, strict=True)
        ]
        for pictures in slices.moving.values()
    ]
    return _slice_figure(slices, rows, list(slices.moving))


def checkers(cut: Cut, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """Return which pixels of a cut show the first of two pictures, in squares of ``CHECKER_MM``.

    ``spacing`` is the height and width of a pixel, mm.
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
    """A thick slice of a cloud, projected along one axis."""

    title: str
    along: int  # world axis (x, y, z) of the projection
    level: float  # position of the slab: a quantile of the fixed cloud along that axis
    axes: tuple[int, int]  # world axes shown across and upwards
    across: tuple[str, str]  # letters of the left and right edge

    def ink(self, points: Points, middle: float, low: Points, size: Points) -> Points:
        """Return the density of the slab's points in [0, 1], shape (rows, columns), head up."""
        inside = points[np.abs(points[:, self.along] - middle) <= SLAB_MM / 2]
        projection = Projection(self.axes, low, size, PROJECTION_PIXEL_MM, PROJECTION_BLUR_MM)
        density = np.sqrt(projection.density(inside))
        ink: Points = np.clip(density / full_ink(density), 0.0, 1.0)
        return ink


SLABS = (
    Slab("coronal", 1, 0.5, (0, 2), ("R", "L")),
    # A quarter of the points are to the right of the middle of the right lung.
    Slab("sagittal", 0, 0.25, (1, 2), ("A", "P")),
)


def cloud_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return slabs of both registered vessel clouds, before and after DiVRoC; None without clouds."""
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
    # Without the moved points: one outlier would enlarge the picture.
    everything = np.concatenate([moving, fixed])
    low = everything.min(axis=0) - PROJECTION_MARGIN_MM
    size = everything.max(axis=0) + PROJECTION_MARGIN_MM - low
    widths = [float(size[slab.axes[0]]) for slab in SLABS] * len(states)
    # One state takes half the width, so that all cases have one scale.
    width_in = PICTURE_WIDTH_IN * len(states) / 2
    inches_per_mm = (width_in - GAP_IN * len(widths)) / sum(widths)
    sheet = Sheet(width_in, TITLE_IN + GAP_IN + float(size[2]) * inches_per_mm)
    left = GAP_IN / 2
    for label, points in states:
        for slab in SLABS:
            box = Box(left, GAP_IN, *(float(size[axis]) * inches_per_mm for axis in slab.axes))
            left += box.width + GAP_IN
            middle = float(np.quantile(fixed[:, slab.along], slab.level))
            inks = [slab.ink(cloud, middle, low, size) for cloud in (points, moving)]
            sheet.picture(box, ink_mix(*inks))
            sheet.title(box, f"{label}, {slab.title}", fontsize=9)
            sheet.sides(box, slab.across, fontsize=8)
    return sheet.figure
