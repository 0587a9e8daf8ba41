"""Sparse cloud: points of a dense cloud at local maxima of the kNN density."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.errors import BadInputError
from lcsd.io.points import Cloud, check_points
from lcsd.settings.keypoints import KeypointsSettings

LATTICE_TOLERANCE_VOXELS = 0.01
"""Points this close to whole voxels are on a lattice; float32 rounds mm to about 1e-4 voxels."""

SQUARED_DISTANCE_DECIMALS = 6
"""Squared distances in voxels are rounded to this before comparison; on a lattice they are exact."""

SPARE_NEIGHBOURS = 12
"""Extra neighbours per query, so that for most points of a voxel lattice one query contains all neighbours at the
distance of rank k; the others are queried again."""


ROWS_AT_ONCE = 1024
"""Points whose neighbours are ordered at a time: they fit into the cache."""


@dataclass(frozen=True)
class KeypointReport:
    """How the sparse cloud was chosen: the number of points before and after, and warnings of one sentence each.

    ``sigma`` is the density weight of the choice, 1/voxel; None if all points were kept.
    """

    dense: int
    sparse: int
    sigma: float | None
    warnings: tuple[str, ...] = ()

    def figures(self) -> dict[str, Any]:
        """Return the figures for output and for the metadata of the cloud."""
        return {"points": self.sparse, "dense_points": self.dense, "sigma": self.sigma, "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Neighbours:
    """The k nearest points of each point, including itself, in a unique order.

    ``index`` are rows (N, k), ordered by (squared distance, row), and ``squared`` their squared distances in voxels.
    """

    index: NDArray[np.int64] = field(repr=False)
    squared: NDArray[np.float64] = field(repr=False)


def _in_voxels(points: NDArray[Any], voxel_mm: float) -> NDArray[np.float64]:
    """Return coordinates in voxels relative to the first point; whole numbers on a lattice."""
    scaled = (points.astype(np.float64) - points[0].astype(np.float64)) / voxel_mm
    whole = np.rint(scaled)
    on_lattice = bool(np.abs(scaled - whole).max() <= LATTICE_TOLERANCE_VOXELS)
    return whole if on_lattice else scaled


def nearest_neighbours(coordinates: NDArray[np.float64], k: int, *, workers: int = 1) -> Neighbours:
    """Return the k nearest neighbours of every point (N, 3), in voxels, N >= k; ties in distance ordered by row.

    The result does not depend on ``workers``. A tree chooses arbitrarily among equally distant points. So the query is
    enlarged until its last neighbour is farther away than rank k; then the order is unique.
    """
    tree = cKDTree(coordinates)
    count = len(coordinates)
    index = np.empty((count, k), dtype=np.int64)
    squared = np.empty((count, k), dtype=np.float64)
    open_rows = np.arange(count)
    asked = min(count, k + SPARE_NEIGHBOURS)
    while len(open_rows):
        left = []
        for start in range(0, len(open_rows), ROWS_AT_ONCE):
            rows = open_rows[start : start + ROWS_AT_ONCE]
            found = tree.query(coordinates[rows], k=asked, workers=workers)[1].reshape(len(rows), asked)
            # Ascending rows first, so that a stable sort by distance breaks ties by row.
            found.sort(axis=1)
            delta = coordinates[found] - coordinates[rows][:, None]
            distance = np.round((delta**2).sum(axis=2), SQUARED_DISTANCE_DECIMALS)
            order = np.argsort(distance, axis=1, kind="stable")
            distance = np.take_along_axis(distance, order, axis=1)
            complete = (distance[:, -1] > distance[:, k - 1]) | (asked == count)
            index[rows[complete]] = np.take_along_axis(found, order, axis=1)[complete, :k]
            squared[rows[complete]] = distance[complete, :k]
            left.append(rows[~complete])
        open_rows = np.concatenate(left)
        asked = min(count, 2 * asked)
    return Neighbours(index, squared)


def local_maxima(neighbours: Neighbours, *, j: int, sigma: float, tie_tolerance: float) -> NDArray[np.bool_]:
    """Return which points have the largest density among their j nearest neighbours, shape (N,).

    Heinrich et al., ICCV 2023, supplement section 1, with the sign of the released program: ``D(p) = mean over k of
    exp(-|p - q|^2 sigma^2)``. All equal densities are kept, because plateaus dominate on a voxel lattice; equal is
    within a relative tolerance.
    """
    count = len(neighbours.index)
    parts = [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]
    density, highest = np.empty(count), np.empty(count)
    for part in parts:
        density[part] = np.exp(neighbours.squared[part] * -(sigma**2)).mean(axis=1)
    for part in parts:
        highest[part] = density[neighbours.index[part, :j]].max(axis=1)
    return density >= highest * (1.0 - tie_tolerance)


def find_keypoints(
    points: NDArray[Any],
    *,
    voxel_mm: float,
    settings: KeypointsSettings | None = None,
    file: Path | None = None,
    workers: int = 1,
) -> tuple[NDArray[np.int64], KeypointReport]:
    """Return the rows of a dense cloud that form the sparse cloud.

    Parameters
    ----------
    points
        Shape (N, 3), mm; axis-aligned voxel centres or any cloud.
    voxel_mm
        Length in mm that counts as one voxel; ``sigma`` is per voxel.
    settings
        Neighbours, density weights and the reaction to too few points; the defaults if None.
    file
        Named in errors.
    workers
        Threads of the neighbour search.

    Returns
    -------
    rows, report
        Ascending rows, shape (M,), and the report of the choice.

    Raises
    ------
    BadInputError
        Fewer points than ``k``; points that are not finite; too few keypoints while ``on_shortage`` is ``error``.
    """
    settings = settings or KeypointsSettings()
    check_points(points, file=file)
    if len(points) < settings.k:
        raise BadInputError(
            "the cloud has too few points",
            code="fewer_points_than_k",
            file=file,
            field="k",
            expected=f">= {settings.k} points",
            found=len(points),
            remedy="check the vessel mask, or lower keypoints.k and keypoints.j",
        )
    if len(points) < settings.min_points:
        shortage = f"the dense cloud has {len(points)} points, fewer than {settings.min_points}"
        return _shortage(len(points), shortage, settings, file)
    neighbours = nearest_neighbours(_in_voxels(points, voxel_mm), settings.k, workers=workers)
    steps = int(round((settings.sigma_limit - settings.sigma_start) / settings.sigma_step, 6)) + 1
    best = 0
    for step in range(steps):
        sigma = round(settings.sigma_start + step * settings.sigma_step, 9)
        kept = local_maxima(neighbours, j=settings.j, sigma=sigma, tie_tolerance=settings.tie_tolerance)
        best = int(kept.sum())
        if best >= settings.min_points:
            return np.flatnonzero(kept), KeypointReport(len(points), best, sigma)
    shortage = f"only {best} keypoints at sigma {sigma}, fewer than {settings.min_points}"
    return _shortage(len(points), shortage, settings, file)


def _shortage(
    count: int, shortage: str, settings: KeypointsSettings, file: Path | None
) -> tuple[NDArray[np.int64], KeypointReport]:
    if settings.on_shortage == "error":
        raise BadInputError(
            shortage,
            code="too_few_keypoints",
            file=file,
            field="min_points",
            remedy="lower keypoints.min_points, raise sigma_limit, or set on_shortage: all",
        )
    return np.arange(count), KeypointReport(count, count, None, (f"{shortage}: all points are kept",))


def sparse_cloud(
    dense: Cloud, settings: KeypointsSettings, *, file: Path | None = None, workers: int = 1
) -> tuple[Cloud, KeypointReport]:
    """Return the sparse cloud of a dense cloud, and the report of the choice.

    Points keep their radius and label; ``index`` is their row in the dense cloud. Errors as :func:`find_keypoints`, and
    ``BadInputError`` (``no_spacing``) if the cloud has no voxel spacing.
    """
    spacing = dense.meta.get("spacing_mm")
    if not isinstance(spacing, list) or not spacing:
        raise BadInputError(
            "the cloud has no voxel spacing",
            code="no_spacing",
            file=file,
            field="meta.spacing_mm",
            expected="[x, y, z] mm",
            found=spacing,
            remedy="create it with 'lcsd cloud'",
        )
    # For anisotropic voxels, one voxel is the edge of the cube of equal volume.
    voxel_mm = float(np.prod(spacing) ** (1 / len(spacing)))
    rows, report = find_keypoints(dense.points, voxel_mm=voxel_mm, settings=settings, file=file, workers=workers)
    cloud = Cloud(
        points=dense.points[rows],
        index=rows,
        label=None if dense.label is None else dense.label[rows],
        radius=None if dense.radius is None else dense.radius[rows],
        weight=None if dense.weight is None else dense.weight[rows],
        meta={**dense.meta, "stage": "keypoints", "settings": settings.model_dump(mode="json"), **report.figures()},
    )
    return cloud, report
