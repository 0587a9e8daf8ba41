"""Rejection of matches that disagree with their neighbours."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

RIDGE = 1e-3
"""Added to the normal equations, so that a fit exists for neighbours in one plane."""


def local_residuals(points: Array, vectors: Array, *, neighbours: int) -> tuple[Array, NDArray[np.int64]]:
    """Return the distance of each motion vector from the affine fit of its nearest neighbours, and these neighbours.

    Points and vectors have shape (K, 3) and one unit. The distances have shape (K,), the rows of the neighbours (K,
    neighbours), without the point itself. With too few points for a fit: 0 and no neighbour.
    """
    if len(points) <= neighbours:
        return np.zeros(len(points)), np.zeros((len(points), 0), np.int64)
    _, near = cKDTree(points).query(points, k=neighbours + 1)
    near = near[:, 1:]
    offsets = points[near] - points[:, None]
    scale = np.sqrt((offsets**2).mean())
    design = np.concatenate([np.ones((*near.shape, 1)), offsets / scale], axis=2)
    normal = np.einsum("kni,knj->kij", design, design)
    normal[:, range(1, 4), range(1, 4)] += RIDGE
    right = np.einsum("kni,knc->kic", design, vectors[near])
    fit = np.linalg.solve(normal, right)
    # The fit is centred on the point, so its constant is the prediction there.
    residual: Array = np.linalg.norm(vectors - fit[:, 0], axis=1)
    return residual, near


def agrees_with_neighbours(
    points: Array, vectors: Array, *, limit: float, neighbours: int, rounds: int
) -> NDArray[np.bool_]:
    """Return which motion vectors lie within ``limit`` of their neighbours' affine fit, (K,).

    An outlier also distorts the fits around it. So each round drops only points whose residual is the largest among
    their neighbours, and the next round works without them; at most ``rounds`` times.
    """
    kept = np.ones(len(points), bool)
    for _ in range(rounds):
        residual, near = local_residuals(points[kept], vectors[kept], neighbours=neighbours)
        worse = (residual > limit) & (residual >= residual[near].max(axis=1, initial=0.0))
        if not worse.any():
            break
        kept[kept] = ~worse
    return kept
