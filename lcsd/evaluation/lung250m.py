"""The dense motion by which the Lung250M-4B benchmark scores predicted keypoints: a spline on normalised axes."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import PointPairs
from lcsd.numerics.tps import ThinPlateSpline

Array = NDArray[np.float64]

SMOOTHING = 0.01
"""Lambda of the benchmark, on axes normalised by half the size of the image."""

STEP = 4
"""Voxels between the nodes at which the spline is evaluated."""

MAX_POINTS = 20_000
"""The system of the spline takes 8 N^2 bytes: 3 GB. The benchmark's predictions have 4,583 to 9,102 points."""


@dataclass(frozen=True)
class Lung250mGrids:
    """Grids of both images; equal in size in the benchmark, with voxels of 1 mm."""

    fixed: Grid
    moving: Grid


def _corners(places: Array, counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], Array]:
    """Return the 8 grid nodes around places (N, 3), shape (N, 8, 3), and their linear weights (N, 8).

    Nodes outside the grid have weight 0 and the index of the nearest node inside.
    """
    low = np.floor(places).astype(np.int64)
    offsets = np.array(list(itertools.product((0, 1), repeat=3)))
    nodes = low[:, None] + offsets
    share = (places - low)[:, None]
    weights = np.where(offsets == 1, share, 1 - share).prod(axis=2)
    inside = ((nodes >= 0) & (nodes < counts)).all(axis=2)
    return np.clip(nodes, 0, counts - 1), np.where(inside, weights, 0.0)


def spline_displacements(
    fixed: Array, moving: Array, places: Array, size: tuple[int, int, int], *, smoothing: float = SMOOTHING
) -> Array:
    """Return the benchmark's motion at places (M, 3), in voxels, from keypoints (N, 3) each, in voxels, order x, y, z.

    ``size`` is the number of voxels ``s`` of the fixed image along each axis. The spline is fitted to the motion of
    the keypoints at ``c = (v - s / 2) / (s / 2)``, and evaluated at ``s // 4`` nodes along each axis, from -1 to 1.
    Linear interpolation carries it from the nodes to the voxels, and from the voxels around ``p - 1/2`` to the place
    ``p``; voxels outside count as 0. Only nodes that a place needs are evaluated. Formula of ``evaluate.py`` of the
    repository Lung250M-4B; see docs/evaluation.md. Raises ``BadInputError`` for too many points
    (``too_many_points``), a small image (``small_grid``), and as :meth:`ThinPlateSpline.fit`.
    """
    counts = np.asarray(size)
    if len(fixed) > MAX_POINTS:
        raise BadInputError(
            "the protocol fits its spline to all points, and these are too many",
            code="too_many_points",
            expected=f"<= {MAX_POINTS}",
            found=len(fixed),
            remedy="give the predicted motion of the keypoints, not of a dense cloud",
        )
    if (counts < 2 * STEP).any():
        raise BadInputError(
            "the image is too small for the protocol's grid",
            code="small_grid",
            expected=f">= {2 * STEP} voxels along each axis",
            found=" x ".join(map(str, size)),
        )
    half = counts / 2
    spline = ThinPlateSpline.fit(fixed, (moving - fixed) / half, smoothing=smoothing, offset=half, scale=half)
    coarse = counts // STEP
    voxels, voxel_weights = _corners(places - 0.5, counts)
    nodes, node_weights = _corners(voxels.reshape(-1, 3) * ((coarse - 1) / (counts - 1)), coarse)
    needed, rows = np.unique(nodes.reshape(-1, 3), axis=0, return_inverse=True)
    values = spline.evaluate(half * (needed * (2 / (coarse - 1)) - 1) + half)
    at_voxels = np.einsum("nk,nkc->nc", node_weights, values[rows.reshape(-1, 8)])
    found: Array = np.einsum("nk,nkc->nc", voxel_weights, at_voxels.reshape(-1, 8, 3)) * half
    return found


def moved_by_spline(
    points: Array, keypoints: PointPairs, grids: Lung250mGrids, *, smoothing: float = SMOOTHING
) -> Array:
    """Return fixed points (M, 3) moved by the benchmark's motion of predicted keypoints; all LPS mm.

    A point at fixed voxel ``p`` is found at moving voxel ``p + d(p)``. Raises ``BadInputError`` as
    :func:`spline_displacements`.
    """
    places = grids.fixed.world_to_voxel(points)
    motion = spline_displacements(
        grids.fixed.world_to_voxel(keypoints.fixed),
        grids.moving.world_to_voxel(keypoints.moving),
        places,
        grids.fixed.size,
        smoothing=smoothing,
    )
    moved: Array = grids.moving.voxel_to_world(places + motion)
    return moved
