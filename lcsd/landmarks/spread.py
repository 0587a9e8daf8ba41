"""Choose points that lie far apart."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

HALVINGS = 24
"""Steps to the largest distance: 600 mm / 2^24 is far below a voxel."""


def _apart(tree: cKDTree, points: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Return the points farther than ``distance`` from every point kept before."""
    free = np.ones(len(points), dtype=bool)
    kept = []
    for row in range(len(points)):
        if free[row]:
            kept.append(row)
            free[tree.query_ball_point(points[row], distance * (1 - 1e-12))] = False
    return np.array(kept, dtype=np.int64)


def spread_out(points: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Return the rows of ``count`` points far apart, earlier points preferred.

    Points (N, 3) are distinct, at least ``count``, the best first. In this order, a point is kept if no point kept
    before lies within a distance. Bisection finds the largest distance that keeps at least ``count``, so every point
    lies within about that distance of a kept one.
    """
    tree = cKDTree(points)
    low, high = 0.0, float(np.linalg.norm(np.ptp(points, axis=0))) + 1.0
    best = np.arange(len(points))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        kept = _apart(tree, points, middle)
        if len(kept) >= count:
            low, best = middle, kept
        else:
            high = middle
    return best[:count]
