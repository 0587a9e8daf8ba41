"""Points in volumes on the CPU: sorted once, then splatted and sampled by the kernels; numpy alone.

Arrays are all float32 or all float64. Points are normalised ``(x, y, z)``, volumes ``(C, D, H, W)``,
``align_corners=False``. The bits are the same for any number of threads.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc import kernels
from lcsd.numerics.threads import in_parts

PARTS = 8
"""Parts of the work on points: enough to even out points that crowd in a few slices."""

CHUNK_POINTS = 1 << 18
"""Points sorted at a time: bounds the memory besides inputs and outputs to 6 MB."""

Array = NDArray[Any]


class _Sorted(NamedTuple):
    """Points in the order of slices and blocks of rows; see ``kernels.first_rows``."""

    places: Array
    order: NDArray[np.int32]
    starts: NDArray[np.int64]


def _sort(points: Array, shape: tuple[int, int, int]) -> _Sorted:
    """Return points (N, 3) sorted by slice and block of rows, by counting."""
    depth, height, _ = shape
    blocks = (height >> kernels.ROW_BITS) + 1
    bins = np.empty(len(points), np.int32)
    tally = np.zeros((PARTS, (depth + 1) * blocks + 1), np.int64)
    in_parts(kernels.count, PARTS, points, shape, bins, tally)
    starts = np.empty(depth + 2, np.int64)
    kernels.first_rows(tally, blocks, starts)
    places, order = np.empty_like(points), np.empty_like(bins)
    in_parts(kernels.arrange, PARTS, points, shape, bins, tally, places, order)
    return _Sorted(places, order, starts)


class Places:
    """Points ``(N, 3)`` sorted for a volume, in chunks of bounded memory; a single one is kept."""

    def __init__(self, points: Array, shape: tuple[int, int, int]) -> None:
        self._points = points
        self._shape = shape
        self._only: _Sorted | None = None

    def _sorted(self, rows: slice) -> _Sorted:
        if self._only is not None:
            return self._only
        part = self._points[rows]
        found = _sort(part, self._shape)
        if len(part) == len(self._points):
            self._only = found
        return found

    def __iter__(self) -> Iterator[tuple[slice, _Sorted]]:
        for start in range(0, len(self._points), CHUNK_POINTS):
            rows = slice(start, min(start + CHUNK_POINTS, len(self._points)))
            yield rows, self._sorted(rows)

    def splat(self, weights: Array, out: Array) -> None:
        """Set ``out (C, D, H, W)`` to the splat of weights (C, N)."""
        fresh = True
        for rows, points in self:
            in_parts(kernels.splat, PARTS, *points, np.ascontiguousarray(weights[:, rows]), fresh, out)
            fresh = False
        if fresh:
            out[:] = 0

    def gather(self, volume: Array, out: Array) -> None:
        """Set ``out (C, N)`` to a volume (C, D, H, W) sampled at the points."""
        for rows, points in self:
            part = np.zeros((len(volume), rows.stop - rows.start), volume.dtype)
            in_parts(kernels.gather, PARTS, *points, volume, part)
            out[:, rows] = part

    def gradient(self, weights: Array, volume: Array, out: Array) -> None:
        """Add the gradient of the weighted samples in the points to ``out (N, 3)``."""
        for rows, points in self:
            part = np.ascontiguousarray(weights[:, rows])
            in_parts(kernels.gather_gradient, PARTS, *points, part, volume, out[rows])


def splatted(points: Array, weights: Array, shape: tuple[int, int, int]) -> Array:
    """Return the splat of weights (C, N) of points (N, 3), shape (C, D, H, W)."""
    out = np.empty((len(weights), *shape), weights.dtype)
    Places(np.ascontiguousarray(points), shape).splat(weights, out)
    return out


def sampled(volume: Array, points: Array) -> Array:
    """Return a volume (C, D, H, W) sampled at points (N, 3), shape (C, N); zeros outside."""
    _, depth, height, width = volume.shape
    out = np.empty((len(volume), len(points)), volume.dtype)
    Places(np.ascontiguousarray(points), (depth, height, width)).gather(np.ascontiguousarray(volume), out)
    return out
