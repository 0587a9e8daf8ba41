"""Thin-plate spline: the smooth motion that passes through sparse motion vectors."""

import warnings
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgWarning, solve

from lcsd.errors import BadInputError

Array = NDArray[np.float64]

MIN_POINTS = 4
"""An affine map in 3-D has four free points."""


@numba.njit(inline="always")  # type: ignore[misc]
def _kernel(squared: float) -> float:
    """Return r^2 log r of a squared distance; its limit at 0 is 0."""
    return 0.5 * squared * np.log(squared) if squared > 0.0 else 0.0


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def _kernel_matrix(points: Array, matrix: Array) -> None:
    """Fill the upper left block of ``matrix`` with the kernel between all points."""
    for row in numba.prange(len(points)):
        for column in range(len(points)):
            squared = 0.0
            for axis in range(3):
                delta = points[row, axis] - points[column, axis]
                squared += delta * delta
            matrix[row, column] = _kernel(squared)


@numba.njit(cache=True, parallel=True, error_model="numpy")  # type: ignore[misc]
def _evaluate(queries: Array, centres: Array, weights: Array, affine: Array, out: Array) -> None:
    """Set ``out (M, C)`` to the spline at ``queries (M, 3)``; nothing of size M x N is stored."""
    channels = weights.shape[1]
    for row in numba.prange(len(queries)):
        for channel in range(channels):
            value = affine[0, channel]
            for axis in range(3):
                value += affine[axis + 1, channel] * queries[row, axis]
            out[row, channel] = value
        for centre in range(len(centres)):
            squared = 0.0
            for axis in range(3):
                delta = queries[row, axis] - centres[centre, axis]
                squared += delta * delta
            share = _kernel(squared)
            for channel in range(channels):
                out[row, channel] += share * weights[centre, channel]


@dataclass(frozen=True)
class ThinPlateSpline:
    """A fitted spline; make it with :meth:`fit`.

    Parameters
    ----------
    centres
        Scaled control points, shape (N, 3).
    weights
        Kernel weights, shape (N, C).
    affine
        Constant and linear part, shape (4, C).
    offset, scale
        Scaled coordinates are ``(points - offset) / scale``, each shape (3,).
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
        """Return the spline through ``values`` at ``points``.

        Parameters
        ----------
        points
            Control points, shape (N, 3), N >= 4, not all in one plane; any unit.
        values
            Shape (N, C), e.g. motion vectors in mm.
        smoothing
            Lambda: added to the diagonal of the kernel matrix, in scaled coordinates; 0
            interpolates.
        offset, scale
            Shape (3,): the kernel works on ``(points - offset) / scale``; by default 0 and 1. An
            equal scale of all axes changes nothing but the meaning of ``smoothing``.

        Raises
        ------
        BadInputError
            Fewer than four points, points in one plane, or repeated points without smoothing.

        Notes
        -----
        Kernel ``r^2 log r`` with an affine part. Bookstein, IEEE TPAMI 11 (1989) 567.
        """
        points = np.ascontiguousarray(points, dtype=np.float64)
        offset = np.zeros(3) if offset is None else np.asarray(offset, dtype=np.float64)
        scale = np.ones(3) if scale is None else np.asarray(scale, dtype=np.float64)
        centres = (points - offset) / scale
        count = len(centres)
        if count < MIN_POINTS:
            raise BadInputError(
                "too few points for a thin-plate spline", code="too_few_points",
                expected=f">= {MIN_POINTS}", found=count,
            )  # fmt: skip
        matrix = np.zeros((count + 4, count + 4))
        _kernel_matrix(centres, matrix)
        matrix[np.arange(count), np.arange(count)] += smoothing
        matrix[:count, count] = 1.0
        matrix[:count, count + 1 :] = centres
        matrix[count:, :count] = matrix[:count, count:].T
        right = np.zeros((count + 4, values.shape[1]))
        right[:count] = values
        # The rank of the affine part tells points in one plane; the solver may not see it.
        if np.linalg.matrix_rank(matrix[:count, count:]) < 4:
            raise BadInputError(
                "the points lie in one plane", code="degenerate_points",
                expected="points that span a volume", found=f"{count} points",
            )  # fmt: skip
        if smoothing == 0 and len(np.unique(centres, axis=0)) < count:
            raise BadInputError(
                "points repeat, so no spline passes through all values", code="degenerate_points",
                expected="distinct points", found="repeated points",
                remedy="remove duplicates or use smoothing > 0",
            )  # fmt: skip
        with warnings.catch_warnings():
            # Thousands of points over 300 mm make a large condition number of the kernel's own;
            # what the solution is worth is tested at the control points.
            warnings.simplefilter("ignore", LinAlgWarning)
            solution = solve(matrix, right, assume_a="sym", overwrite_a=True, check_finite=False)
        return cls(centres, solution[:count].copy(), solution[count:].copy(), offset, scale)

    def evaluate(self, points: Array) -> Array:
        """Return the spline at ``points`` (M, 3), in the control points' unit, shape (M, C)."""
        queries = np.ascontiguousarray(
            (np.asarray(points, dtype=np.float64) - self.offset) / self.scale
        )
        out = np.empty((len(queries), self.weights.shape[1]))
        _evaluate(queries, self.centres, self.weights, self.affine, out)
        return out
