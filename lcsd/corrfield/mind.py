"""MIND-SSC: 12 channels that describe a voxel's surroundings, whatever the intensity scale."""

import itertools

import numba
import numpy as np
from numpy.typing import NDArray

CHANNELS = 12

LOWEST_VARIANCE, HIGHEST_VARIANCE = 1e-3, 1e3
"""Local variance is kept within these multiples of its mean over the image."""

TRUNCATE_SIGMAS = 2.0
"""The Gaussian patch ends here: 5 voxels wide at sigma 1."""

TINY = 1e-12
"""Keeps a constant image from dividing by zero."""


def _offsets() -> list[tuple[tuple[int, int, int], tuple[int, int, int]]]:
    """Return the 12 pairs of six-neighbours that are sqrt(2) apart, (z, y, x)."""
    neighbours = [(-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1)]
    return [
        (a, b)
        for a, b in itertools.combinations(neighbours, 2)
        if sum((i - j) ** 2 for i, j in zip(a, b, strict=True)) == 2
    ]


PAIRS = _offsets()


def patch_weights(sigma: float) -> NDArray[np.float32]:
    """Return the taps of the Gaussian patch along one axis, sum 1."""
    radius = int(np.ceil(TRUNCATE_SIGMAS * sigma))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return (taps / taps.sum()).astype(np.float32)


@numba.njit(cache=True, parallel=True, fastmath=True)  # type: ignore[misc]
def _smoothed_difference(
    image: NDArray[np.float32], shift: NDArray[np.int64], taps: NDArray[np.float32],
    margin: int, out: NDArray[np.float32], scratch: NDArray[np.float32],
) -> None:  # fmt: skip
    """Set ``out`` to the Gaussian mean of ``(I(x) - I(x + shift))^2``, valid ``margin`` inside."""
    depth, height, width = image.shape
    radius = len(taps) // 2
    reach = margin - radius
    for z in numba.prange(reach, depth - reach):
        row = np.empty(width, np.float32)
        for y in range(reach, height - reach):
            for x in range(reach, width - reach):
                delta = image[z, y, x] - image[z + shift[0], y + shift[1], x + shift[2]]
                row[x] = delta * delta
            for x in range(margin, width - margin):
                total = np.float32(0)
                for t in range(len(taps)):
                    total += taps[t] * row[x + t - radius]
                out[z, y, x] = total
    for z in numba.prange(reach, depth - reach):
        for y in range(margin, height - margin):
            for x in range(margin, width - margin):
                scratch[z, y, x] = 0
            for t in range(len(taps)):
                for x in range(margin, width - margin):
                    scratch[z, y, x] += taps[t] * out[z, y + t - radius, x]
    for z in numba.prange(margin, depth - margin):
        for y in range(margin, height - margin):
            for x in range(margin, width - margin):
                out[z, y, x] = 0
            for t in range(len(taps)):
                for x in range(margin, width - margin):
                    out[z, y, x] += taps[t] * scratch[z + t - radius, y, x]


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def _variance(channels: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Subtract the smallest channel of each voxel; set ``out`` to the mean of what remains."""
    count, depth, height, width = channels.shape
    for z in numba.prange(depth):
        for y in range(height):
            for x in range(width):
                lowest = channels[0, z, y, x]
                for c in range(1, count):
                    lowest = min(lowest, channels[c, z, y, x])
                total = np.float32(0)
                for c in range(count):
                    channels[c, z, y, x] -= lowest
                    total += channels[c, z, y, x]
                out[z, y, x] = total / np.float32(count)


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def _exponential(
    channels: NDArray[np.float32], variance: NDArray[np.float32], low: float, high: float
) -> None:
    """Turn differences into ``exp(-d / v)`` with v clamped to [low, high]."""
    count, depth, height, width = channels.shape
    for z in numba.prange(depth):
        for y in range(height):
            for x in range(width):
                v = np.float32(min(max(variance[z, y, x], low), high))
                for c in range(count):
                    channels[c, z, y, x] = np.exp(-channels[c, z, y, x] / v)


def mind_ssc(image: NDArray[np.float32], *, step: int, sigma: float) -> NDArray[np.float32]:
    """Return the self-similarity context of every voxel.

    Parameters
    ----------
    image
        Shape (z, y, x), intensity.
    step
        Distance of the compared neighbours from the voxel, voxels.
    sigma
        Gaussian patch, voxels.

    Returns
    -------
    NDArray
        Shape (12, z, y, x), float32 in (0, 1]. The image continues with its border voxels.

    Notes
    -----
    Heinrich et al., MICCAI 2013: channel c compares the patches at two six-neighbours a, b of the
    voxel that are sqrt(2) steps apart, ``d_c = G_sigma * (I(x + a) - I(x + b))^2``; the smallest
    channel is subtracted and ``exp(-d_c / v)`` taken with v the mean over the channels. As
    ``d_c(x)`` depends on b - a and x + a only, six smoothed differences serve all twelve.
    """
    taps = patch_weights(sigma)
    # A difference at x + a with |a| = step reaches step + radius + 2 step voxels out.
    margin = len(taps) // 2 + 2 * step
    border = margin + step
    padded = np.pad(image.astype(np.float32, copy=False), border, mode="edge")
    maps: dict[tuple[int, ...], NDArray[np.float32]] = {}
    scratch = np.empty_like(padded)
    channels = np.empty((CHANNELS, *image.shape), np.float32)
    depth, height, width = image.shape
    for channel, (a, b) in enumerate(PAIRS):
        shift = tuple(step * (j - i) for i, j in zip(a, b, strict=True))
        start = a
        if shift not in maps and tuple(-s for s in shift) in maps:
            # The difference is symmetric: from b to a it is the same map, read at b.
            shift, start = tuple(-s for s in shift), b
        if shift not in maps:
            maps[shift] = np.empty_like(padded)
            _smoothed_difference(padded, np.array(shift), taps, margin, maps[shift], scratch)
        z, y, x = (border + step * s for s in start)
        channels[channel] = maps[shift][z : z + depth, y : y + height, x : x + width]
    variance = np.empty(image.shape, np.float32)
    _variance(channels, variance)
    mean = max(float(variance.mean(dtype=np.float64)), TINY)
    _exponential(channels, variance, LOWEST_VARIANCE * mean, HIGHEST_VARIANCE * mean)
    return channels
