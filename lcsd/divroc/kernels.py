"""CPU kernels of points in volumes: sort, splat, gather, gradient. Compiled by numba.

Points are sorted once by slice (and by block of rows in it), so that one slab of the volume is one thread's work, held
in its cache, without atomics. ``part`` and ``parts`` come from ``numerics.threads.in_parts``. All kernels are
bit-identical for any number of threads and parts: every output value is summed by one thread, slice by slice, in the
sorted order. Arrays are C-contiguous, all float32 or all float64; points are normalised ``(x, y, z)``, volumes
``(C, z, y, x)``, ``align_corners=False``.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ROW_BITS = 5
"""Rows of a block, as a power of 2: 32 rows of two slices stay in a core's caches."""

CACHE_LINE = 64
"""Bytes that memory moves at once."""

LINES_PER_POINT = 16
"""Cache lines that are read in order in the time that one point, which come in no order, waits for its own."""


@numba.njit(inline="always", error_model="numpy")
def _place(points: Array, n: int, shape: tuple[int, int, int]) -> tuple[float, float, float]:
    """Return the continuous voxel indices ``(x, y, z)`` of a point."""
    real = points.dtype.type
    half = real(0.5)
    sz, sy, sx = real(shape[0]) * half, real(shape[1]) * half, real(shape[2]) * half
    return points[n, 0] * sx + (sx - half), points[n, 1] * sy + (sy - half), points[n, 2] * sz + (sz - half)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def count(part: int, parts: int, points: Array, shape: tuple[int, int, int], bins: Array, tally: Array) -> None:
    """Find the slice and block of rows of one run of ``points (N, 3)``; those that touch no voxel come last.

    Sets ``bins (N,)`` to the blocks and ``tally[part]`` to their numbers of points. NaN touches nothing.
    """
    depth, height, width = shape
    blocks = (height >> ROW_BITS) + 1
    outside = (depth + 1) * blocks
    for n in range(part * len(points) // parts, (part + 1) * len(points) // parts):
        x, y, z = _place(points, n, shape)
        at = outside
        if -1 < z < depth and -1 < y < height and -1 < x < width:
            at = int(z + 1) * blocks + (int(y + 1) >> ROW_BITS)
        bins[n] = at
        tally[part, at] += 1


@numba.njit(cache=True, nogil=True, error_model="numpy")
def first_rows(tally: Array, blocks: int, starts: Array) -> None:
    """Turn numbers of points into the row where each run's points of each block begin.

    ``tally`` has shape (parts, blocks + 1). Sets ``starts (D + 2,)`` to where each lower slice starts, from -1 on:
    points ``starts[z + 1]`` to ``starts[z + 2]`` lie between the centres of slices ``z`` and ``z + 1``; the last entry
    is the number of points that touch the volume.
    """
    total = 0
    for at in range(tally.shape[1]):
        if at % blocks == 0:
            starts[at // blocks] = total
        for part in range(len(tally)):
            here = tally[part, at]
            tally[part, at] = total
            total += here


@numba.njit(cache=True, nogil=True, error_model="numpy")
def arrange(
    part: int,
    parts: int,
    points: Array,
    shape: tuple[int, int, int],
    bins: Array,
    tally: Array,
    places: Array,
    order: Array,
) -> None:
    """Write the continuous voxel indices ``(x, y, z)`` of one run of ``points (N, 3)`` to sorted ``places (N, 3)``.

    Sets ``order (N,)`` to the points' rows. Points that touch no voxel are left out.
    """
    rows = tally[part]
    outside = len(rows) - 1
    for n in range(part * len(bins) // parts, (part + 1) * len(bins) // parts):
        at = np.uint64(bins[n])
        if at < outside:
            to = np.uint64(rows[at])
            rows[at] += 1
            order[to] = n
            places[to, 0], places[to, 1], places[to, 2] = _place(points, n, shape)


@numba.njit(inline="always", error_model="numpy")
def _shares(
    value: float, fx: float, fy: float, fz: float
) -> tuple[float, float, float, float, float, float, float, float]:
    """Return what the eight voxels around a point get of its value, x fastest; ``f`` are its fractions of a voxel."""
    back = value * fz
    front = value - back
    c, g = front * fy, back * fy
    a, e = front - c, back - g
    b, d, f, h = a * fx, c * fx, e * fx, g * fx
    return a - b, b, c - d, d, e - f, f, g - h, h


@numba.njit(inline="always", error_model="numpy")
def _add_square(plane: Array, at: int, width: int, a: float, b: float, c: float, d: float) -> None:
    """Add to two voxels of a row of a flat volume from ``at`` on, and to those of the next row."""
    # Unsigned, or numba would check each index for a negative one.
    one, low, high = np.uint64(1), np.uint64(at), np.uint64(at + width)
    plane[low] += a
    plane[low + one] += b
    plane[high] += c
    plane[high + one] += d


@numba.njit(error_model="numpy")
def _add_cut_square(volume: Array, c: int, z: int, y: int, x: int, a: float, b: float, d: float, e: float) -> None:
    """Add to the four voxels from (z, y, x) on of a slice in channel ``c`` of a volume, as far as they exist."""
    height, width = volume.shape[2:]
    for j in range(2):
        if 0 <= y + j < height:
            if x >= 0:
                volume[c, z, y + j, x] += d if j else a
            if x + 1 < width:
                volume[c, z, y + j, x + 1] += e if j else b


@numba.njit(cache=True, nogil=True, error_model="numpy")
def splat(
    part: int, parts: int, places: Array, order: Array, starts: Array, weights: Array, fresh: bool, out: Array
) -> None:
    """Add trilinear splats of ``weights (C, N)`` to one slab of ``out (C, D, H, W)``; the points are sorted.

    A ``fresh`` volume is set to zero on the way: slice by slice, just before it is needed, so it is still in the cache.
    A slab's thread also walks through the points just below its first slice for their upper share.
    """
    channels, depth, height, width = out.shape
    real = places.dtype.type
    first, last = part * depth // parts, (part + 1) * depth // parts
    flat, size = out.reshape(-1), height * width
    for c in range(channels):
        for z0 in range(first - 1, last):
            lower, upper = z0 >= first, z0 + 1 < last
            start = (c * depth + z0) * size
            if fresh and upper:
                flat[start + size : start + 2 * size] = 0
            for k in range(starts[z0 + 1], starts[z0 + 2]):
                px, py, pz = places[k, 0], places[k, 1], places[k, 2]
                x0, y0 = int(np.floor(px)), int(np.floor(py))
                value = weights[c, np.uint64(order[k])]
                s0, s1, s2, s3, s4, s5, s6, s7 = _shares(value, px - real(x0), py - real(y0), pz - real(z0))
                if 0 <= x0 < width - 1 and 0 <= y0 < height - 1:
                    at = start + y0 * width + x0
                    if lower:
                        _add_square(flat, at, width, s0, s1, s2, s3)
                    if upper:
                        _add_square(flat, at + size, width, s4, s5, s6, s7)
                else:
                    if lower:
                        _add_cut_square(out, c, z0, y0, x0, s0, s1, s2, s3)
                    if upper:
                        _add_cut_square(out, c, z0 + 1, y0, x0, s4, s5, s6, s7)


Cell = tuple[float, float, float, float, float, float, float, float]
"""Eight voxels, x fastest."""


@numba.njit(inline="always", error_model="numpy")
def _cell(flat: Array, at: int, width: int, size: int) -> Cell:
    """Return the eight voxels from ``at`` on of a flat volume, whose rows and slices hold ``width`` and ``size``."""
    one, a, b = np.uint64(1), np.uint64(at), np.uint64(at + width)
    c, d = np.uint64(at + size), np.uint64(at + size + width)
    return flat[a], flat[a + one], flat[b], flat[b + one], flat[c], flat[c + one], flat[d], flat[d + one]


@numba.njit(error_model="numpy")
def _cut_cell(volume: Array, c: int, z: int, y: int, x: int) -> Cell:
    """Return the eight voxels from (z, y, x) on in channel ``c`` of a volume; zero outside."""
    _, depth, height, width = volume.shape
    found = np.zeros((2, 2, 2), volume.dtype)
    for k, j, i in np.ndindex(2, 2, 2):
        if 0 <= z + k < depth and 0 <= y + j < height and 0 <= x + i < width:
            found[k, j, i] = volume[c, z + k, y + j, x + i]
    a, b, d, e, f, g, h, i = found.flat
    return a, b, d, e, f, g, h, i


@numba.njit(inline="always", error_model="numpy")
def _value(cell: Cell, fx: float, fy: float, fz: float) -> float:
    """Return the value at fractions of a voxel in a cell."""
    c0, c1, c2, c3, c4, c5, c6, c7 = cell
    e0, e1, e2, e3 = c0 + (c1 - c0) * fx, c2 + (c3 - c2) * fx, c4 + (c5 - c4) * fx, c6 + (c7 - c6) * fx
    low, high = e0 + (e1 - e0) * fy, e2 + (e3 - e2) * fy
    return low + (high - low) * fz


@numba.njit(inline="always", error_model="numpy")
def _slopes(cell: Cell, fx: float, fy: float, fz: float) -> tuple[float, float, float]:
    """Return the gradient along x, y, z per voxel at fractions of a voxel in a cell."""
    c0, c1, c2, c3, c4, c5, c6, c7 = cell
    d0, d1, d2, d3 = c1 - c0, c3 - c2, c5 - c4, c7 - c6
    e0, e1, e2, e3 = c0 + d0 * fx, c2 + d1 * fx, c4 + d2 * fx, c6 + d3 * fx
    low, high = d0 + (d1 - d0) * fy, d2 + (d3 - d2) * fy
    along_x = low + (high - low) * fz
    low, high = e1 - e0, e3 - e2
    along_y = low + (high - low) * fz
    return along_x, along_y, (e2 + (e3 - e2) * fy) - (e0 + (e1 - e0) * fy)


@numba.njit(error_model="numpy")
def _warm(volume: Array, first: int, last: int, points: int) -> bool:
    """Read slices ``first`` to ``last`` of a volume once in order if so many points are going to read them.

    Then they are in the cache, where the points, which come in no order, don't wait for them. Returns whether any value
    is set, so that the compiler can't leave the reading out.
    """
    channels, depth, height, width = volume.shape
    line = CACHE_LINE // volume.itemsize
    size = height * width
    some = False
    if points * LINES_PER_POINT * line >= size:
        for c in range(channels):
            flat = volume[c].reshape(-1)
            for at in range(max(first, 0) * size, min(last + 1, depth) * size, line):
                some = some | (flat[np.uint64(at)] != 0)
    return some


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(part: int, parts: int, places: Array, order: Array, starts: Array, volume: Array, out: Array) -> bool:
    """Set one run of the rows of ``out (C, N)`` inside the ``volume (C, D, H, W)`` to its samples."""
    channels, depth, height, width = volume.shape
    flat, real, warm = volume.reshape(-1), places.dtype.type, False
    first, last = part * starts[-1] // parts, (part + 1) * starts[-1] // parts
    for z0 in range(-1, depth):
        start, stop = max(first, starts[z0 + 1]), min(last, starts[z0 + 2])
        warm |= _warm(volume, z0 if start == first else z0 + 1, z0 + 1, stop - start)
        for c in range(channels):
            for k in range(start, stop):
                px, py, pz = places[k, 0], places[k, 1], places[k, 2]
                x0, y0 = int(np.floor(px)), int(np.floor(py))
                fx, fy, fz = px - real(x0), py - real(y0), pz - real(z0)
                if 0 <= x0 < width - 1 and 0 <= y0 < height - 1 and 0 <= z0 < depth - 1:
                    at = ((c * depth + z0) * height + y0) * width + x0
                    cell = _cell(flat, at, width, height * width)
                else:
                    cell = _cut_cell(volume, c, z0, y0, x0)
                out[c, np.uint64(order[k])] = _value(cell, fx, fy, fz)
    return warm


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather_gradient(
    part: int, parts: int, places: Array, order: Array, starts: Array, weights: Array, volume: Array, out: Array
) -> bool:
    """Add to one run of the rows of ``out (N, 3)`` inside the gradient of the weighted, summed samples.

    The gradient of ``sum_c weights[c] * sample(volume[c])`` in the normalised points.
    """
    channels, depth, height, width = volume.shape
    flat, real, warm = volume.reshape(-1), places.dtype.type, False
    # Voxels per normalised unit, by the chain rule.
    scale_x, scale_y, scale_z = real(width) / real(2), real(height) / real(2), real(depth) / real(2)
    first, last = part * starts[-1] // parts, (part + 1) * starts[-1] // parts
    for z0 in range(-1, depth):
        start, stop = max(first, starts[z0 + 1]), min(last, starts[z0 + 2])
        warm |= _warm(volume, z0 if start == first else z0 + 1, z0 + 1, stop - start)
        for c in range(channels):
            for k in range(start, stop):
                px, py, pz = places[k, 0], places[k, 1], places[k, 2]
                x0, y0 = int(np.floor(px)), int(np.floor(py))
                fx, fy, fz = px - real(x0), py - real(y0), pz - real(z0)
                if 0 <= x0 < width - 1 and 0 <= y0 < height - 1 and 0 <= z0 < depth - 1:
                    at = ((c * depth + z0) * height + y0) * width + x0
                    cell = _cell(flat, at, width, height * width)
                else:
                    cell = _cut_cell(volume, c, z0, y0, x0)
                n = np.uint64(order[k])
                weight = weights[c, n]
                slope_x, slope_y, slope_z = _slopes(cell, fx, fy, fz)
                out[n, 0] += weight * slope_x * scale_x
                out[n, 1] += weight * slope_y * scale_y
                out[n, 2] += weight * slope_z * scale_z
    return warm
