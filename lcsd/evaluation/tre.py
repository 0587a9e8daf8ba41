"""Target registration error: how far landmarks land from where experts saw them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd.errors import BadInputError
from lcsd.evaluation.extrapolation import extrapolate_motion
from lcsd.evaluation.jacobian import FieldQuality, field_quality
from lcsd.evaluation.statistics import summarise
from lcsd.files import PointPairs, check_points
from lcsd.geometry import Grid, RigidTransform, flip_lps_ras
from lcsd.images import DisplacementField, Image
from lcsd.settings.evaluate import Extrapolation

Frame = Literal["native", "common"]

MOVING_MARGIN_MM = 100.0
"""A moving landmark may lie outside the fixed volume by as much as a lung can move; published
respiratory motion stays below 50 mm, a wrong frame is off by hundreds."""

POINTS_MARGIN_MM = 100.0
"""Without a volume, landmarks may lie this far outside the box of the correspondences."""

SAME_POINT_MM = 1e-2
"""A landmark this close to a correspondence at both ends is that correspondence; the files
round to 1e-4 mm, and two independent observations do not meet by chance at 1e-2 mm."""

LANDMARK_COLUMNS = (
    "id", "fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z",
    "moved_x", "moved_y", "moved_z", "tre_mm", "tre_before_mm", "tre_native_mm",
)  # fmt: skip


@dataclass(frozen=True)
class TreResult:
    """Errors of one registration at the landmarks of one case.

    Parameters
    ----------
    landmarks
        Landmarks in common space, LPS mm.
    moved
        Fixed landmarks carried by the registration, ``x + u(x)``, shape (N, 3), LPS mm.
    tre, before
        ``|x + u(x) - y|`` and ``|x - y|`` in common space, shape (N,), mm.
    native
        ``|x - y|`` before the rigid step, mm, or None where that is not known.
    method
        Name of the method that is scored.
    source
        What described the motion: ``field`` or ``correspondences``.
    extrapolation
        ``none`` (a field is sampled linearly), ``tps`` or ``divroc``.
    circular_landmarks
        Landmarks that are themselves correspondences, so that their error says nothing; None
        where that cannot be known.
    quality
        Quality of the field, or None without a field.
    quality_region
        ``mask`` or ``field``: where the quality was measured; None without a field.
    """

    landmarks: PointPairs
    moved: NDArray[np.float64]
    tre: NDArray[np.float64]
    before: NDArray[np.float64]
    native: NDArray[np.float64] | None
    method: str
    source: Literal["field", "correspondences"]
    extrapolation: Literal["none", "tps", "divroc"]
    circular_landmarks: int | None
    quality: FieldQuality | None
    quality_region: Literal["mask", "field"] | None

    def figures(self) -> dict[str, Any]:
        """Return all figures with units in the key names, JSON-serialisable."""
        native = None if self.native is None else summarise(self.native).mean
        circular = None if self.circular_landmarks is None else self.circular_landmarks > 0
        quality = self.quality
        return {
            "method": self.method,
            "source": self.source,
            "extrapolation": self.extrapolation,
            "count": len(self.landmarks),
            "circular": circular,
            "circular_landmarks": self.circular_landmarks,
            **summarise(self.tre).figures("tre", "mm"),
            **summarise(self.before).figures("tre_before", "mm"),
            "tre_native_mean_mm": native,
            "std_log_jacobian": None if quality is None else quality.std_log_jacobian,
            "folding_percent": None if quality is None else quality.folding_percent,
            "min_jacobian": None if quality is None else quality.min_jacobian,
            "mean_jacobian": None if quality is None else quality.mean_jacobian,
            "jacobian_voxels": None if quality is None else quality.voxels,
            "jacobian_region": self.quality_region,
        }

    def rows(self) -> list[dict[str, object]]:
        """Return one table row per landmark with the columns ``LANDMARK_COLUMNS``."""
        ids = self.landmarks.ids or tuple(str(row + 1) for row in range(len(self.landmarks)))
        places = np.hstack([self.landmarks.fixed, self.landmarks.moving, self.moved])
        return [
            {
                "id": ids[row],
                **{
                    name: f"{value:.4f}"
                    for name, value in zip(LANDMARK_COLUMNS[1:10], places[row], strict=True)
                },
                "tre_mm": f"{self.tre[row]:.4f}",
                "tre_before_mm": f"{self.before[row]:.4f}",
                "tre_native_mm": "" if self.native is None else f"{self.native[row]:.4f}",
            }
            for row in range(len(self.landmarks))
        ]


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


def _box_around(points: NDArray[np.float64], margin_mm: float) -> Grid:
    """Return a grid of 1 mm voxels over the box of points plus a margin."""
    low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
    size = np.maximum(np.ceil(high - low), 1).astype(int)
    return Grid(
        size=(int(size[0]), int(size[1]), int(size[2])),
        spacing=(1.0, 1.0, 1.0),
        origin=(float(low[0]), float(low[1]), float(low[2])),
    )


def _check_landmarks(
    landmarks: PointPairs, grids: Mapping[str, Grid], *, file: Path | None
) -> None:
    """Refuse broken landmarks: bad shapes, repeated ids, positions outside the volume."""
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
    for grid in grids.values():
        _check_inside(landmarks.fixed, grid, margin_mm=0.0, which="fixed", ids=ids, file=file)
        _check_inside(
            landmarks.moving, grid, margin_mm=MOVING_MARGIN_MM, which="moving", ids=ids, file=file
        )


def _count_circular(landmarks: PointPairs, correspondences: PointPairs) -> int:
    """Return how many landmarks are themselves correspondences (both ends)."""
    distance, _ = KDTree(np.hstack([correspondences.fixed, correspondences.moving])).query(
        np.hstack([landmarks.fixed, landmarks.moving])
    )
    return int((distance <= SAME_POINT_MM).sum())


def evaluate_tre(
    landmarks: PointPairs,
    *,
    field: DisplacementField | None = None,
    correspondences: PointPairs | None = None,
    rigid: RigidTransform | None = None,
    mask: Image | None = None,
    extrapolate: Extrapolation = "tps",
    tps_smoothing: float = 0.0,
    landmarks_frame: Frame | None = None,
    method: str | None = None,
    file: Path | None = None,
) -> TreResult:
    """Return the target registration error of a registration at landmarks.

    Exactly one of ``field`` and ``correspondences`` describes the motion.

    Parameters
    ----------
    landmarks
        Shape (N, 3) each, LPS mm: fixed positions in the baseline scan (= common space), moving
        positions in ``landmarks_frame``.
    field
        Displacement field ``y = x + u(x)`` in common space, mm; sampled linearly.
    correspondences
        Point motion in common space, LPS mm, extended to the landmarks by ``extrapolate``.
    rigid
        Common-space point to follow-up native LPS.
    mask
        Fixed lung mask in common space: where the quality of ``field`` is measured, and the
        volume in which fixed landmarks must lie.
    extrapolate
        ``tps`` or ``divroc``.
    tps_smoothing
        Smoothing of the thin-plate spline; 0 interpolates.
    landmarks_frame
        ``native`` or ``common``; None: native if ``rigid`` is given, else common.
    method
        Name of the method for tables; the kind of input if None.
    file
        Landmark file, for error messages.

    Returns
    -------
    TreResult
        ``TRE_i = |x_i + u(x_i) - y_i|`` in mm, with the distances before.

    Raises
    ------
    BadInputError
        Neither or both of field and correspondences; native landmarks without ``rigid``; a
        landmark outside the volume (names line, id, position and the likely cause); repeated ids.
    """
    frame = landmarks_frame or ("native" if rigid is not None else "common")
    common, native_moving = to_common_space(landmarks, rigid=rigid, frame=frame)
    grids = {} if mask is None else {"mask": mask.grid}
    if field is not None and correspondences is None:
        _check_landmarks(common, {**grids, "field": field.grid}, file=file)
        motion = field.at(common.fixed)
        circular = None
    elif correspondences is not None and field is None:
        box = _box_around(correspondences.fixed, POINTS_MARGIN_MM)
        _check_landmarks(common, {**grids, "correspondences": box}, file=file)
        motion = extrapolate_motion(
            correspondences, common.fixed, method=extrapolate, tps_smoothing=tps_smoothing
        )
        circular = _count_circular(common, correspondences)
    else:
        raise BadInputError(
            "give either a displacement field or correspondences", code="bad_usage",
            field="--field, --correspondences", expected="exactly one",
            found="none" if field is None else "both",
        )  # fmt: skip
    moved = common.fixed + motion
    return TreResult(
        landmarks=common,
        moved=moved,
        tre=np.linalg.norm(moved - common.moving, axis=1),
        before=np.linalg.norm(common.fixed - common.moving, axis=1),
        native=None
        if native_moving is None
        else np.linalg.norm(common.fixed - native_moving, axis=1),
        method=method or ("correspondences" if field is None else "field"),
        source="correspondences" if field is None else "field",
        extrapolation=extrapolate if field is None else "none",
        circular_landmarks=circular,
        quality=None if field is None else field_quality(field, mask=mask),
        quality_region=None if field is None else ("field" if mask is None else "mask"),
    )
