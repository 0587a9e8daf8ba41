"""MIND-SSC; see :mod:`lcsd.corrfield.mind` for the definition."""

import torch
from torch import Tensor

from lcsd.corrfield.mind import CHANNELS, FULL, HIGHEST_VARIANCE, LOWEST_VARIANCE, TINY, TRUNCATE_SIGMAS, channel_maps
from lcsd.corrfield.on_torch.smoothing import correlate, extended
from lcsd.corrfield.smoothing import gaussian_taps


def mind_ssc(image: Tensor, *, step: int, sigma: float) -> Tensor:
    """Return the self-similarity context of an image (z, y, x), shape (12, z, y, x), uint8."""
    taps = gaussian_taps(sigma, truncate=TRUNCATE_SIGMAS)
    radius, size = len(taps) // 2, image.shape
    border = radius + 3 * step
    for axis in range(3):
        image = extended(image, border, axis)
    shifts, which, corner = channel_maps(step, border)
    inner = [slice(2 * step, n - 2 * step) for n in image.shape]
    maps = []
    for shift in shifts.tolist():
        shifted = [slice(2 * step + s, n - 2 * step + s) for s, n in zip(shift, image.shape, strict=True)]
        smoothed = (image[tuple(inner)] - image[tuple(shifted)]).square_()
        for axis in (2, 1, 0):
            smoothed = correlate(smoothed, taps, axis)
        maps.append(smoothed)
    # The maps begin 2 step + radius voxels inside the extended image.
    starts = (corner - (2 * step + radius)).tolist()
    views = [
        maps[m][tuple(slice(a, a + n) for a, n in zip(start, size, strict=True))]
        for m, start in zip(which.tolist(), starts, strict=True)
    ]
    return _descriptors(views)


def _descriptors(differences: list[Tensor]) -> Tensor:
    """Return ``FULL exp(-d / v)``, rounded, of the channels' differences, each (z, y, x)."""
    lowest = differences[0].clone()
    for part in differences[1:]:
        torch.minimum(lowest, part, out=lowest)
    variance = torch.zeros_like(lowest)
    for part in differences:
        variance.add_(part - lowest, alpha=1 / CHANNELS)
    mean = max(float(variance.mean(dtype=torch.float64)), TINY)
    variance.clamp_(LOWEST_VARIANCE * mean, HIGHEST_VARIANCE * mean)
    out = torch.empty((CHANNELS, *lowest.shape), dtype=torch.uint8, device=lowest.device)
    for channel, part in zip(out, differences, strict=True):
        value = (lowest - part).div_(variance).exp_()
        channel.copy_(value.mul_(FULL).add_(0.5))
    return out
