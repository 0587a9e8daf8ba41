"""Bring landmarks into common space for the evaluation, and check them there."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image
from lcsd.io.points import PointPairs, check_points
from lcsd.landmarks.lists import check_unique
from lcsd.names import Space
from lcsd.readings.in_mask import check_in_mask
from lcsd.readings.numbering import other_frame, outside_error

MOVING_MARGIN_MM = 100.0
"""A moving landmark may lie this far outside the fixed volume: published respiratory motion stays below
50 mm, and a wrong frame is off by hundreds."""

POINTS_MARGIN_MM = 100.0
"""Without a volume, landmarks may lie this far outside the box of the correspondences."""


def to_common_space(
    landmarks: PointPairs, *, rigid: RigidTransform | None, frame: Space
) -> tuple[PointPairs, NDArray[np.float64] | None]:
    """Return landmarks in common space, and their moving positions in native space if known.

    Fixed positions are in the baseline's LPS mm, which is common space; moving ones are in ``frame``: those of the
    follow-up scan (``native``), or in common space already (``common``). ``rigid`` maps common-space points to the
    follow-up's native LPS. Raises ``BadInputError`` for native landmarks without it.
    """
    if frame == "native":
        if rigid is None:
            raise BadInputError(
                "native landmarks need the rigid transform to common space",
                code="missing_rigid",
                field="--rigid",
                remedy="give the rigid.tfm of the case, or set the frame to common",
            )
        moving = rigid.inverse().apply(landmarks.moving)
        return replace(landmarks, moving=moving), landmarks.moving
    return landmarks, None if rigid is None else rigid.apply(landmarks.moving)


def _excess_mm(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return how far points lie outside a grid's voxels, largest over the axes, mm."""
    voxels = grid.world_to_voxel(points)
    beyond = np.maximum(-0.5 - voxels, voxels - (np.asarray(grid.size) - 0.5))
    excess: NDArray[np.float64] = (beyond * np.asarray(grid.spacing)).max(axis=1)
    return excess


CHECK_FRAME = "check that the file is in LPS mm (not RAS, not voxels) and belongs to this case"


def _check_inside(
    points: NDArray[np.float64],
    grid: Grid,
    *,
    margin_mm: float,
    voxels: bool = True,
    which: str,
    ids: Sequence[str] | None,
    file: Path | None,
) -> None:
    """Raise ``BadInputError`` with the first point outside a grid by more than a margin."""
    outside = np.flatnonzero(_excess_mm(points, grid) > margin_mm)
    if not len(outside):
        return
    row = int(outside[0])
    corners = grid.corners()
    raise outside_error(
        points,
        outside,
        (corners.min(axis=0), corners.max(axis=0)),
        code="landmark_outside",
        which=which,
        field=f"line {row + 2}" + (f", id {ids[row]}" if ids is not None else ""),
        file=file,
        remedy=other_frame(points, grid, voxels=voxels) or CHECK_FRAME,
        margin_mm=margin_mm,
    )


def box_around(points: NDArray[np.float64], margin_mm: float) -> Grid:
    """Return a grid of 1 mm voxels over the box of points (LPS mm) plus a margin."""
    low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
    size = np.maximum(np.ceil(high - low), 1).astype(int)
    return Grid(
        size=(int(size[0]), int(size[1]), int(size[2])),
        spacing=(1.0, 1.0, 1.0),
        origin=(float(low[0]), float(low[1]), float(low[2])),
    )


def check_in_common_space(
    landmarks: PointPairs,
    grids: Sequence[Grid],
    *,
    box: Grid | None = None,
    mask: Image | None = None,
    file: Path | None,
) -> None:
    """Refuse invalid landmarks: bad shapes, repeated ids, positions outside a volume.

    All is in common space, LPS mm. Fixed landmarks must lie inside each of ``grids``, moving ones at most
    ``MOVING_MARGIN_MM`` outside. ``box`` is another region, but no image, so landmarks cannot be its voxels. The fixed
    lung's ``mask`` reveals landmarks in another frame. Raises ``BadInputError`` with line, id and position of the first
    bad landmark, and the likely cause.
    """
    check_points(landmarks.fixed, file=file, name="fixed")
    check_points(landmarks.moving, file=file, name="moving")
    if len(landmarks.fixed) != len(landmarks.moving):
        raise BadInputError(
            "fixed and moving landmarks differ in number",
            code="length_mismatch",
            file=file,
            expected=len(landmarks.fixed),
            found=len(landmarks.moving),
        )
    check_unique(landmarks.ids or (), file=file)
    for grid in [*grids, *([] if box is None else [box])]:
        for which, points in (("fixed", landmarks.fixed), ("moving", landmarks.moving)):
            _check_inside(
                points,
                grid,
                margin_mm=MOVING_MARGIN_MM if which == "moving" else 0.0,
                voxels=grid is not box,
                which=which,
                ids=landmarks.ids,
                file=file,
            )
    if mask is not None:
        check_in_mask(landmarks.fixed, mask, file=file)


def origins(landmarks: PointPairs) -> dict[str, int] | None:
    """Return the number of landmarks by origin (or ``unknown``), sorted; None if the file has no origins."""
    if landmarks.origin is None:
        return None
    names = [origin or "unknown" for origin in landmarks.origin]
    return {name: names.count(name) for name in sorted(set(names))}


def count_seeded(landmarks: PointPairs, method: str) -> int | None:
    """Return how many landmarks a method predicted, corrected or not; None if the file has no origins."""
    if landmarks.origin is None:
        return None
    seeds = [origin.partition(":")[2].lower() for origin in landmarks.origin if ":" in origin]
    return seeds.count(method.lower())


def snapped(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return the nearest voxel centre, inside the grid or outside, to each LPS point, shape (N, 3) mm."""
    nearest: NDArray[np.float64] = grid.voxel_to_world(np.rint(grid.world_to_voxel(points)))
    return nearest
