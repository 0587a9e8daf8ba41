"""CPU kernels of DiVRoC: splat, gather, separable smoothing. Compiled by numba.

All are bit-identical for any number of threads: every output value is summed by one thread, in
the order of the points or of the kernel's taps. Arrays are C-contiguous, float32 or float64;
points are normalised ``(x, y, z)``, volumes ``(z, y, x)``, ``align_corners=False``.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(inline="always")
def _voxel(coordinate: float, size: int) -> float:
    """Continuous voxel index of a normalised coordinate."""
    return ((coordinate + 1) * size - 1) / 2


@numba.njit(cache=True, parallel=True)
def splat(points: Array, weights: Array, slabs: int, out: Array) -> None:
    """Add trilinear splats of ``weights (B, C, N)`` at ``points (B, N, 3)`` to ``out``.

    Each of the ``slabs`` blocks of slices belongs to one thread, which walks through all points
    in order; so a voxel's sum does not depend on how many slabs or threads there are.
    """
    batch, channels, depth, height, width = out.shape
    count = points.shape[1]
    for b in range(batch):
        for slab in numba.prange(slabs):
            first = slab * depth // slabs
            last = (slab + 1) * depth // slabs
            for n in range(count):
                pz = _voxel(points[b, n, 2], depth)
                # Written so that NaN fails, too.
                if not (pz > first - 1 and pz < last):
                    continue
                py = _voxel(points[b, n, 1], height)
                px = _voxel(points[b, n, 0], width)
                if not (py > -1 and py < height and px > -1 and px < width):
                    continue
                z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
                fz, fy, fx = pz - z0, py - y0, px - x0
                for dz in range(2):
                    z = z0 + dz
                    if z < first or z >= last:
                        continue
                    wz = fz if dz else 1 - fz
                    for dy in range(2):
                        y = y0 + dy
                        if y < 0 or y >= height:
                            continue
                        wzy = wz * (fy if dy else 1 - fy)
                        for dx in range(2):
                            x = x0 + dx
                            if x < 0 or x >= width:
                                continue
                            share = wzy * (fx if dx else 1 - fx)
                            for c in range(channels):
                                out[b, c, z, y, x] += share * weights[b, c, n]


@numba.njit(cache=True, parallel=True)
def gather(points: Array, volume: Array, out: Array) -> None:
    """Set ``out (B, C, N)`` to ``volume`` sampled at ``points``: linear, zero outside."""
    batch, channels, depth, height, width = volume.shape
    for b in range(batch):
        for n in numba.prange(points.shape[1]):
            for c in range(channels):
                out[b, c, n] = 0
            pz = _voxel(points[b, n, 2], depth)
            py = _voxel(points[b, n, 1], height)
            px = _voxel(points[b, n, 0], width)
            if not (
                pz > -1 and pz < depth and py > -1 and py < height and px > -1 and px < width
            ):
                continue
            z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
            fz, fy, fx = pz - z0, py - y0, px - x0
            for dz in range(2):
                z = z0 + dz
                if z < 0 or z >= depth:
                    continue
                wz = fz if dz else 1 - fz
                for dy in range(2):
                    y = y0 + dy
                    if y < 0 or y >= height:
                        continue
                    wzy = wz * (fy if dy else 1 - fy)
                    for dx in range(2):
                        x = x0 + dx
                        if x < 0 or x >= width:
                            continue
                        share = wzy * (fx if dx else 1 - fx)
                        for c in range(channels):
                            out[b, c, n] += share * volume[b, c, z, y, x]


@numba.njit(cache=True, parallel=True)
def gather_slope(points: Array, weights: Array, volume: Array, out: Array) -> None:
    """Set ``out (B, N, 3)`` to the gradient of ``sum_c weights * sample(volume)`` in points."""
    batch, channels, depth, height, width = volume.shape
    for b in range(batch):
        for n in numba.prange(points.shape[1]):
            out[b, n, 0] = 0
            out[b, n, 1] = 0
            out[b, n, 2] = 0
            pz = _voxel(points[b, n, 2], depth)
            py = _voxel(points[b, n, 1], height)
            px = _voxel(points[b, n, 0], width)
            if not (
                pz > -1 and pz < depth and py > -1 and py < height and px > -1 and px < width
            ):
                continue
            z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
            fz, fy, fx = pz - z0, py - y0, px - x0
            for dz in range(2):
                z = z0 + dz
                if z < 0 or z >= depth:
                    continue
                wz = fz if dz else 1 - fz
                for dy in range(2):
                    y = y0 + dy
                    if y < 0 or y >= height:
                        continue
                    wy = fy if dy else 1 - fy
                    for dx in range(2):
                        x = x0 + dx
                        if x < 0 or x >= width:
                            continue
                        wx = fx if dx else 1 - fx
                        value = weights[b, 0, n] * volume[b, 0, z, y, x]
                        for c in range(1, channels):
                            value += weights[b, c, n] * volume[b, c, z, y, x]
                        out[b, n, 0] += (value if dx else -value) * wz * wy
                        out[b, n, 1] += (value if dy else -value) * wz * wx
                        out[b, n, 2] += (value if dz else -value) * wy * wx
            # Voxels per normalised unit, by the chain rule.
            out[b, n, 0] *= width / 2
            out[b, n, 1] *= height / 2
            out[b, n, 2] *= depth / 2


@numba.njit(cache=True, parallel=True)
def smooth(volumes: Array, taps: Array, out: Array) -> None:
    """Set ``out`` to ``volumes (M, D, H, W)`` filtered along each axis, zeros outside.

    ``taps`` is the odd, symmetric kernel; the filter is then its own adjoint.
    """
    count, depth, height, width = volumes.shape
    reach = len(taps) // 2
    between = np.empty_like(volumes)
    for plane in numba.prange(count * depth):
        m, z = plane // depth, plane % depth
        padded = np.zeros(width + 2 * reach, dtype=volumes.dtype)
        rows = np.zeros((height, width), dtype=volumes.dtype)
        for y in range(height):
            empty = True
            for x in range(width):
                value = volumes[m, z, y, x]
                padded[x + reach] = value
                if value != 0:
                    empty = False
            if empty:
                continue
            row = rows[y]
            for t in range(len(taps)):
                tap = taps[t]
                for x in range(width):
                    row[x] += tap * padded[x + t]
        for y in range(height):
            target = between[m, z, y]
            for x in range(width):
                target[x] = 0
            for s in range(max(0, y - reach), min(height, y + reach + 1)):
                tap = taps[s - y + reach]
                row = rows[s]
                for x in range(width):
                    target[x] += tap * row[x]
    for plane in numba.prange(count * depth):
        m, z = plane // depth, plane % depth
        for y in range(height):
            target = out[m, z, y]
            for x in range(width):
                target[x] = 0
            for s in range(max(0, z - reach), min(depth, z + reach + 1)):
                tap = taps[s - z + reach]
                row = between[m, s, y]
                for x in range(width):
                    target[x] += tap * row[x]


@numba.njit(cache=True, parallel=True)
def saturated_difference(
    density: Array, target: Array, gain: float, absolute: bool, losses: Array, slope: Array
) -> None:
    """Compare ``tanh(gain density)`` with ``target``, both ``(D, H, W)``.

    Sets ``losses (D,)`` to the summed difference per slice (absolute or squared) and ``slope``
    to its gradient in ``density``. Most voxels are empty in both and cost one comparison.
    """
    depth, height, width = density.shape
    for z in numba.prange(depth):
        total = 0.0
        for y in range(height):
            for x in range(width):
                value = density[z, y, x]
                wanted = target[z, y, x]
                slope[z, y, x] = 0
                if value == 0:
                    total += abs(wanted) if absolute else wanted * wanted
                    # tanh has slope `gain` at 0.
                    if wanted != 0:
                        slope[z, y, x] = -gain if absolute else -2 * wanted * gain
                    continue
                response = np.tanh(gain * value)
                off = response - wanted
                steep = gain * (1 - response * response)
                if absolute:
                    total += abs(off)
                    slope[z, y, x] = np.sign(off) * steep
                else:
                    total += off * off
                    slope[z, y, x] = 2 * off * steep
        losses[z] = total
