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

ROW_BITS = 3
"""Rows of a block, as a power of 2: eight rows of two slices stay in a core's first cache."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def count(
    part: int, parts: int, points: Array, shape: tuple[int, int, int], places: Array, bins: Array, tally: Array
) -> None:
    """Find the slice and block of rows of one run of ``points (N, 3)``; those that touch no voxel come last.

    Sets ``places (N, 3)`` to the continuous voxel indices ``(x, y, z)``, ``bins (N,)`` to the blocks and
    ``tally[part]`` to their numbers of points. NaN touches nothing.
    """
    depth, height, width = shape
    blocks = (height >> ROW_BITS) + 1
    outside = (depth + 1) * blocks
    real = points.dtype.type
    half = real(0.5)
    sz, sy, sx = real(depth) * half, real(height) * half, real(width) * half
    oz, oy, ox = sz - half, sy - half, sx - half
    for n in range(part * len(points) // parts, (part + 1) * len(points) // parts):
        x, y, z = points[n, 0] * sx + ox, points[n, 1] * sy + oy, points[n, 2] * sz + oz
        places[n, 0], places[n, 1], places[n, 2] = x, y, z
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
def arrange(part: int, parts: int, found: Array, bins: Array, tally: Array, places: Array, order: Array) -> None:
    """Copy one run of ``found (N, 3)`` to sorted ``places (N, 3)`` and note the points' rows in ``order (N,)``."""
    rows = tally[part]
    for n in range(part * len(bins) // parts, (part + 1) * len(bins) // parts):
        to = rows[bins[n]]
        rows[bins[n]] = to + 1
        order[to] = n
        places[to, 0], places[to, 1], places[to, 2] = found[n, 0], found[n, 1], found[n, 2]


@numba.njit(inline="always", error_model="numpy")
def _add_pair(volume: Array, at: int, x0: int, width: int, low: float, high: float) -> None:
    """Add to the voxels ``x0`` and ``x0 + 1`` of a row; ``at`` is the first in flat order."""
    # Unsigned, or numba would check each index for a negative one.
    if x0 >= 0:
        volume[np.uint64(at)] += low
    if x0 + 1 < width:
        volume[np.uint64(at + 1)] += high


@numba.njit(cache=True, nogil=True, error_model="numpy")
def splat(part: int, parts: int, places: Array, order: Array, starts: Array, weights: Array, out: Array) -> None:
    """Add trilinear splats of ``weights (C, N)`` to one slab of ``out (C, D, H, W)``; the points are sorted.

    A slab's thread also walks through the points just below its first slice for their upper share.
    """
    channels, depth, height, width = out.shape
    flat = out.reshape(channels, depth * height * width)
    real = places.dtype.type
    one = real(1)
    first, last = part * depth // parts, (part + 1) * depth // parts
    for c in range(channels):
        for z0 in range(first - 1, last):
            for k in range(starts[z0 + 1], starts[z0 + 2]):
                px, py, pz = places[k, 0], places[k, 1], places[k, 2]
                x0, y0 = int(np.floor(px)), int(np.floor(py))
                fx, fy, fz = px - real(x0), py - real(y0), pz - real(z0)
                value = weights[c, order[k]]
                high = value * fx
                low = value - high
                for dz in range(2):
                    if first <= z0 + dz < last:
                        for dy in range(2):
                            if 0 <= y0 + dy < height:
                                share = (fz if dz else one - fz) * (fy if dy else one - fy)
                                at = ((z0 + dz) * height + y0 + dy) * width + x0
                                _add_pair(flat[c], at, x0, width, share * low, share * high)


@numba.njit(inline="always", error_model="numpy")
def _pair(volume: Array, z: int, y: int, x0: int, shape: tuple[int, int, int]) -> tuple[float, float]:
    """Return the voxels ``x0`` and ``x0 + 1`` of a row of a flat volume; zero outside."""
    low, high = volume.dtype.type(0), volume.dtype.type(0)
    if 0 <= z < shape[0] and 0 <= y < shape[1]:
        at = (z * shape[1] + y) * shape[2] + x0
        if x0 >= 0:
            low = volume[np.uint64(at)]
        if x0 + 1 < shape[2]:
            high = volume[np.uint64(at + 1)]
    return low, high


@numba.njit(inline="always", error_model="numpy")
def _cell(
    volume: Array, z: int, y: int, x: int, shape: tuple[int, int, int]
) -> tuple[float, float, float, float, float, float, float, float]:
    """Return the eight voxels from (z, y, x) on, x fastest, of a flat volume; zero outside."""
    if 0 <= z < shape[0] - 1 and 0 <= y < shape[1] - 1 and 0 <= x < shape[2] - 1:
        a = np.uint64((z * shape[1] + y) * shape[2] + x)
        one, row = np.uint64(1), np.uint64(shape[2])
        b = a + np.uint64(shape[1] * shape[2])
        return (
            volume[a],
            volume[a + one],
            volume[a + row],
            volume[a + row + one],
            volume[b],
            volume[b + one],
            volume[b + row],
            volume[b + row + one],
        )
    c0, c1 = _pair(volume, z, y, x, shape)
    c2, c3 = _pair(volume, z, y + 1, x, shape)
    c4, c5 = _pair(volume, z + 1, y, x, shape)
    c6, c7 = _pair(volume, z + 1, y + 1, x, shape)
    return c0, c1, c2, c3, c4, c5, c6, c7


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather(part: int, parts: int, places: Array, order: Array, starts: Array, volume: Array, out: Array) -> None:
    """Set one run of the rows of ``out (C, N)`` inside the ``volume (C, D, H, W)`` to its samples."""
    channels, shape = volume.shape[0], volume.shape[1:]
    flat = volume.reshape(channels, shape[0] * shape[1] * shape[2])
    real = places.dtype.type
    for k in range(part * starts[-1] // parts, (part + 1) * starts[-1] // parts):
        px, py, pz = places[k, 0], places[k, 1], places[k, 2]
        x0, y0, z0 = int(np.floor(px)), int(np.floor(py)), int(np.floor(pz))
        fx, fy, fz = px - real(x0), py - real(y0), pz - real(z0)
        for c in range(channels):
            c0, c1, c2, c3, c4, c5, c6, c7 = _cell(flat[c], z0, y0, x0, shape)
            e0, e1 = c0 + (c1 - c0) * fx, c2 + (c3 - c2) * fx
            e2, e3 = c4 + (c5 - c4) * fx, c6 + (c7 - c6) * fx
            low, high = e0 + (e1 - e0) * fy, e2 + (e3 - e2) * fy
            out[c, order[k]] = low + (high - low) * fz


@numba.njit(cache=True, nogil=True, error_model="numpy")
def gather_gradient(
    part: int, parts: int, places: Array, order: Array, starts: Array, weights: Array, volume: Array, out: Array
) -> None:
    """Set one run of the rows of ``out (N, 3)`` inside to the gradient of the weighted, summed samples.

    The gradient of ``sum_c weights[c] * sample(volume[c])`` in the normalised points.
    """
    channels, shape = volume.shape[0], volume.shape[1:]
    flat = volume.reshape(channels, shape[0] * shape[1] * shape[2])
    real = places.dtype.type
    # Voxels per normalised unit, by the chain rule.
    scale_x, scale_y, scale_z = real(shape[2]), real(shape[1]), real(shape[0])
    for k in range(part * starts[-1] // parts, (part + 1) * starts[-1] // parts):
        n = order[k]
        px, py, pz = places[k, 0], places[k, 1], places[k, 2]
        x0, y0, z0 = int(np.floor(px)), int(np.floor(py)), int(np.floor(pz))
        fx, fy, fz = px - real(x0), py - real(y0), pz - real(z0)
        along_x, along_y, along_z = real(0), real(0), real(0)
        for c in range(channels):
            c0, c1, c2, c3, c4, c5, c6, c7 = _cell(flat[c], z0, y0, x0, shape)
            weight = weights[c, n]
            d0, d1, d2, d3 = c1 - c0, c3 - c2, c5 - c4, c7 - c6
            e0, e1, e2, e3 = c0 + d0 * fx, c2 + d1 * fx, c4 + d2 * fx, c6 + d3 * fx
            low, high = e0 + (e1 - e0) * fy, e2 + (e3 - e2) * fy
            along_z += weight * (high - low)
            low, high = e1 - e0, e3 - e2
            along_y += weight * (low + (high - low) * fz)
            low, high = d0 + (d1 - d0) * fy, d2 + (d3 - d2) * fy
            along_x += weight * (low + (high - low) * fz)
        out[n, 0] = along_x * scale_x / real(2)
        out[n, 1] = along_y * scale_y / real(2)
        out[n, 2] = along_z * scale_z / real(2)
