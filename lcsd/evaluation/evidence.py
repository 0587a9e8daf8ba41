"""Compare the named reading of a registration and its landmarks with all others; refuse one that is clearly worse."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.evaluation.result import Result
from lcsd.geometry import RigidTransform, flip_lps_ras
from lcsd.io.fields import DisplacementField
from lcsd.io.points import PointPairs
from lcsd.names import Space
from lcsd.readings.judge import better, follows, is_poor
from lcsd.readings.motion import FIELD_READINGS, check_size_of_motion, displacements, wrong_field
from lcsd.transforms.learn2reg import VoxelDisplacements

Points = NDArray[np.float64]
Errors = tuple[Points, Points]
"""Distances after and before registration, mm."""

LANDMARK_READINGS: dict[str, tuple[str, Callable[[Points], Points]]] = {
    "ras": ("the landmarks look like RAS: convert them (lcsd landmarks convert --frame ras)", flip_lps_ras),
    "zyx": (
        "the landmarks look like z, y, x: convert them (lcsd landmarks convert --axes zyx)",
        lambda points: points[:, ::-1],
    ),
}
"""Readings of both columns of the landmarks: their meaning with a remedy, and the conversion to LPS mm."""

REVERSED = (
    "it maps moving to fixed points, or the columns of the landmarks are exchanged: give the other direction, "
    "y = x + u(x) for fixed points x"
)
IN_RAS = "its points are in RAS: convert them to LPS mm"
"""What a registration in the other direction, or in the other frame, looks like."""


def check_evidence(
    result: Result,
    landmarks: PointPairs,
    common: PointPairs,
    moved: Points,
    *,
    rigid: RigidTransform | None,
    frame: Space,
    file: Path | None,
) -> None:
    """Refuse a reading of the registration or of the landmarks that is clearly worse than another.

    ``landmarks`` are as given, ``common`` in common space, and ``moved`` (N, 3) are the registered fixed ones. Raises
    ``BadInputError`` with the better reading: ``wrong_field``, ``wrong_direction`` or, for landmarks, ``wrong_frame``.
    """
    if result.field is not None:
        check_size_of_motion(result.field)
    errors, before = _distances(moved, common), _distances(common.fixed, common)
    if not is_poor(errors, before):
        return
    found = f"mean error {errors.mean():.2f} mm, {before.mean():.2f} mm before"
    others = dict(_other_motions(result, common, before))
    best = better(errors, before, others)
    rest = {**_other_spaces(landmarks, common, moved, rigid, frame), **dict(_other_landmarks(result, landmarks, rigid))}
    other = better(errors, before, {**others, **rest})
    if other is None:
        return
    if other != best:
        raise BadInputError(
            "another reading of the landmarks fits the registration better",
            code="wrong_frame",
            file=file,
            expected=f"mean error {rest[other][0].mean():.2f} mm",
            found=found,
            remedy=other,
        )
    expected = f"mean error {others[other][0].mean():.2f} mm"
    if other in FIELD_READINGS:
        raise wrong_field(other, found, expected, option=f"--{result.source}")
    raise BadInputError(
        "the registration fits the landmarks better in the other direction or frame",
        code="wrong_direction",
        field=f"--{result.source}",
        expected=expected,
        found=found,
        remedy=other,
    )


def _distances(points: Points, landmarks: PointPairs) -> Points:
    return np.asarray(np.linalg.norm(points - landmarks.moving, axis=1))


def _other_motions(result: Result, common: PointPairs, before: Points) -> Iterator[tuple[str, Errors]]:
    """Yield other readings of a registration, with the distances of the landmarks under them."""
    at = common.fixed
    if result.field is not None:
        field = result.stored if isinstance(result.stored, DisplacementField) else result.field
        stored = field.at(at)
        for reading in FIELD_READINGS:
            moved = at + displacements(stored, at, result.field.grid, reading)
            if reading != result.field_as and follows(moved, at):
                yield reading, (_distances(moved, common), before)
    elif result.disp is not None:
        disp = result.stored if isinstance(result.stored, VoxelDisplacements) else result.disp
        grid = disp.fixed
        voxels = disp.moving.world_to_voxel(at + disp.at(at)) - grid.world_to_voxel(at)
        # As in disp_as: voxels of both grids, in mm for all other readings.
        by_voxels = {"voxel": at + disp.at(at), "negated": at - displacements(voxels, at, grid, "voxel")}
        for reading in FIELD_READINGS:
            moved = by_voxels.get(reading, at + displacements(voxels, at, grid, reading))
            if reading != result.field_as and (reading == "negated" or follows(moved, at)):
                yield reading, (_distances(moved, common), before)
    else:
        turned = _moved(result, flip_lps_ras(at))
        if turned is not None:
            yield IN_RAS, (_distances(flip_lps_ras(turned), common), before)
    back = _moved(result, common.moving)
    if back is not None:
        yield REVERSED, (np.linalg.norm(back - at, axis=1), before)


def _moved(result: Result, points: Points) -> Points | None:
    """Return registered points; None if the registration is not defined at them."""
    if not all(grid.contains(points).all() for grid in result.volumes()):
        return None
    try:
        return result.moved(points)
    except BadInputError:
        return None


def _other_spaces(
    landmarks: PointPairs, common: PointPairs, moved: Points, rigid: RigidTransform | None, frame: Space
) -> dict[str, Errors]:
    """Return the distances if the moving landmarks are in the other space, or the rigid transform maps backwards."""
    if rigid is None:
        return {}
    places = {"give --landmarks-frame common": landmarks.moving} if frame == "native" else {}
    if frame == "common":
        places["give --landmarks-frame native"] = rigid.inverse().apply(landmarks.moving)
    else:
        places["the rigid transform maps the other way: give its inverse"] = rigid.apply(landmarks.moving)
    return {
        text: (np.linalg.norm(moved - at, axis=1), np.linalg.norm(common.fixed - at, axis=1))
        for text, at in places.items()
    }


def _other_landmarks(
    result: Result, landmarks: PointPairs, rigid: RigidTransform | None
) -> Iterator[tuple[str, Errors]]:
    """Yield other readings of the landmarks' numbers."""
    for text, read in LANDMARK_READINGS.values():
        fixed, moving = read(landmarks.fixed), read(landmarks.moving)
        in_common = moving if rigid is None else rigid.inverse().apply(moving)
        moved = _moved(result, fixed)
        if moved is not None:
            after, start = (np.linalg.norm(points - in_common, axis=1) for points in (moved, fixed))
            yield text, (after, start)
