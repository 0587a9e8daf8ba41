"""Motion at any point from motion at given points, by the method named."""

import numpy as np
from numpy.typing import NDArray

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
    """Return the displacement at places, extended from points of known motion.

    Parameters
    ----------
    points, vectors
        Known motion: shapes (N, 3), LPS mm and mm.
    query
        Shape (M, 3), LPS mm.
    method
        ``tps`` (thin-plate spline; of a random subset where there are more than
        ``MAX_TPS_POINTS``), ``divroc`` (splats and least bending) or ``knn`` (mean of near
        points).
    tps_smoothing
        Smoothing of the thin-plate spline; 0 interpolates.
    device
        Where ``divroc`` computes.

    Returns
    -------
    NDArray
        Shape (M, 3), mm.
    """
    if method == "divroc":
        from lcsd.divroc.regularise import extrapolate  # noqa: PLC0415

        return extrapolate(points, vectors, query, device=device)
    if method == "knn":
        from lcsd.baselines.knn import smooth_neighbours  # noqa: PLC0415

        return smooth_neighbours(points, vectors, query)
    from lcsd.tps import ThinPlateSpline  # noqa: PLC0415

    if len(points) > MAX_TPS_POINTS:
        rows = np.random.default_rng(0).choice(len(points), MAX_TPS_POINTS, replace=False)
        points, vectors = points[rows], vectors[rows]
    return ThinPlateSpline.fit(points, vectors, smoothing=tps_smoothing).evaluate(query)
