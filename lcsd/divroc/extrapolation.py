"""Motion at any point from motion at given points, by the method named."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

MAX_TPS_POINTS = 10_000
"""Centres of a thin-plate spline at most: its system takes 8 N^2 bytes and N^3 operations."""


def extrapolate_vectors(
    points: NDArray[np.float64],
    vectors: NDArray[np.float64],
    query: NDArray[np.float64],
    *,
    method: str,
    tps_smoothing: float = 0.0,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Return the displacement at places (M, 3), mm, extended from points of known motion, (N, 3); all LPS mm.

    ``method`` is ``tps`` (thin-plate spline; of a random subset where there are more than ``MAX_TPS_POINTS``),
    ``divroc`` (splats and least bending, the only one on ``device``) or ``knn`` (mean of near points).
    ``tps_smoothing`` 0 interpolates.
    """
    if method == "divroc":
        from lcsd.divroc.regularise import extrapolate

        return extrapolate(points, vectors, query, device=device)
    if method == "knn":
        from lcsd.divroc.extrapolation import smooth_neighbours

        return smooth_neighbours(points, vectors, query)
    from lcsd.numerics.tps import ThinPlateSpline

    if len(points) > MAX_TPS_POINTS:
        rows = np.random.default_rng(0).choice(len(points), MAX_TPS_POINTS, replace=False)
        points, vectors = points[rows], vectors[rows]
    return ThinPlateSpline.fit(points, vectors, smoothing=tps_smoothing).evaluate(query)


NEIGHBOURS = 10
"""Points that share in the motion at a place."""

CHUNK_POINTS = 1 << 18
"""Places looked up at a time: bounds memory to 200 MB."""

NEAREST_MM = 1e-3
"""Distances count as at least this, so that a point's own vector has a finite weight."""


def smooth_neighbours(
    points: NDArray[np.float64],
    vectors: NDArray[np.float64],
    query: NDArray[np.float64],
    *,
    neighbours: int = NEIGHBOURS,
) -> NDArray[np.float64]:
    """Return at each place (M, 3) the mean motion of its nearest points, by inverse distance, shape (M, 3), mm.

    ``points`` and ``vectors`` have shape (N, 3), mm; at most N ``neighbours`` share. Exact for constant motion; cost
    grows as (N + M) log N.
    """
    tree = cKDTree(points)
    count = min(neighbours, len(points))
    result = np.empty((len(query), 3))
    for start in range(0, len(query), CHUNK_POINTS):
        rows = slice(start, start + CHUNK_POINTS)
        distance, index = tree.query(query[rows], k=range(1, count + 1), workers=-1)
        weight = 1 / np.maximum(distance, NEAREST_MM)
        weight /= weight.sum(axis=1, keepdims=True)
        result[rows] = np.einsum("mk,mkc->mc", weight, vectors[index])
    return result
