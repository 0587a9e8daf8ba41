"""Target registration error: how far landmarks land from where experts saw them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd.errors import BadInputError
from lcsd.evaluation.extrapolation import extrapolate_vectors
from lcsd.evaluation.jacobian import FieldQuality, field_quality
from lcsd.evaluation.landmarks import (
    POINTS_MARGIN_MM,
    Frame,
    box_around,
    check_landmarks,
    to_common_space,
)
from lcsd.evaluation.statistics import summarise
from lcsd.geometry import RigidTransform
from lcsd.images import DisplacementField, Image
from lcsd.points import PointPairs
from lcsd.settings.evaluate import Extrapolation

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
    extrapolation: Literal["none"] | Extrapolation
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
    grids = [] if mask is None else [mask.grid]
    if field is not None and correspondences is None:
        check_landmarks(common, [*grids, field.grid], file=file)
        motion = field.at(common.fixed)
        circular = None
    elif correspondences is not None and field is None:
        box = box_around(correspondences.fixed, POINTS_MARGIN_MM)
        check_landmarks(common, [*grids, box], file=file)
        motion = extrapolate_vectors(
            correspondences.fixed, correspondences.moving - correspondences.fixed, common.fixed,
            method=extrapolate, tps_smoothing=tps_smoothing,
        )  # fmt: skip
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
