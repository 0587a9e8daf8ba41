"""MIND-SSC: 12 channels that describe the surroundings of a voxel independently of the intensity scale."""

import itertools
import math
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.smoothing import add_scaled, gaussian_taps
from lcsd.numerics.approximations import exp_negative

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

CHANNELS = 12

FULL = 255
"""The byte for 1. Rounding to bytes changes a squared difference over all channels by about 3e-5 and saves three
quarters of the memory that each later step reads."""

LOWEST_VARIANCE, HIGHEST_VARIANCE = 1e-3, 1e3
"""Local variance is clamped to these multiples of its mean over the image."""

TRUNCATE_SIGMAS = 2.0
"""The Gaussian patch is cut here: it is 5 voxels wide at sigma 1."""

TINY = 1e-12
"""Avoids a division by zero for constant images."""

NEIGHBOURS = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
PAIRS = [(a, b) for a, b in itertools.combinations(NEIGHBOURS, 2) if math.dist(a, b) < 2]
"""The 12 pairs of six-neighbours that are sqrt(2) apart, (z, y, x)."""


@numba.njit(cache=True, error_model="numpy")
def _round(values: F32, out: U8) -> None:
    """Set ``out`` to ``FULL values``, rounded."""
    for i in range(values.size):
        out[i] = np.uint8(values[i] * np.float32(FULL) + np.float32(0.5))


@numba.njit(cache=True, error_model="numpy")
def _difference(near: F32, far: F32, out: F32) -> None:
    for i in range(out.size):
        delta = near[i] - far[i]
        out[i] = delta * delta


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _smoothed_difference(image: F32, shift: NDArray[np.int64], taps: F32, margin: int, out: F32, scratch: F32) -> None:
    """Set ``out`` to the Gaussian mean of ``(I(x) - I(x + shift))^2``, valid ``margin`` inside."""
    depth, height, width = image.shape
    radius = len(taps) // 2
    reach = margin - radius
    inner = width - 2 * margin
    for z in numba.prange(reach, depth - reach):
        row = np.empty(width - 2 * reach, np.float32)
        plane = np.zeros((height, inner), np.float32)
        for y in range(reach, height - reach):
            x = reach + shift[2]
            _difference(image[z, y, reach : width - reach], image[z + shift[0], y + shift[1], x : x + row.size], row)
            for t in range(len(taps)):
                add_scaled(plane[y], row[t : t + inner], taps[t])
        for y in range(margin, height - margin):
            line = scratch[z, y, margin : margin + inner]
            line[:] = 0
            for t in range(len(taps)):
                add_scaled(line, plane[y + t - radius], taps[t])
    for z in numba.prange(margin, depth - margin):
        for y in range(margin, height - margin):
            line = out[z, y, margin : margin + inner]
            line[:] = 0
            for t in range(len(taps)):
                add_scaled(line, scratch[z + t - radius, y, margin : margin + inner], taps[t])


@numba.njit(cache=True, error_model="numpy")
def _lowest_row(maps: F32, which: NDArray[np.int64], corner: NDArray[np.int64], z: int, y: int, out: F32) -> None:
    """Set ``out`` to the smallest of the channels along a row of voxels."""
    out[:] = np.inf
    for c in range(len(which)):
        x = corner[c, 2]
        row = maps[which[c], corner[c, 0] + z, corner[c, 1] + y, x : x + out.size]
        for i in range(out.size):
            out[i] = np.fmin(out[i], row[i])


@numba.njit(cache=True, error_model="numpy")
def _add_above(out: F32, row: F32, lowest: F32, factor: np.float32) -> None:
    for i in range(out.size):
        out[i] += factor * (row[i] - lowest[i])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _variance(maps: F32, which: NDArray[np.int64], corner: NDArray[np.int64], out: F32) -> None:
    """Set ``out`` to the mean over the channels after their smallest value is subtracted."""
    depth, height, width = out.shape
    count = len(which)
    for z in numba.prange(depth):
        lowest = np.empty(width, np.float32)
        for y in range(height):
            _lowest_row(maps, which, corner, z, y, lowest)
            out[z, y] = 0
            for c in range(count):
                x = corner[c, 2]
                row = maps[which[c], corner[c, 0] + z, corner[c, 1] + y, x : x + width]
                _add_above(out[z, y], row, lowest, np.float32(1 / count))


@numba.njit(cache=True, error_model="numpy")
def _normalised(row: F32, lowest: F32, inverse: F32, out: F32) -> None:
    for i in range(out.size):
        out[i] = (row[i] - lowest[i]) * inverse[i]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _descriptors(
    maps: F32, which: NDArray[np.int64], corner: NDArray[np.int64], variance: F32, low: float, high: float, out: U8
) -> None:
    """Set ``out (C, Z, Y, X)`` to ``FULL exp(-d / v)`` with v in [low, high]."""
    count, depth, height, width = out.shape
    least, most = np.float32(low), np.float32(high)
    for z in numba.prange(depth):
        lowest, inverse = np.empty(width, np.float32), np.empty(width, np.float32)
        row, bits = np.empty(width, np.float32), np.empty(width, np.int32)
        for y in range(height):
            _lowest_row(maps, which, corner, z, y, lowest)
            line = variance[z, y]
            for i in range(width):
                inverse[i] = np.float32(1) / min(max(line[i], least), most)
            for c in range(count):
                x = corner[c, 2]
                values = maps[which[c], corner[c, 0] + z, corner[c, 1] + y, x : x + width]
                _normalised(values, lowest, inverse, row)
                exp_negative(row, bits)
                _round(row, out[c, z, y])


def channel_maps(step: int, border: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the distinct shifts, the shift of each channel, and the start of the channel in its map."""
    shifts: list[tuple[int, ...]] = []
    which, corner = [], []
    for a, b in PAIRS:
        shift, start = tuple(step * (j - i) for i, j in zip(a, b, strict=True)), a
        if shift not in shifts and tuple(-s for s in shift) in shifts:
            # The difference is symmetric, so the map from b to a serves, read at b.
            shift, start = tuple(-s for s in shift), b
        if shift not in shifts:
            shifts.append(shift)
        which.append(shifts.index(shift))
        corner.append([border + step * s for s in start])
    return np.array(shifts), np.array(which), np.array(corner)


def mind_ssc(image: F32, *, step: int, sigma: float) -> U8:
    """Return the self-similarity context of every voxel, shape (12, z, y, x), uint8: 0 to FULL stand for 0 to 1.

    Heinrich et al., MICCAI 2013: channel c compares the patches (Gaussian of ``sigma`` voxels) at two six-neighbours a,
    b, ``step`` voxels from the voxel and sqrt(2) steps apart, ``d_c = G_sigma * (I(x + a) - I(x + b))^2``; the smallest
    channel is subtracted and ``exp(-d_c / v)`` taken with v the mean over the channels. As ``d_c(x)`` depends on b - a
    and x + a only, six smoothed differences serve all twelve. Outside the image, its border voxels repeat.
    """
    taps = gaussian_taps(sigma, truncate=TRUNCATE_SIGMAS)
    # A difference at x + a with |a| = step reaches step + radius + 2 step voxels out.
    margin = len(taps) // 2 + 2 * step
    border = margin + step
    padded = np.pad(image.astype(np.float32, copy=False), border, mode="edge")
    shifts, which, corner = channel_maps(step, border)
    maps = np.empty((len(shifts), *padded.shape), np.float32)
    scratch = np.empty_like(padded)
    for shift, smoothed in zip(shifts, maps, strict=True):
        _smoothed_difference(padded, shift, taps, margin, smoothed, scratch)
    variance = np.empty(image.shape, np.float32)
    _variance(maps, which, corner, variance)
    mean = max(float(variance.mean(dtype=np.float64)), TINY)
    channels = np.empty((CHANNELS, *image.shape), np.uint8)
    low, high = LOWEST_VARIANCE * mean, HIGHEST_VARIANCE * mean
    _descriptors(maps, which, corner, variance, low, high, channels)
    return channels
