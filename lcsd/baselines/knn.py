"""Smoothing over nearest neighbours: the extrapolator that point networks use."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

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
    """Return at each place the mean motion of its nearest points, by inverse distance.

    Parameters
    ----------
    points, vectors
        Known motion: shapes (N, 3), mm.
    query
        Shape (M, 3), mm.
    neighbours
        Points that share, at most N.

    Returns
    -------
    NDArray
        Shape (M, 3), mm. Exact for constant motion; cost grows as (N + M) log N.
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
