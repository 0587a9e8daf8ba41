"""CPU kernels of DiVRoC: splat, gather, separable smoothing, difference. Compiled by numba.

All are bit-identical for any number of threads: every output value is summed by one thread, in
the order of the points or of the kernel's taps. Arrays are C-contiguous, float32 or float64;
points are normalised ``(x, y, z)``, volumes ``(z, y, x)``, ``align_corners=False``.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

CORNERS = 8
"""Voxels around a point; bits 2, 1, 0 of the corner's number are its steps along z, y, x."""


@numba.njit(inline="always")
def _voxel(coordinate: float, size: int) -> float:
    """Continuous voxel index of a normalised coordinate."""
    return ((coordinate + 1) * size - 1) / 2


@numba.njit(inline="always")
def _touches(pz: float, py: float, px: float, shape: tuple[int, int, int]) -> bool:
    """Whether a point shares a voxel of the volume; false for NaN."""
    return -1 < pz < shape[0] and -1 < py < shape[1] and -1 < px < shape[2]


@numba.njit(inline="always")
def _holds(z: int, y: int, x: int, shape: tuple[int, int, int]) -> bool:
    """Whether a voxel lies in the volume."""
    return 0 <= z < shape[0] and 0 <= y < shape[1] and 0 <= x < shape[2]


@numba.njit(inline="always")
def _hat(fraction: float, step: int) -> float:
    """Linear weight of the lower (0) or upper (1) voxel along an axis."""
    return fraction if step else 1 - fraction


@numba.njit(cache=True, parallel=True)
def splat(points: Array, weights: Array, slabs: int, out: Array) -> None:
    """Add trilinear splats of ``weights (B, C, N)`` at ``points (B, N, 3)`` to ``out``.

    Each of the ``slabs`` blocks of slices belongs to one thread, which walks through all points
    in order; so a voxel's sum does not depend on how many slabs or threads there are.
    """
    shape = out.shape[2:]
    for b in range(out.shape[0]):
        for slab in numba.prange(slabs):
            first = slab * shape[0] // slabs
            last = (slab + 1) * shape[0] // slabs
            for n in range(points.shape[1]):
                pz = _voxel(points[b, n, 2], shape[0])
                if not first - 1 < pz < last:  # false for NaN as well
                    continue
                py, px = _voxel(points[b, n, 1], shape[1]), _voxel(points[b, n, 0], shape[2])
                if not _touches(pz, py, px, shape):
                    continue
                z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
                for corner in range(CORNERS):
                    dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
                    z, y, x = z0 + dz, y0 + dy, x0 + dx
                    if first <= z < last and _holds(z, y, x, shape):
                        share = _hat(pz - z0, dz) * _hat(py - y0, dy) * _hat(px - x0, dx)
                        for c in range(out.shape[1]):
                            out[b, c, z, y, x] += share * weights[b, c, n]


@numba.njit(cache=True, parallel=True)
def gather(points: Array, volume: Array, out: Array) -> None:
    """Set ``out (B, C, N)`` to ``volume`` sampled at ``points``: linear, zero outside."""
    shape = volume.shape[2:]
    for b in range(volume.shape[0]):
        for n in numba.prange(points.shape[1]):
            for c in range(volume.shape[1]):
                out[b, c, n] = 0
            pz = _voxel(points[b, n, 2], shape[0])
            py, px = _voxel(points[b, n, 1], shape[1]), _voxel(points[b, n, 0], shape[2])
            if not _touches(pz, py, px, shape):
                continue
            z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
            for corner in range(CORNERS):
                dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
                z, y, x = z0 + dz, y0 + dy, x0 + dx
                if _holds(z, y, x, shape):
                    share = _hat(pz - z0, dz) * _hat(py - y0, dy) * _hat(px - x0, dx)
                    for c in range(volume.shape[1]):
                        out[b, c, n] += share * volume[b, c, z, y, x]


@numba.njit(cache=True, parallel=True)
def gather_slope(points: Array, weights: Array, volume: Array, out: Array) -> None:
    """Set ``out (B, N, 3)`` to the gradient of ``sum_c weights * sample(volume)`` in points."""
    shape = volume.shape[2:]
    for b in range(volume.shape[0]):
        for n in numba.prange(points.shape[1]):
            along_x, along_y, along_z = 0.0, 0.0, 0.0
            pz = _voxel(points[b, n, 2], shape[0])
            py, px = _voxel(points[b, n, 1], shape[1]), _voxel(points[b, n, 0], shape[2])
            if _touches(pz, py, px, shape):
                z0, y0, x0 = int(np.floor(pz)), int(np.floor(py)), int(np.floor(px))
                for corner in range(CORNERS):
                    dz, dy, dx = corner >> 2, corner >> 1 & 1, corner & 1
                    z, y, x = z0 + dz, y0 + dy, x0 + dx
                    if _holds(z, y, x, shape):
                        value = 0.0
                        for c in range(volume.shape[1]):
                            value += weights[b, c, n] * volume[b, c, z, y, x]
                        wz, wy, wx = _hat(pz - z0, dz), _hat(py - y0, dy), _hat(px - x0, dx)
                        along_x += (2 * dx - 1) * value * wz * wy
                        along_y += (2 * dy - 1) * value * wz * wx
                        along_z += (2 * dz - 1) * value * wy * wx
            # Voxels per normalised unit, by the chain rule.
            out[b, n, 0] = along_x * shape[2] / 2
            out[b, n, 1] = along_y * shape[1] / 2
            out[b, n, 2] = along_z * shape[0] / 2


@numba.njit(cache=True)
def _filter_x(plane: Array, taps: Array, out: Array) -> None:
    """Set the zeroed ``out (H, W)`` to ``plane`` filtered along x; empty rows cost one look."""
    height, width = plane.shape
    reach = len(taps) // 2
    padded = np.zeros(width + 2 * reach, dtype=plane.dtype)
    for y in range(height):
        empty = True
        for x in range(width):
            padded[x + reach] = plane[y, x]
            empty = empty and plane[y, x] == 0
        if not empty:
            row = out[y]
            for t in range(len(taps)):
                tap = taps[t]
                for x in range(width):
                    row[x] += tap * padded[x + t]


@numba.njit(cache=True)
def _filter_rows(rows: Array, at: int, taps: Array, out: Array) -> None:
    """Set ``out (W,)`` to the filtered value at row ``at`` of ``rows (R, W)``, across rows."""
    reach = len(taps) // 2
    for x in range(out.shape[0]):
        out[x] = 0
    for r in range(max(0, at - reach), min(rows.shape[0], at + reach + 1)):
        tap = taps[r - at + reach]
        row = rows[r]
        for x in range(out.shape[0]):
            out[x] += tap * row[x]


@numba.njit(cache=True, parallel=True)
def smooth(volumes: Array, taps: Array, out: Array) -> None:
    """Set ``out`` to ``volumes (M, D, H, W)`` filtered along each axis, zeros outside.

    ``taps`` is the odd, symmetric kernel; the filter is then its own adjoint.
    """
    count, depth, height, width = volumes.shape
    between = np.empty_like(volumes)
    for plane in numba.prange(count * depth):
        m, z = plane // depth, plane % depth
        rows = np.zeros((height, width), dtype=volumes.dtype)
        _filter_x(volumes[m, z], taps, rows)
        for y in range(height):
            _filter_rows(rows, y, taps, between[m, z, y])
    for plane in numba.prange(count * depth):
        m, z = plane // depth, plane % depth
        for y in range(height):
            _filter_rows(between[m, :, y], z, taps, out[m, z, y])


@numba.njit(cache=True, parallel=True)
def saturated_difference(
    density: Array, target: Array, gain: float, absolute: bool
) -> tuple[Array, Array]:
    """Compare ``tanh(gain density)`` with ``target``, both ``(D, H, W)``.

    Returns the summed difference per slice (absolute or squared), float64 ``(D,)``, and its
    gradient in ``density``. Most voxels are empty in both and cost two comparisons.
    """
    depth, height, width = density.shape
    losses = np.empty(depth)
    slope = np.zeros_like(density)
    for z in numba.prange(depth):
        total = 0.0
        for y in range(height):
            for x in range(width):
                value, wanted = density[z, y, x], target[z, y, x]
                if value == 0 and wanted == 0:
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
    return losses, slope
