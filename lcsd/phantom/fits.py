"""Best rigid, affine and B-spline fits to the true motion: what a simple method can reach at most."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lcsd.phantom.anatomy import Points

BSPLINE_SPACING_MM = 60.0
BSPLINE_DAMPING = 1e-9


class Residuals(NamedTuple):
    """Mean distances in mm between moving points and fitted fixed points."""

    native: float
    rigid: float
    affine: float
    bspline: float


def rigid_fit(fixed: Points, moving: Points) -> Points:
    """Return the fixed points (N, 3), rotated and shifted onto the moving ones (Kabsch, Acta Cryst 1976)."""
    a, b = fixed - fixed.mean(axis=0), moving - moving.mean(axis=0)
    u, _, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    return np.asarray(a @ (u @ flip @ vt) + moving.mean(axis=0))


def affine_residual(fixed: Points, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the residual of `values` (N, C) after the best affine function of `fixed` (N, 3)."""
    design = np.hstack([fixed, np.ones((len(fixed), 1))])
    return np.asarray(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])


def _axis_weights(coordinate: NDArray[np.float64], low: float, count: int) -> NDArray[np.float64]:
    """Cubic B-spline weights (N, count) of control points at `low + i spacing`."""
    distance = np.abs((coordinate[:, None] - low) / BSPLINE_SPACING_MM - np.arange(count))
    near = 2.0 / 3.0 - distance**2 + 0.5 * distance**3
    far = np.clip(2.0 - distance, 0.0, None) ** 3 / 6.0
    return np.where(distance < 1.0, near, far)


def bspline_residual(
    sample: Points, sample_values: NDArray[np.float64], points: Points, values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the residual at `points` of a cubic B-spline (60 mm spacing) fitted to the sample."""
    low = sample.min(axis=0) - BSPLINE_SPACING_MM
    counts = np.ceil((sample.max(axis=0) - low) / BSPLINE_SPACING_MM).astype(int) + 2

    def design(where: Points) -> NDArray[np.float64]:
        x, y, z = (_axis_weights(where[:, a], low[a], counts[a]) for a in range(3))
        full = x[:, :, None, None] * y[:, None, :, None] * z[:, None, None, :]
        return full.reshape(len(where), -1)

    matrix = design(sample)
    # One thread: with more, the library adds in another order, so that bits differ, and its threads spin.
    with threadpool_limits(1, user_api="blas"):
        normal = matrix.T @ matrix
        # Control points far from the sample have no data: slight damping keeps them at zero.
        normal += BSPLINE_DAMPING * np.trace(normal) / len(normal) * np.eye(len(normal))
        coefficients = np.linalg.solve(normal, matrix.T @ sample_values)
        return np.asarray(values - design(points) @ coefficients)


def mean_length(vectors: NDArray[np.float64]) -> float:
    """Return the mean Euclidean length of vectors (N, 3)."""
    return float(np.linalg.norm(vectors, axis=1).mean())


def residuals(fixed: Points, moving: Points, *, sample_fixed: Points, sample_moving: Points) -> Residuals:
    """Return landmarks' mean distances before and after the best fits; the B-spline is fitted to the dense sample."""
    return Residuals(
        native=mean_length(moving - fixed),
        rigid=mean_length(moving - rigid_fit(fixed, moving)),
        affine=mean_length(affine_residual(fixed, moving)),
        bspline=mean_length(bspline_residual(sample_fixed, sample_moving, fixed, moving)),
    )
