"""Local cost volumes; see :mod:`lcsd.corrfield.cost` for the definition."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lcsd.corrfield.on_torch.batches import FLOAT_BYTES, INDEX_BYTES, batches

F64 = NDArray[np.float64]


def sample_blocks(features: Tensor, start: F64, *, step: int, count: int) -> Tensor:
    """Return features (C, Z, Y, X) at ``start + step * index``, linear, continued at the border.

    Start positions (B, 3), z, y, x, give blocks (C, B, count, count, count), float32.
    """
    device, blocks = features.device, len(start)
    first = np.floor(start)
    share = start - first
    along = np.arange(count) * step
    out = torch.zeros((len(features), blocks, count, count, count), device=device)
    for corner in itertools.product((0, 1), repeat=3):
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        if not weight.any():
            continue  # whole positions have one corner
        where = []
        for axis, size in enumerate(features.shape[1:]):
            voxels = first[:, axis, None].astype(np.int64) + along + corner[axis]
            form = [blocks, 1, 1, 1]
            form[1 + axis] = count
            where.append(torch.tensor(voxels.clip(0, size - 1), device=device).view(form))
        z, y, x = where
        weights = torch.tensor(weight, dtype=torch.float32, device=device).view(-1, 1, 1, 1)
        out += weights * features[:, z, y, x]
    return out


def _costs(source: Tensor, target: Tensor, points: F64, radius: int, step: int, patch_radius: int) -> Tensor:
    """Return sums over samples and channels of squared differences, shape (B, D, D, D)."""
    samples = 2 * patch_radius // step + 1
    width = 2 * radius + 1
    first = points - patch_radius
    patch = sample_blocks(source, first, step=step, count=samples)
    first = first - radius * step
    block = sample_blocks(target, first, step=step, count=width + samples - 1)
    total = torch.zeros((len(points), width, width, width), device=source.device)
    for z, y, x in itertools.product(range(samples), repeat=3):
        there = block[:, :, z : z + width, y : y + width, x : x + width]
        here = patch[:, :, z, y, x, None, None, None].expand_as(there)
        # (a - b)^2 in one pass through memory.
        total += functional.mse_loss(there, here, reduction="none").sum(dim=0)
    return total


def cost_volumes(
    source: Tensor, target: Tensor, points: F64, *, radius: int, step: int, patch_radius: int, alpha: float, mib: float
) -> Tensor:
    """Return the costs of :func:`lcsd.corrfield.cost.cost_volumes`, in batches with buffers of at most ``mib`` MiB."""
    samples, width = 2 * patch_radius // step + 1, 2 * radius + 1
    out = torch.empty((len(points), width, width, width), device=source.device)
    # Memory per point while a block is sampled: the sum, a weighted corner and its indices.
    reach = (width + samples - 1) ** 3
    each = reach * (3 * FLOAT_BYTES * len(source) + INDEX_BYTES)
    for part in batches(len(points), each=each, mib=mib):
        found = _costs(source, target, points[part], radius, step, patch_radius)
        torch.mul(found, alpha / samples**3, out=out[part])
    return out
