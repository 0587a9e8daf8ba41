"""Thin-plate spline: the smooth motion through sparse motion vectors."""

import warnings
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning, cho_factor, cho_solve, qr, solve, solve_triangular
from threadpoolctl import threadpool_limits

from lcsd.errors import BadInputError
from lcsd.numerics.approximations import r2_log_r

Array = NDArray[np.float64]

MIN_POINTS = 4
"""Four points determine an affine map in 3-D."""

BLOCK = 512
"""Control points per block: their kernel values fit into the first cache."""


@numba.njit(cache=True, error_model="numpy")
def _squared_distances(x: Array, y: Array, z: Array, place: Array, out: Array) -> None:
    px, py, pz = place[0], place[1], place[2]
    for i in range(out.size):
        dx, dy, dz = x[i] - px, y[i] - py, z[i] - pz
        out[i] = dx * dx + dy * dy + dz * dz


@numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _dot(a: Array, b: Array) -> float:
    total = 0.0
    for i in range(a.size):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _kernel_matrix(points: Array, matrix: Array) -> None:
    """Set ``matrix (N, N)`` to the kernel between all points (3, N)."""
    count = points.shape[1]
    for row in numba.prange(count):
        buffers = np.empty((2, count))
        _squared_distances(points[0], points[1], points[2], points[:, row].copy(), matrix[row])
        r2_log_r(matrix[row], buffers[0], buffers[1])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _evaluate(queries: Array, centres: Array, weights: Array, out: Array) -> None:
    """Add to ``out (M, C)`` the kernels around ``centres (3, N)`` times ``weights (C, N)``."""
    channels, count = weights.shape
    for row in numba.prange(len(queries)):
        values, buffers = np.empty(BLOCK), np.empty((2, BLOCK))
        for first in range(0, count, BLOCK):
            last = min(first + BLOCK, count)
            size = last - first
            part = values[:size]
            _squared_distances(
                centres[0, first:last], centres[1, first:last], centres[2, first:last], queries[row], part
            )
            r2_log_r(part, buffers[0, :size], buffers[1, :size])
            for channel in range(channels):
                out[row, channel] += _dot(part, weights[channel, first:last])


def in_one_plane(points: Array) -> bool:
    """Return whether points (N, 3) are in one plane, so that no spline exists."""
    return bool(np.linalg.matrix_rank(np.column_stack([np.ones(len(points)), points])) < MIN_POINTS)


def _reflect(reflectors: Array, scales: Array, values: Array, *, back: bool = False) -> Array:
    """Return ``Q^T values``, or ``Q values``, of a QR decomposition in LAPACK's raw form."""
    result = values.copy()
    order = range(len(scales))
    for k in reversed(order) if back else order:
        v = reflectors[:, k].copy()
        v[:k], v[k] = 0.0, 1.0
        result -= np.outer(scales[k] * v, v @ result)
    return result


def _solve(kernel: Array, affine_basis: Array, values: Array) -> tuple[Array, Array]:
    """Return weights (N, C) with ``P^T w = 0`` and affine part (4, C): ``K w + P a = values``.

    In the space orthogonal to the affine maps P (N, 4) the kernel is positive definite, so a Cholesky decomposition
    works, at half the cost of a decomposition of the whole system.
    """
    (reflectors, scales), upper = qr(affine_basis, mode="raw")
    kernel = _reflect(reflectors, scales, _reflect(reflectors, scales, kernel).T)
    turned = _reflect(reflectors, scales, values)
    mixed, inner = kernel[:4, 4:].copy(), kernel[4:, 4:]
    try:
        free = cho_solve(cho_factor(inner, check_finite=False), turned[4:], check_finite=False)
    except np.linalg.LinAlgError:
        # Points nearly repeat, and rounding made the smallest eigenvalues negative.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LinAlgWarning)
            free = solve(inner, turned[4:], assume_a="sym", check_finite=False)
    affine = solve_triangular(upper[:4], turned[:4] - mixed @ free)
    full = np.concatenate([np.zeros((4, values.shape[1])), free])
    return _reflect(reflectors, scales, full, back=True), affine


@dataclass(frozen=True)
class ThinPlateSpline:
    """A fitted spline; see :meth:`fit`.

    Control points ``centres`` (N, 3) are scaled, ``(points - offset) / scale``, both (3,). ``weights`` (N, C) are the
    kernel's; ``affine`` (4, C) is the constant and linear part.
    """

    centres: Array
    weights: Array
    affine: Array
    offset: Array
    scale: Array

    @classmethod
    def fit(
        cls,
        points: Array,
        values: Array,
        *,
        smoothing: float = 0.0,
        offset: Array | None = None,
        scale: Array | None = None,
    ) -> "ThinPlateSpline":
        """Return the spline through ``values`` (N, C), e.g. motion in mm, at ``points`` (N, 3), N >= 4, any unit.

        The kernel works on ``(points - offset) / scale``, each (3,), by default 0 and 1. Lambda ``smoothing`` is added
        to the diagonal of its matrix, in scaled coordinates; 0 interpolates. An equal scale of all axes changes only
        its unit.

        Kernel ``r^2 log r`` with an affine part. Bookstein, IEEE TPAMI 11 (1989) 567. Raises ``BadInputError`` for
        fewer than four points (``too_few_points``), for points in one plane, or repeated without smoothing
        (``degenerate_points``).
        """
        points = np.ascontiguousarray(points, dtype=np.float64)
        offset = np.zeros(3) if offset is None else np.asarray(offset, dtype=np.float64)
        scale = np.ones(3) if scale is None else np.asarray(scale, dtype=np.float64)
        centres = (points - offset) / scale
        count = len(centres)
        if count < MIN_POINTS:
            raise BadInputError(
                "too few points for a thin-plate spline",
                code="too_few_points",
                expected=f">= {MIN_POINTS}",
                found=count,
            )
        basis = np.column_stack([np.ones(count), centres])
        # The solver may not notice points in one plane; the rank of the affine part does.
        if in_one_plane(centres):
            raise BadInputError(
                "the points are in one plane",
                code="degenerate_points",
                expected="points that span a volume",
                found=f"{count} points",
            )
        if smoothing == 0 and len(np.unique(centres, axis=0)) < count:
            raise BadInputError(
                "points repeat, so the spline cannot pass through all values",
                code="degenerate_points",
                expected="distinct points",
                found="repeated points",
                remedy="remove repeated points or use smoothing > 0",
            )
        kernel = np.empty((count, count))
        _kernel_matrix(np.ascontiguousarray(centres.T), kernel)
        kernel[np.arange(count), np.arange(count)] += smoothing
        # One thread, because with more the library adds in another order and bits differ.
        with threadpool_limits(1, user_api="blas"):
            weights, affine = _solve(kernel, basis, np.asarray(values, dtype=np.float64))
        return cls(centres, weights, affine, offset, scale)

    def evaluate(self, points: Array) -> Array:
        """Return the spline at ``points`` (M, 3), in the control points' unit, shape (M, C)."""
        queries = np.ascontiguousarray((np.asarray(points, dtype=np.float64) - self.offset) / self.scale)
        out = self.affine[0] + queries @ self.affine[1:]
        _evaluate(queries, np.ascontiguousarray(self.centres.T), np.ascontiguousarray(self.weights.T), out)
        return out
