"""Separable smoothing of whole volumes; their border voxels repeat."""

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.numerics import taps

F32 = NDArray[np.float32]


def gaussian_taps(sigma: float, *, truncate: float) -> F32:
    """Return the taps of a Gaussian that ends at ``truncate * sigma``, rounded; sum 1."""
    return taps.gaussian_taps(sigma, radius=int(truncate * sigma + 0.5)).astype(np.float32)


@numba.njit(cache=True, error_model="numpy")
def add_scaled(out: F32, row: F32, tap: np.float32) -> None:
    """Add ``tap * row`` to ``out``, element by element."""
    for i in range(out.size):
        out[i] += tap * row[i]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _within_planes(volume: F32, taps: F32, out: F32) -> None:
    """Smooth along x and y."""
    depth, height, width = volume.shape
    radius = len(taps) // 2
    for z in numba.prange(depth):
        source, target = volume[z], out[z]
        padded = np.empty(width + 2 * radius, np.float32)
        smoothed = np.zeros((height, width), np.float32)
        for y in range(height):
            padded[radius : radius + width] = source[y]
            padded[:radius] = source[y, 0]
            padded[radius + width :] = source[y, width - 1]
            for t in range(len(taps)):
                add_scaled(smoothed[y], padded[t : t + width], taps[t])
        for y in range(height):
            target[y] = 0
            for t in range(len(taps)):
                at = min(max(y + t - radius, 0), height - 1)
                add_scaled(target[y], smoothed[at], taps[t])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _across_planes(volume: F32, taps: F32, out: F32) -> None:
    """Smooth along z."""
    depth, radius = len(volume), len(taps) // 2
    for z in numba.prange(depth):
        target = out[z].reshape(-1)
        target[:] = 0
        for t in range(len(taps)):
            at = min(max(z + t - radius, 0), depth - 1)
            add_scaled(target, volume[at].reshape(-1), taps[t])


def smooth(volumes: F32, taps: F32) -> F32:
    """Return volumes (C, Z, Y, X) filtered along every axis by an odd number of taps."""
    out = np.empty_like(volumes)
    for channel, target in zip(volumes, out, strict=True):
        between = np.empty_like(channel)
        _within_planes(channel, taps, between)
        _across_planes(between, taps, target)
    return out
