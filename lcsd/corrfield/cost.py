"""Local cost volumes: the mismatch of the images for each displacement of a keypoint."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Features = NDArray[np.uint8] | F32

TOGETHER = 16
"""Points compared channel by channel: neighbours read the same part of a channel, which then comes from the cache. All
channels of a neighbourhood would not fit into it."""


@numba.njit(cache=True, error_model="numpy")
def _blend(
    flat: Features, a: np.uintp, b: np.uintp, c: np.uintp, d: np.uintp, weights: tuple[np.float32, ...], out: F32
) -> None:
    """Set ``out`` to a weighted sum of four rows of a flat volume, given by their starts.

    It takes unsigned positions in a flat array, because slices of a shared array cost more than the sum: threads
    compete for its reference count.
    """
    w0, w1, w2, w3 = weights
    for i in range(out.size):
        at = np.uintp(i)
        near = w0 * np.float32(flat[a + at]) + w1 * np.float32(flat[b + at])
        far = w2 * np.float32(flat[c + at]) + w3 * np.float32(flat[d + at])
        out[at] = near + far


@numba.njit(cache=True, error_model="numpy")
def _copy(flat: Features, start: np.uintp, out: F32) -> None:
    for i in range(out.size):
        out[i] = flat[start + np.uintp(i)]


@numba.njit(cache=True, error_model="numpy")
def _sample_row(line: F32, share: np.float32, step: int, count: int, out: F32, start: np.uintp) -> None:
    """Set ``count`` values of ``out`` from ``start`` to ``line`` at ``step * k + share``."""
    rest, one = np.float32(1) - share, np.uintp(1)
    if step == 1:
        for i in range(count):
            k = np.uintp(i)
            out[start + k] = rest * line[k] + share * line[k + one]
    elif step == 2:
        # The compiler turns a known stride into shuffles, an unknown one into slow gathers.
        for i in range(count):
            k = np.uintp(i)
            at = k + k
            out[start + k] = rest * line[at] + share * line[at + one]
    else:
        for i in range(count):
            at = np.uintp(step * i)
            out[start + np.uintp(i)] = rest * line[at] + share * line[at + one]


@numba.njit(cache=True, inline="always")
def _inside(index: int, size: int) -> int:
    return min(max(index, 0), size - 1)


@numba.njit(cache=True, error_model="numpy")
def sample_block(
    flat: Features, shape: tuple[int, int, int, int], channel: int, start: F64, step: int, count: int, out: F32
) -> None:
    """Set ``out`` to a channel at ``start + step * index``, linear, continued at the border.

    ``flat`` are the features, flattened from ``shape`` (C, Z, Y, X). ``start`` is the first sample's voxel position (z,
    y, x), maybe fractional; all samples have the same weights, because ``step`` is whole voxels. ``out`` has ``count``
    planes along z of ``count * count`` or more values: the rows of a plane, one after the other.
    """
    _, depth, height, width = shape
    z0, y0, x0 = math.floor(start[0]), math.floor(start[1]), math.floor(start[2])
    fz, fy, fx = np.float32(start[0] - z0), np.float32(start[1] - y0), np.float32(start[2] - x0)
    one = np.float32(1)
    weights = ((one - fz) * (one - fy), (one - fz) * fy, fz * (one - fy), fz * fy)
    size = step * (count - 1) + 2
    line = np.empty(size, np.float32)
    # The part of a row inside the image; outside, its ends repeat.
    first = min(max(-x0, 0), size - 1)
    last = max(min(width - x0, size), first + 1)
    left = _inside(x0 + first, width)
    covered = line[first:last]
    for i in range(count):
        za, zb = _inside(z0 + step * i, depth), _inside(z0 + step * i + 1, depth)
        a, b = (channel * depth + za) * height, (channel * depth + zb) * height
        for j in range(count):
            ya, yb = _inside(y0 + step * j, height), _inside(y0 + step * j + 1, height)
            if fz == 0 and fy == 0:
                _copy(flat, np.uintp((a + ya) * width + left), covered)
            else:
                _blend(
                    flat,
                    np.uintp((a + ya) * width + left),
                    np.uintp((a + yb) * width + left),
                    np.uintp((b + ya) * width + left),
                    np.uintp((b + yb) * width + left),
                    weights,
                    covered,
                )
            for k in range(first):
                line[k] = line[first]
            for k in range(last, size):
                line[k] = line[last - 1]
            _sample_row(line, fx, step, count, out[i], np.uintp(j * count))


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add_four(out: F32, a: F32, b: F32, c: F32, d: F32, values: F32) -> None:
    """Add to ``out`` the squared differences of four rows from one value each."""
    v0, v1, v2, v3 = values[0], values[1], values[2], values[3]
    for i in range(out.size):
        d0, d1, d2, d3 = a[i] - v0, b[i] - v1, c[i] - v2, d[i] - v3
        out[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3)


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add_five(out: F32, a: F32, b: F32, c: F32, d: F32, e: F32, values: F32) -> None:
    """Add to ``out`` the squared differences of five rows from one value each."""
    v0, v1, v2, v3, v4 = values[0], values[1], values[2], values[3], values[4]
    for i in range(out.size):
        d0, d1, d2, d3, d4 = a[i] - v0, b[i] - v1, c[i] - v2, d[i] - v3, e[i] - v4
        out[i] += (d0 * d0 + d1 * d1) + (d2 * d2 + d3 * d3) + d4 * d4


@numba.njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add_one(out: F32, row: F32, value: np.float32) -> None:
    for i in range(out.size):
        delta = row[i] - value
        out[i] += delta * delta


@numba.njit(cache=True, error_model="numpy")
def _compare(patch: F32, block: F32, sums: F32) -> None:
    """Add the squared differences of patch (S, S, S) and block, one channel, to ``sums (D, D * reach)``.

    The block has shape (reach, reach * reach), ``reach = D + S - 1``, and a little more per plane. Row dz of the sums
    holds displacement (dy, dx) at ``dy * reach + dx``. One loop runs over a whole plane, past the end of each row,
    because long loops are fast.
    """
    samples = patch.shape[0]
    reach = sums.shape[1] // sums.shape[0]
    length = sums.shape[1]
    for dz in range(sums.shape[0]):
        total = sums[dz]
        for i in range(samples):
            plane = block[dz + i]
            for j in range(samples):
                row = plane[j * reach :]
                values = patch[i, j]
                done = 0
                if samples == 5:
                    _add_five(
                        total,
                        row[:length],
                        row[1 : 1 + length],
                        row[2 : 2 + length],
                        row[3 : 3 + length],
                        row[4 : 4 + length],
                        values,
                    )
                    continue
                while done + 4 <= samples:
                    _add_four(
                        total,
                        row[done : done + length],
                        row[done + 1 : done + 1 + length],
                        row[done + 2 : done + 2 + length],
                        row[done + 3 : done + 3 + length],
                        values[done:],
                    )
                    done += 4
                for k in range(done, samples):
                    _add_one(total, row[k : k + length], values[k])


@numba.njit(cache=True, error_model="numpy")
def _write(sums: F32, reach: int, factor: np.float32, out: F32) -> None:
    """Copy the sums without the values past the ends of their rows."""
    width = len(sums)
    for dz in range(width):
        for dy in range(width):
            row = sums[dz, dy * reach : dy * reach + width]
            for dx in range(width):
                out[dz, dy, dx] = factor * row[dx]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def cost_volumes(
    source: Features,
    target: Features,
    points: F64,
    radius: int,
    step: int,
    patch_radius: int,
    alpha: float,
    threads: int,
    out: F32,
) -> None:
    """Set ``out (K, D, D, D)``, ``D = 2 radius + 1``, to the cost of every displacement.

    With patch offsets o and displacements d along (z, y, x) it is ``alpha * mean over o of sum over channels of
    (source(p + o) - target(p + o + step d))^2``; outside the images, border voxels repeat. Displacements are ``step *
    (-radius .. radius)`` voxels, and o runs from ``-patch_radius`` to ``patch_radius`` at the same step.

    ``source`` and ``target`` are features (C, Z, Y, X), uint8 or float32; ``points`` are voxel positions (z, y, x) in
    the source, (K, 3), maybe fractional. ``threads`` parts are computed at once, each with its own buffers.
    """
    samples = 2 * patch_radius // step + 1
    width = 2 * radius + 1
    reach = width + samples - 1
    factor = np.float32(alpha / samples**3)
    channels = source.shape[0]
    here, there = source.reshape(-1), target.reshape(-1)
    patch = np.empty((threads, samples, samples * samples), np.float32)
    # The last rows are read past their end, by the width of a patch.
    block = np.zeros((threads, reach, reach * reach + samples), np.float32)
    sums = np.empty((threads, TOGETHER, width, width * reach), np.float32)
    for part in numba.prange(threads):
        for begin in range(part * TOGETHER, len(points), threads * TOGETHER):
            count = min(TOGETHER, len(points) - begin)
            sums[part] = 0
            for c in range(channels):
                for i in range(count):
                    first = points[begin + i] - patch_radius
                    sample_block(here, source.shape, c, first, step, samples, patch[part])
                    first -= radius * step
                    sample_block(there, target.shape, c, first, step, reach, block[part])
                    values = patch[part].reshape(samples, samples, samples)
                    _compare(values, block[part], sums[part, i])
            for i in range(count):
                _write(sums[part, i], reach, factor, out[begin + i])
