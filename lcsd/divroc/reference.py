"""Rasterising and sampling in plain torch operations: the oracle, and the form for any device.

The same values as ``lcsd.divroc.rasterise``, written from the definition, differentiable any
number of times, deterministic wherever torch's ``index_add`` and indexing are.
"""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor


def _corners(points: Tensor, shape: tuple[int, int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield flat voxel indices (B, N) and shares (B, N) of the eight voxels around each point.

    Voxels outside have index 0 and share 0.
    """
    size = points.new_tensor(shape[::-1])
    places = points * (size / 2) + (size / 2 - 0.5)
    # A NaN has no voxel; a comparison with it is false.
    touches = ((places > -1) & (places < size)).all(dim=-1)
    places = torch.where(touches[..., None], places, torch.zeros_like(places))
    lower = places.detach().floor()
    fraction = places - lower
    for step in itertools.product((0, 1), repeat=3):
        voxel = lower + lower.new_tensor(step)
        inside = touches & ((voxel >= 0) & (voxel < size)).all(dim=-1)
        share = torch.where(lower.new_tensor(step).bool(), fraction, 1 - fraction).prod(dim=-1)
        x, y, z = voxel.long().unbind(dim=-1)
        flat = (z * shape[1] + y) * shape[2] + x
        yield flat.where(inside, torch.zeros_like(flat)), share * inside


def rasterise(points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return weights (B, C, N) at points (B, N, 3) as volumes (B, C, D, H, W)."""
    batch, channels = weights.shape[:2]
    voxels = shape[0] * shape[1] * shape[2]
    out = weights.new_zeros((batch * voxels, channels))
    first = torch.arange(batch, device=points.device)[:, None] * voxels
    for flat, share in _corners(points, shape):
        values = (weights * share[:, None]).transpose(1, 2).reshape(-1, channels)
        out = out.index_add(0, (first + flat).reshape(-1), values)
    return out.view(batch, *shape, channels).permute(0, 4, 1, 2, 3).contiguous()


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """Return volumes (B, C, D, H, W) at points (B, N, 3), shape (B, C, N)."""
    depth, height, width = volume.shape[2:]
    rows = volume.flatten(2).transpose(1, 2)
    which = torch.arange(len(volume), device=points.device)[:, None]
    out = volume.new_zeros((*points.shape[:2], volume.shape[1]))
    for flat, share in _corners(points, (depth, height, width)):
        out = out + rows[which, flat] * share[..., None]
    return out.transpose(1, 2)
