"""Landmarks on their way to the evaluator: into common space, and checked there."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform, flip_lps_ras
from lcsd.points import PointPairs, check_points

Frame = Literal["native", "common"]

MOVING_MARGIN_MM = 100.0
"""A moving landmark may lie outside the fixed volume by as much as a lung can move; published
respiratory motion stays below 50 mm, a wrong frame is off by hundreds."""

POINTS_MARGIN_MM = 100.0
"""Without a volume, landmarks may lie this far outside the box of the correspondences."""


def to_common_space(
    landmarks: PointPairs, *, rigid: RigidTransform | None, frame: Frame
) -> tuple[PointPairs, NDArray[np.float64] | None]:
    """Return landmarks in common space, and their moving positions in native space if known.

    Parameters
    ----------
    landmarks
        Fixed positions in the baseline's LPS mm (which is common space), moving positions in
        ``frame``.
    rigid
        Common-space point to follow-up native LPS.
    frame
        ``native``: moving positions are those of the follow-up scan. ``common``: they have
        already been brought to common space.

    Raises
    ------
    BadInputError
        If native landmarks come without the rigid transform.
    """
    if frame == "native":
        if rigid is None:
            raise BadInputError(
                "native landmarks need the rigid transform to common space",
                code="missing_rigid", field="--rigid",
                remedy="give the rigid.tfm of the case, or say that the frame is common",
            )  # fmt: skip
        moving = rigid.inverse().apply(landmarks.moving)
        common = PointPairs(landmarks.fixed, moving, landmarks.ids, landmarks.weight)
        return common, landmarks.moving
    return landmarks, None if rigid is None else rigid.apply(landmarks.moving)


def _excess_mm(points: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return how far points lie outside a grid's voxels, largest over the axes, mm."""
    voxels = grid.world_to_voxel(points)
    beyond = np.maximum(-0.5 - voxels, voxels - (np.asarray(grid.size) - 0.5))
    excess: NDArray[np.float64] = (beyond * np.asarray(grid.spacing)).max(axis=1)
    return excess


def _frame_hint(points: NDArray[np.float64], grid: Grid) -> str:
    """Return what is probably wrong with points of which some lie outside a grid."""
    inside = grid.contains(points).mean()
    if grid.contains(flip_lps_ras(points)).all() and inside < 1:
        return "all would lie inside with x and y negated: the file is in RAS; convert it to LPS"
    voxel_like = ((points >= -0.5) & (points <= np.asarray(grid.size) - 0.5)).all()
    if voxel_like:
        return "the numbers look like voxel indices; convert them to LPS mm"
    return "check that the file is in LPS mm (not RAS, not voxels) and belongs to this case"


def _check_inside(
    points: NDArray[np.float64],
    grid: Grid,
    *,
    margin_mm: float,
    which: str,
    ids: Sequence[str] | None,
    file: Path | None,
) -> None:
    """Raise ``BadInputError`` naming the first point outside a grid by more than a margin."""
    outside = np.flatnonzero(_excess_mm(points, grid) > margin_mm)
    if not len(outside):
        return
    row = int(outside[0])
    corners = grid.corners()
    low, high = corners.min(axis=0), corners.max(axis=0)
    name = f"line {row + 2}" + (f", id {ids[row]}" if ids is not None else "")
    raise BadInputError(
        f"{which} landmark lies outside the volume ({len(outside)} of {len(points)} do)",
        code="landmark_outside", file=file, field=name,
        expected="x, y, z between "
        f"({', '.join(f'{v:.1f}' for v in low)}) and ({', '.join(f'{v:.1f}' for v in high)}) LPS mm"
        + (f" within {margin_mm:.0f} mm" if margin_mm else ""),
        found=f"({', '.join(f'{v:.1f}' for v in points[row])})",
        remedy=_frame_hint(points, grid),
    )  # fmt: skip


def box_around(points: NDArray[np.float64], margin_mm: float) -> Grid:
    """Return a grid of 1 mm voxels over the box of points (LPS mm) plus a margin."""
    low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
    size = np.maximum(np.ceil(high - low), 1).astype(int)
    return Grid(
        size=(int(size[0]), int(size[1]), int(size[2])),
        spacing=(1.0, 1.0, 1.0),
        origin=(float(low[0]), float(low[1]), float(low[2])),
    )


def check_landmarks(landmarks: PointPairs, grids: Sequence[Grid], *, file: Path | None) -> None:
    """Refuse broken landmarks: bad shapes, repeated ids, positions outside a volume.

    Parameters
    ----------
    landmarks
        In common space, LPS mm.
    grids
        Volumes in common space; fixed landmarks must lie inside each of them, moving landmarks
        at most ``MOVING_MARGIN_MM`` outside.
    file
        Landmark file, for error messages.

    Raises
    ------
    BadInputError
        Names line, id and position of the first bad landmark and the likely cause.
    """
    check_points(landmarks.fixed, file=file, name="fixed")
    check_points(landmarks.moving, file=file, name="moving")
    if len(landmarks.fixed) != len(landmarks.moving):
        raise BadInputError(
            "fixed and moving landmarks differ in number", code="length_mismatch", file=file,
            expected=len(landmarks.fixed), found=len(landmarks.moving),
        )  # fmt: skip
    ids = landmarks.ids
    if ids is not None:
        seen: set[str] = set()
        for line, name in enumerate(ids, start=2):
            if name and name in seen:
                raise BadInputError(
                    "landmark id appears twice", code="duplicate_id", file=file,
                    field=f"line {line}, id {name}", remedy="give every landmark its own id",
                )  # fmt: skip
            seen.add(name)
    for grid in grids:
        _check_inside(landmarks.fixed, grid, margin_mm=0.0, which="fixed", ids=ids, file=file)
        _check_inside(
            landmarks.moving, grid, margin_mm=MOVING_MARGIN_MM, which="moving", ids=ids, file=file
        )
