"""CPU kernels on whole volumes: separable smoothing, and comparison of densities in one pass.

All are bit-identical for any number of threads: every output value is summed by one thread in the
order of the kernel's taps. Rows without points cost one look, because most of a chest holds no
vessel. Kernels are odd and symmetric, so a filter with zeros outside is its own adjoint.
"""

import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.numerics import taps as gaussian
from lcsd.numerics.approximations import scaled_tanh
from lcsd.numerics.threads import in_parts

Array = NDArray[Any]

PARTS = 8
"""Parts of the work on a volume."""

GAUSSIAN_REACH = 3.0
"""Gaussians are cut at this many standard deviations: 0.3 % of their mass."""


def gaussian_taps(sigma: float) -> NDArray[np.float64]:
    """Return a Gaussian of standard deviation ``sigma`` voxels, sum 1, odd length."""
    return gaussian.gaussian_taps(sigma, radius=max(1, math.ceil(GAUSSIAN_REACH * sigma)))


def mean_taps(width: int, times: int) -> NDArray[np.float64]:
    """Return the kernel of ``times`` running means over ``width`` (odd) voxels, sum 1."""
    taps = np.ones(1)
    for _ in range(times):
        taps = np.convolve(taps, np.full(width, 1 / width))
    return taps


@numba.njit(cache=True, error_model="numpy")
def _filter_row(padded: Array, taps: Array, out: Array) -> None:
    """Set ``out (W,)`` to the filtered row, given with ``len(taps) // 2`` zeros at either end."""
    reach, width = len(taps) // 2, len(out)
    middle = padded[reach : reach + width]
    for x in range(width):
        out[x] = taps[reach] * middle[x]
    for k in range(1, reach + 1):
        # Slices, because an index x + k would keep the loop from being vectorised.
        left, right = padded[reach - k : reach - k + width], padded[reach + k : reach + k + width]
        for x in range(width):
            out[x] += taps[reach + k] * (left[x] + right[x])


@numba.njit(cache=True, error_model="numpy")
def _occupied(plane: Array, out: Array) -> None:
    """Set ``out (H,)`` to whether each row of a plane holds anything but zeros."""
    for y in range(plane.shape[0]):
        row, some = plane[y], False
        for x in range(len(row)):
            some = some | (row[x] != 0)
        out[y] = some


@numba.njit(cache=True, error_model="numpy")
def _filter_plane(plane: Array, occupied: Array, taps: Array, padded: Array, out: Array) -> None:
    """Set ``out (H, W)`` to a plane filtered along y and x; ``padded`` is a zeroed row."""
    height, width = plane.shape
    reach = len(taps) // 2
    row = padded[reach : reach + width]
    for y in range(height):
        low, high = max(0, y - reach), min(height, y + reach + 1)
        if not occupied[low:high].any():
            out[y, :] = 0
            continue
        row[:] = 0
        for r in range(low, high):
            if occupied[r]:
                source, tap = plane[r], taps[r - y + reach]
                for x in range(width):
                    row[x] += tap * source[x]
        _filter_row(padded, taps, out[y])


@numba.njit(cache=True, error_model="numpy")
def _stack(planes: Array, at: int, depth: int, taps: Array, out: Array) -> None:
    """Set ``out (H W,)`` to plane ``at`` filtered along z; plane z lies at ``z % len(planes)``."""
    reach = len(taps) // 2
    out[:] = 0
    for z in range(max(0, at - reach), min(depth, at + reach + 1)):
        source, tap = planes[z % len(planes)].reshape(-1), taps[z - at + reach]
        for i in range(len(out)):
            out[i] += tap * source[i]


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _smooth_planes(part: int, parts: int, volumes: Array, taps: Array, between: Array) -> None:
    """Set some planes of ``between (M, D, H, W)`` to the volumes filtered along y and x."""
    count, depth, height, width = volumes.shape
    occupied = np.empty(height, np.bool_)
    padded = np.zeros(width + len(taps) - 1, volumes.dtype)
    for plane in range(part * count * depth // parts, (part + 1) * count * depth // parts):
        m, z = plane // depth, plane % depth
        _occupied(volumes[m, z], occupied)
        _filter_plane(volumes[m, z], occupied, taps, padded, between[m, z])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _smooth_stacks(part: int, parts: int, between: Array, taps: Array, out: Array) -> None:
    """Set some planes of ``out (M, D, H, W)`` to the volumes filtered along z."""
    count, depth = between.shape[:2]
    for plane in range(part * count * depth // parts, (part + 1) * count * depth // parts):
        m, z = plane // depth, plane % depth
        _stack(between[m], z, depth, taps, out[m, z].reshape(-1))


def smooth(volumes: Array, taps: Array, out: Array) -> None:
    """Set ``out`` to ``volumes (M, D, H, W)`` filtered along each axis, zeros outside."""
    between = np.empty_like(volumes)
    in_parts(_smooth_planes, PARTS, volumes, taps, between)
    in_parts(_smooth_stacks, PARTS, between, taps, out)


def smoothed(volumes: Array, taps: Array) -> Array:
    """Return ``volumes (M, D, H, W)`` filtered along each axis, zeros outside."""
    out = np.empty_like(volumes)
    smooth(volumes, taps.astype(volumes.dtype), out)
    return out


@numba.njit(cache=True, error_model="numpy")
def _respond(density: Array, gain: float, out: Array) -> None:
    """Set ``out (W,)`` to ``tanh(gain density)``, density >= 0; the identity if the gain is 0."""
    if gain == 0:
        out[:] = density
    else:
        scaled_tanh(density, gain, out)


@numba.njit(cache=True, error_model="numpy")
def _differ(response: Array, wanted: Array, gain: float, absolute: bool, loss: Array, slope: Array) -> None:
    """Add the difference of two rows to ``loss (W,)``; set its ``slope`` in the density."""
    real = response.dtype.type
    one, two, steepest, zero = real(1), real(2), real(gain if gain else 1), real(0)
    bend = real(1 if gain else 0)  # of the saturation; the identity has none
    if absolute:
        for x in range(len(response)):
            off = response[x] - wanted[x]
            loss[x] += abs(off)
            steep = steepest * (one - bend * response[x] * response[x])
            slope[x] = steep if off > 0 else (-steep if off < 0 else zero * off)
    else:
        for x in range(len(response)):
            off = response[x] - wanted[x]
            loss[x] += off * off
            slope[x] = two * off * steepest * (one - bend * response[x] * response[x])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _respond_planes(part: int, parts: int, density: Array, gain: float, out: Array) -> None:
    depth = len(density)
    for z in range(part * depth // parts, (part + 1) * depth // parts):
        _respond(density[z].reshape(-1), gain, out[z].reshape(-1))


def respond(raster: Array, taps: Array, gain: float, out: Array) -> None:
    """Set ``out (D, H, W)`` to the saturated, smoothed raster: what ``compare`` compares."""
    between = np.empty_like(raster)
    smooth(raster[None], taps, between[None])
    in_parts(_respond_planes, PARTS, between, gain, out)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _compare_slab(
    part: int,
    parts: int,
    raster: Array,
    target: Array,
    taps: Array,
    gain: float,
    absolute: bool,
    out: Array,
    losses: Array,
) -> None:
    """Compare one slab of slices; see ``compare``. A slab computes the planes that its taps reach beyond it again."""
    depth, height, width = raster.shape
    ring = len(taps)
    reach = ring // 2
    first, last = part * depth // parts, (part + 1) * depth // parts
    front = np.empty((ring, height, width), raster.dtype)
    back = np.empty((ring, height, width), raster.dtype)
    response = np.empty((height, width), raster.dtype)
    slope = np.empty((height, width), raster.dtype)
    padded = np.zeros(width + 2 * reach, raster.dtype)
    occupied = np.empty(height, np.bool_)
    loss = np.empty(width, raster.dtype)
    for step in range(max(0, first - 2 * reach), last + 2 * reach):
        if step < depth:
            _occupied(raster[step], occupied)
            _filter_plane(raster[step], occupied, taps, padded, front[step % ring])
        at = step - reach
        if max(0, first - reach) <= at < min(depth, last + reach):
            _stack(front, at, depth, taps, slope.reshape(-1))
            _respond(slope.reshape(-1), gain, response.reshape(-1))
            loss[:] = 0
            for y in range(height):
                _differ(response[y], target[at, y], gain, absolute, loss, slope[y])
            if first <= at < last:
                losses[at] = loss.astype(np.float64).sum()
            _occupied(slope, occupied)
            _filter_plane(slope, occupied, taps, padded, back[at % ring])
        at -= reach
        if first <= at < last:
            _stack(back, at, depth, taps, out[at].reshape(-1))


def compare(raster: Array, target: Array, taps: Array, gain: float, absolute: bool, slabs: int, out: Array) -> Array:
    """Compare a raster, smoothed and saturated, with a target response, both ``(D, H, W)``.

    Returns the summed difference per slice (absolute or squared), float64 ``(D,)``, and sets ``out`` to its gradient in
    the raster. Smoothing, difference and the smoothing's adjoint run slice by slice over two rings of planes that stay
    in the cache, so that each volume passes through memory once.
    """
    losses = np.empty(len(raster))
    in_parts(_compare_slab, slabs, raster, target, taps, gain, absolute, out, losses)
    return losses


@numba.njit(cache=True, error_model="numpy")
def _add_second(low: Array, middle: Array, high: Array, factor: float, out: Array) -> None:
    """Add ``factor (low - 2 middle + high)`` to a row."""
    two, scale = out.dtype.type(2), out.dtype.type(factor)
    for x in range(len(out)):
        out[x] += scale * (low[x] - two * middle[x] + high[x])


@numba.njit(cache=True, error_model="numpy")
def _add_mixed(here: Array, there: Array, step: Array, out: Array) -> None:
    """Add to row ``here`` twice the adjoint of the steps along x of its difference to ``there``.

    ``step`` is a row to work in, one longer than the others.
    """
    width, two = len(out), out.dtype.type(2)
    step[0], step[width] = 0, 0
    inner, left, right = step[1:width], step[:width], step[1 : width + 1]
    for x in range(width - 1):
        inner[x] = (here[x + 1] - there[x + 1]) - (here[x] - there[x])
    for x in range(width):
        out[x] += two * (left[x] - right[x])


@numba.njit(cache=True, error_model="numpy")
def _bend_row(volume: Array, z: int, y: int, step: Array, out: Array) -> None:
    """Set ``out (W,)`` to row (z, y) of the bending operator; see ``bend``."""
    depth, height, width = volume.shape
    row = volume[z, y]
    out[:] = 0
    if width > 2:
        second = step[: width - 2]
        second[:] = 0
        _add_second(row[: width - 2], row[1 : width - 1], row[2:], 1, second)
        two = out.dtype.type(2)
        start, middle, end = out[: width - 2], out[1 : width - 1], out[2:]
        for x in range(width - 2):
            start[x] += second[x]
        for x in range(width - 2):
            middle[x] -= two * second[x]
        for x in range(width - 2):
            end[x] += second[x]
    for d in range(-1, 2):
        factor = -2 if d == 0 else 1
        if 1 <= y + d < height - 1:
            a, b, c = volume[z, y + d - 1], volume[z, y + d], volume[z, y + d + 1]
            _add_second(a, b, c, factor, out)
        if 1 <= z + d < depth - 1:
            a, b, c = volume[z + d - 1, y], volume[z + d, y], volume[z + d + 1, y]
            _add_second(a, b, c, factor, out)
    for d in range(-1, 2, 2):
        if 0 <= y + d < height:
            _add_mixed(row, volume[z, y + d], step, out)
        if 0 <= z + d < depth:
            _add_mixed(row, volume[z + d, y], step, out)
    two = out.dtype.type(2)
    for dz in range(-1, 2, 2):
        for dy in range(-1, 2, 2):
            if 0 <= z + dz < depth and 0 <= y + dy < height:
                a, b, c = volume[z, y + dy], volume[z + dz, y], volume[z + dz, y + dy]
                for x in range(width):
                    out[x] += two * (row[x] - a[x] - b[x] + c[x])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _bend_planes(part: int, parts: int, volumes: Array, out: Array, energies: Array) -> None:
    count, depth, height, width = volumes.shape
    step, products = np.empty(width + 1, volumes.dtype), np.empty(width)
    for plane in range(part * count * depth // parts, (part + 1) * count * depth // parts):
        m, z = plane // depth, plane % depth
        products[:] = 0
        for y in range(height):
            row, bent = volumes[m, z, y], out[m, z, y]
            _bend_row(volumes[m], z, y, step, bent)
            for x in range(width):
                products[x] += row[x] * bent[x]
        energies[plane] = products.sum()


def bend(volumes: Array, out: Array) -> float:
    """Set ``out`` to ``B volumes``, both ``(M, D, H, W)``, half the gradient of the bending energy; return the energy.

    The energy ``u B u`` is the sum of squared second differences along z, y and x and of twice the squared mixed ones,
    wherever their nodes lie in the volume; so a linear volume has none.
    """
    energies = np.empty(volumes.shape[0] * volumes.shape[1])
    in_parts(_bend_planes, PARTS, volumes, out, energies)
    return float(energies.sum())
