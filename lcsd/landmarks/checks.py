"""Check landmarks: raise errors, or list findings for a person to look at."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.extrapolation import extrapolate_vectors
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.lists import check_unique
from lcsd.readings.in_mask import check_in_mask
from lcsd.readings.numbering import other_frame, outside_error
from lcsd.readings.pairing import check_pairing
from lcsd.settings.landmarks import LandmarksSettings

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

FINDING_COLUMNS = ("finding", "id", "row", "scan", "mm")


@dataclass(frozen=True)
class Findings:
    """Findings for a person to look at; ``figures`` are JSON-serialisable.

    A row has ``finding`` (``same_position``, ``outside_mask``, ``outlier``), ``id``, ``row`` (from 1), ``scan`` and
    ``mm`` (distance to the other point, to the mask, or to the predicted position).
    """

    rows: list[dict[str, object]] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)  # counts, and the limit and statistics of the residuals in mm


def _names(pairs: PointPairs) -> tuple[str, ...]:
    return pairs.ids if pairs.ids is not None else ("",) * len(pairs)


def check_frame(points: NDArray[np.float64], grid: Grid, *, which: str, file: Path | None) -> None:
    """Raise ``BadInputError`` (``landmark_outside``) unless all points (N, 3), LPS mm, lie inside a scan.

    The code is ``wrong_frame`` if all would lie inside in another frame, which the message names.
    """
    outside = np.flatnonzero(~grid.contains(points))
    if not len(outside):
        return
    hint = other_frame(points, grid)
    corners = grid.corners()
    raise outside_error(
        points,
        outside,
        (corners.min(axis=0), corners.max(axis=0)),
        code="landmark_outside" if hint is None else "wrong_frame",
        which=which,
        field=f"point {outside[0] + 1}",
        file=file,
        remedy=hint or "check that file and scan belong together",
    )


def _same_positions(pairs: PointPairs, *, limit_mm: float) -> list[dict[str, object]]:
    from scipy.spatial import cKDTree

    rows: list[dict[str, object]] = []
    for scan, points in (("fixed", pairs.fixed), ("moving", pairs.moving)):
        near = cKDTree(points).query_pairs(limit_mm, output_type="ndarray")
        for a, b in sorted(map(tuple, near)):
            apart = float(np.linalg.norm(points[a] - points[b]))
            rows += [_finding("same_position", pairs, int(row), scan, apart) for row in (a, b)]
    return rows


def _finding(what: str, pairs: PointPairs, row: int, scan: str, mm: float) -> dict[str, object]:
    return {"finding": what, "id": _names(pairs)[row], "row": row + 1, "scan": scan, "mm": f"{mm:.3f}"}


def _outside_mask(pairs: PointPairs, mask: Image) -> list[dict[str, object]]:
    from scipy.ndimage import distance_transform_edt

    inside = mask.grid.contains(pairs.fixed)
    voxels = np.rint(mask.grid.world_to_voxel(pairs.fixed)).astype(int)
    voxels = np.clip(voxels, 0, np.asarray(mask.grid.size) - 1)
    outside = mask.array == 0
    if outside.all():
        raise BadInputError("the mask is empty", code="empty_mask", field="mask")
    away = distance_transform_edt(outside, sampling=mask.grid.spacing[::-1])
    depth = away[voxels[:, 2], voxels[:, 1], voxels[:, 0]]
    # The distance map ends at the grid: outside, search the nearest voxel of the lung.
    if not inside.all():
        from sklearn.neighbors import NearestNeighbors

        lung = mask.grid.voxel_to_world(np.argwhere(~outside)[:, ::-1].astype(np.float64))
        depth[~inside] = NearestNeighbors(n_neighbors=1).fit(lung).kneighbors(pairs.fixed[~inside])[0][:, 0]
    return [
        _finding("outside_mask", pairs, int(row), "fixed", float(depth[row]))
        for row in np.flatnonzero((depth > 0) | ~inside)
    ]


def outliers(
    pairs: PointPairs, correspondences: PointPairs, settings: LandmarksSettings
) -> tuple[NDArray[np.float64], float]:
    """Return the distance of landmarks from the positions that correspondences predict, and a limit.

    Distances (N,) in mm are from a thin-plate spline through the correspondences. The limit is ``median + outlier_mads
    * 1.4826 * MAD`` of them, at least ``outlier_mm``.
    """
    motion = extrapolate_vectors(
        correspondences.fixed,
        correspondences.moving - correspondences.fixed,
        pairs.fixed,
        method="tps",
        tps_smoothing=settings.tps_smoothing,
    )
    apart = np.linalg.norm(pairs.moving - pairs.fixed - motion, axis=1)
    middle = float(np.median(apart))
    spread = MAD_TO_SIGMA * float(np.median(np.abs(apart - middle)))
    return apart, max(settings.outlier_mm, middle + settings.outlier_mads * spread)


def check_landmarks(
    pairs: PointPairs,
    *,
    fixed: Grid | None = None,
    moving: Grid | None = None,
    mask: Image | None = None,
    correspondences: PointPairs | None = None,
    settings: LandmarksSettings | None = None,
    file: Path | None = None,
) -> Findings:
    """Return findings for a person to look at in valid landmarks.

    Pairs are in LPS mm, moving positions in the space of ``moving`` and ``correspondences``. ``mask`` is the lung of
    the fixed scan, ``file`` the landmarks' file, for errors. Raises ``BadInputError`` if an id is repeated, the mask is
    empty, points lie outside a scan (``landmark_outside``, or ``wrong_frame`` if another frame explains it), or
    neighbours move in different directions (``unpaired_landmarks``).
    """
    settings = settings or LandmarksSettings()
    check_unique(pairs.ids or (), file=file)
    for which, points, grid in (("fixed", pairs.fixed, fixed), ("moving", pairs.moving, moving)):
        if grid is not None:
            check_frame(points, grid, which=which, file=file)
    check_pairing(pairs.fixed, pairs.moving, file=file)
    rows = _same_positions(pairs, limit_mm=settings.same_mm)
    figures: dict[str, Any] = {"landmarks": len(pairs)}
    if mask is not None:
        rows += _outside_mask(pairs, mask)
        check_in_mask(pairs.fixed, mask, file=file)
    if correspondences is not None:
        apart, limit = outliers(pairs, correspondences, settings)
        rows += [
            _finding("outlier", pairs, int(row), "moving", float(apart[row]))
            for row in np.argsort(-apart, kind="stable")
            if apart[row] > limit
        ]
        figures |= {
            "residual_median_mm": float(np.median(apart)),
            "residual_max_mm": float(apart.max()),
            "residual_limit_mm": limit,
        }
    for what in ("same_position", "outside_mask", "outlier"):
        figures[what] = sum(row["finding"] == what for row in rows)
    return Findings(rows, figures)
