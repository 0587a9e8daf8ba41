"""Target registration error (TRE): distance between registered landmarks and the experts' positions."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lcsd.evaluation.evidence import check_evidence
from lcsd.evaluation.learn2reg_figures import Learn2RegFigures, learn2reg_figures
from lcsd.evaluation.protocols import Protocol
from lcsd.evaluation.result import Result, Source
from lcsd.evaluation.statistics import summarise
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, FieldQuality
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.common_space import count_seeded, origins, snapped, to_common_space
from lcsd.names import FieldReading, ProtocolName, Space
from lcsd.readings.in_mask import in_mask
from lcsd.readings.motion import read_as
from lcsd.readings.pairing import check_pairing
from lcsd.settings.evaluate import Extrapolation
from lcsd.transforms.learn2reg import VoxelDisplacements, disp_as

PLACE_COLUMNS = tuple(f"{place}_{axis}" for place in ("fixed", "moving", "moved") for axis in "xyz")
LANDMARK_COLUMNS = ("id", *PLACE_COLUMNS, "tre_mm", "tre_before_mm", "tre_native_mm", "origin", "protocol")
QUALITY_FIGURES = ("std_log_jacobian", "folding_percent", "min_jacobian", "mean_jacobian")
CHALLENGE_FIGURES = ("sdlogj", "dice", "hd95_voxels")


@dataclass(frozen=True)
class TreResult:
    """Errors of one registration at the landmarks of one case.

    Parameters
    ----------
    landmarks
        Landmarks in common space, LPS mm.
    moved
        Registered fixed landmarks, ``x + u(x)``, shape (N, 3), LPS mm; the nearest voxel centres if ``snapped``.
    tre, before
        ``|x + u(x) - y|`` and ``|x - y|`` in common space, shape (N,), mm.
    native
        ``|x - y|`` before the rigid step, shape (N,), mm, or None if it is not known.
    method
        Name of the scored method.
    source
        Kind of result: ``field``, ``correspondences``, ``transform`` or ``disp``.
    extrapolation
        ``none`` (a field or transform is known at the landmarks), ``tps``, ``divroc``, ``knn``, or ``lung250m`` under
        that protocol.
    landmarks_frame
        Space of the moving landmarks as given: ``native`` (the follow-up scan) or ``common``.
    snapped
        Whether registered landmarks were moved to the nearest voxel centre first.
    outside_mask
        Number of fixed landmarks outside the mask; None without a mask.
    circular_landmarks
        Number of landmarks that are correspondences themselves, so that their error says nothing; None if unknown.
    quality
        Quality of the field, or None if there is no field.
    quality_region
        Where the quality was measured: in the ``mask`` or the whole ``field``; None if it was not.
    quality_covered_percent
        Share of the mask in which an ITK transform is defined, percent; its quality is measured there. None for other
        results, or without a mask.
    protocol
        Name of the benchmark's protocol by which the errors were measured; None for ours.
    challenge
        Figures of the Learn2Reg challenge; None under other protocols.
    """

    landmarks: PointPairs
    moved: NDArray[np.float64]
    tre: NDArray[np.float64]
    before: NDArray[np.float64]
    native: NDArray[np.float64] | None
    method: str
    source: Source
    extrapolation: Literal["none", "lung250m"] | Extrapolation
    landmarks_frame: Space
    snapped: bool
    outside_mask: int | None
    circular_landmarks: int | None
    quality: FieldQuality | None
    quality_region: Literal["mask", "field"] | None
    quality_covered_percent: float | None
    protocol: ProtocolName | None
    challenge: Learn2RegFigures | None

    @property
    def seeded_landmarks(self) -> int | None:
        """Number of landmarks that the scored method itself predicted; None if unknown."""
        return count_seeded(self.landmarks, self.method)

    def figures(self) -> dict[str, Any]:
        """Return all figures with units in the key names, JSON-serialisable."""
        native = None if self.native is None else summarise(self.native).mean
        circular = None if self.circular_landmarks is None else self.circular_landmarks > 0
        return {
            "method": self.method,
            "protocol": self.protocol,
            "source": self.source,
            "extrapolation": self.extrapolation,
            "count": len(self.landmarks),
            "circular": circular,
            "circular_landmarks": self.circular_landmarks,
            "seeded_landmarks": self.seeded_landmarks,
            "landmark_origins": origins(self.landmarks),
            "landmarks_outside_mask": self.outside_mask,
            "landmarks_frame": self.landmarks_frame,
            "snapped": self.snapped,
            **summarise(self.tre).figures("tre", "mm"),
            **summarise(self.before).figures("tre_before", "mm"),
            "tre_native_mean_mm": native,
            **{name: getattr(self.quality, name, None) for name in QUALITY_FIGURES},
            "jacobian_voxels": getattr(self.quality, "voxels", None),
            "jacobian_region": self.quality_region,
            "jacobian_covered_percent": self.quality_covered_percent,
            **{name: getattr(self.challenge, name, None) for name in CHALLENGE_FIGURES},
        }

    def rows(self) -> list[dict[str, object]]:
        """Return one table row per landmark with the columns ``LANDMARK_COLUMNS``."""
        count = len(self.landmarks)
        ids = self.landmarks.ids or tuple(str(row + 1) for row in range(count))
        origin = self.landmarks.origin or ("",) * count
        places = np.hstack([self.landmarks.fixed, self.landmarks.moving, self.moved])
        return [
            {
                "id": ids[row],
                **{name: f"{value:.4f}" for name, value in zip(PLACE_COLUMNS, places[row], strict=True)},
                "tre_mm": f"{self.tre[row]:.4f}",
                "tre_before_mm": f"{self.before[row]:.4f}",
                "tre_native_mm": "" if self.native is None else f"{self.native[row]:.4f}",
                "origin": origin[row],
                "protocol": self.protocol or "",
            }
            for row in range(count)
        ]


def evaluate_tre(
    landmarks: PointPairs,
    *,
    field: DisplacementField | None = None,
    field_as: FieldReading | None = None,
    correspondences: PointPairs | None = None,
    transform: Any | None = None,
    disp: VoxelDisplacements | None = None,
    rigid: RigidTransform | None = None,
    mask: Image | None = None,
    extrapolate: Extrapolation = "tps",
    tps_smoothing: float = 0.0,
    landmarks_frame: Space | None = None,
    snap: Grid | None = None,
    protocol: Protocol | None = None,
    method: str | None = None,
    file: Path | None = None,
) -> TreResult:
    """Return the target registration error of a registration at landmarks.

    Give exactly one result: ``field``, ``correspondences``, ``transform`` or ``disp``.

    Parameters
    ----------
    landmarks
        Shape (N, 3) each, LPS mm: fixed positions in the baseline scan (= common space), moving
        positions in ``landmarks_frame``.
    field
        Displacement field ``y = x + u(x)`` in common space, mm; sampled linearly.
    field_as
        What the vectors of ``field`` or ``disp`` are; None: displacements in LPS mm, and in voxels.
    correspondences
        Corresponding points in common space, LPS mm, extended to the landmarks by ``extrapolate``.
    transform
        ``SimpleITK.Transform`` from fixed to moving points, LPS mm, see
        :func:`lcsd.transforms.parts.read_transform`.
    disp
        Learn2Reg displacement field, see :func:`lcsd.transforms.learn2reg.read_disp`; sampled by cubic splines as in
        the challenge.
    rigid
        Transform from common space to the native space of the follow-up.
    mask
        Fixed lung mask in common space: the region in which quality is measured (a transform is sampled on its grid),
        and the volume in which fixed landmarks must lie.
    extrapolate
        ``tps``, ``divroc`` or ``knn``.
    tps_smoothing
        Smoothing of the thin-plate spline; 0 interpolates.
    landmarks_frame
        ``native`` or ``common``; None: native if ``rigid`` is given, else common.
    snap
        Grid of the moving image in ``landmarks_frame``: registered landmarks move to its nearest voxel centre first,
        as in DIR-Lab, whose landmarks are voxels.
    protocol
        Protocol of a published benchmark, which replaces ``extrapolate`` or adds figures; None: ours.
    method
        Name of the method, for tables and for the landmarks that it seeded; None: the kind of result.
    file
        Landmark file, named in errors.

    Returns
    -------
    TreResult
        ``TRE_i = |x_i + u(x_i) - y_i|`` in mm, and the distances before registration.

    Raises
    ------
    BadInputError
        Not exactly one result; native landmarks without ``rigid``; a landmark outside the volume (the message names
        line, id, position and likely cause); repeated ids; another reading of the result or of the landmarks that fits
        clearly better (``wrong_field``, ``wrong_direction``, ``wrong_frame``); neighbouring landmarks that move in
        different directions (``unpaired_landmarks``); a result that the protocol does not
        score (``protocol_input``).
    """
    grids = None if protocol is None else protocol.grids
    named: FieldReading = field_as or ("displacement" if disp is None else "voxel")
    motion = None if field is None else read_as(field, named)
    voxels = None if disp is None else disp_as(disp, named)
    stored = field or disp
    result = Result(motion, correspondences, transform, voxels, extrapolate, tps_smoothing, grids, stored, named)
    if protocol is not None:
        protocol.check(result.source, snapped=snap is not None)
    frame = landmarks_frame or ("native" if rigid is not None else "common")
    common, native_moving = to_common_space(landmarks, rigid=rigid, frame=frame)
    result.check(common, mask, file=file)
    moved = result.moved(common.fixed)
    check_pairing(common.fixed, common.moving, file=file)
    check_evidence(result, landmarks, common, moved, rigid=rigid, frame=frame, file=file)
    if snap is not None:
        moved = _snapped(moved, snap, rigid if frame == "native" else None)
    quality = result.quality(mask)
    return TreResult(
        landmarks=common,
        moved=moved,
        tre=np.linalg.norm(moved - common.moving, axis=1),
        before=np.linalg.norm(common.fixed - common.moving, axis=1),
        native=None if native_moving is None else np.linalg.norm(common.fixed - native_moving, axis=1),
        method=method or result.source,
        source=result.source,
        extrapolation=result.extrapolation,
        landmarks_frame=frame,
        snapped=snap is not None,
        outside_mask=None if mask is None else int((~in_mask(common.fixed, mask)).sum()),
        circular_landmarks=result.circular(common),
        quality=quality.figures,
        quality_region=None if quality.figures is None else ("field" if mask is None else "mask"),
        quality_covered_percent=quality.covered_percent,
        protocol=None if protocol is None else protocol.name,
        challenge=_challenge(protocol, voxels, mask),
    )


def _challenge(
    protocol: Protocol | None, disp: VoxelDisplacements | None, mask: Image | None
) -> Learn2RegFigures | None:
    """Return the figures of the Learn2Reg challenge under its protocol."""
    if protocol is None or protocol.name != "learn2reg" or disp is None:
        return None
    return learn2reg_figures(disp, mask=mask, labels=protocol.labels)


def _snapped(moved: NDArray[np.float64], grid: Grid, rigid: RigidTransform | None) -> NDArray[np.float64]:
    """Return points of common space moved to voxel centres of a grid, which ``rigid`` maps to if it is given."""
    if rigid is None:
        return snapped(moved, grid)
    return rigid.inverse().apply(snapped(rigid.apply(moved), grid))
