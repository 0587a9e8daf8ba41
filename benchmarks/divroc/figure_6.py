"""Rasterising in the form of the supplement's Figure 6: automatic Jacobians of the sampler."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class Figure6(torch.autograd.Function):
    """Minus the gradient of half the squared residual of sampling an empty volume."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
        ctx.save_for_backward(points, weights)
        with torch.enable_grad():
            volume = torch.zeros((*weights.shape[:2], *shape), requires_grad=True)
            seen = functional.grid_sample(volume, points.detach()[:, :, None, None], align_corners=False)
            energy = 0.5 * (seen[..., 0, 0] - weights).square().sum()
            return -torch.autograd.grad(energy, volume)[0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        points, weights = ctx.saved_tensors
        with torch.enable_grad():
            free = points.detach().requires_grad_()
            seen = functional.grid_sample(slope.detach(), free[:, :, None, None], align_corners=False)
            (found,) = torch.autograd.grad((seen[..., 0, 0] * weights).sum(), free)
        return found, None, None


def figure_6(points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return the raster (B, C, D, H, W), differentiable in the points."""
    result: Tensor = Figure6.apply(points, weights, shape)
    return result
