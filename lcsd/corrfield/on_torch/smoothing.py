"""Separable filters of whole volumes; their border voxels repeat."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def correlate(volume: Tensor, taps: NDArray[np.floating], axis: int) -> Tensor:
    """Return ``sum over t of taps[t] * volume[.. + t]`` along an axis; the result is ``len(taps) - 1`` shorter."""
    size = volume.shape[axis] - len(taps) + 1
    result = float(taps[0]) * volume.narrow(axis, 0, size)
    for t in range(1, len(taps)):
        result.add_(volume.narrow(axis, t, size), alpha=float(taps[t]))
    return result


def extended(volume: Tensor, reach: int, axis: int) -> Tensor:
    """Return a volume continued by ``reach`` border voxels at both ends of an axis."""
    size = volume.shape[axis]
    where = torch.arange(-reach, size + reach, device=volume.device).clamp(0, size - 1)
    return volume.index_select(axis, where)


def smooth(volumes: Tensor, taps: NDArray[np.float32]) -> Tensor:
    """Return volumes (C, Z, Y, X) filtered along every axis by an odd number of taps."""
    for axis in (3, 2, 1):
        volumes = correlate(extended(volumes, len(taps) // 2, axis), taps, axis)
    return volumes
