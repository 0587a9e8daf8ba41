"""Bending energy of a displacement grid: zero for affine motion, whatever its size."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lcsd.divroc import filters

_AXES = (2, 3, 4)


class _Bending(torch.autograd.Function):
    """The energy on the CPU; its gradient, twice the operator, is made on the way."""

    @staticmethod
    def forward(ctx: Any, flow: Tensor, scale: float) -> Tensor:
        volumes = flow.detach().contiguous()[0]
        gradient = torch.empty_like(volumes)
        energy = filters.bend(volumes.numpy(), gradient.numpy())
        ctx.save_for_backward(gradient.mul_(2 * scale))
        return flow.new_tensor(energy * scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return (grad_output * gradient)[None], None


def bend(volumes: Tensor) -> Tensor:
    """Return half the gradient of the summed squared second differences, shape (1, C, D, H, W)."""
    if not volumes.is_cuda:
        out = torch.empty_like(volumes)
        filters.bend(volumes[0].numpy(), out[0].numpy())
        return out
    with torch.enable_grad():
        leaf = volumes.detach().requires_grad_()
        gradient: Tensor = torch.autograd.grad(0.5 * _squares(leaf), leaf)[0]
    return gradient


def _squares(flow: Tensor) -> Tensor:
    """Return the summed squared second differences, the mixed ones twice."""
    total = flow.new_zeros(())
    for axis in _AXES:
        total = total + flow.diff(n=2, dim=axis).square().sum()
        for other in _AXES[axis - 1 :]:
            total = total + 2 * flow.diff(dim=axis).diff(dim=other).square().sum()
    return total


def bending_energy(flow: Tensor, spacing_mm: float) -> Tensor:
    """Return the mean squared second derivatives of a displacement grid (1, 3, D, H, W), mm, differentiable once.

    A scalar, per square mm: the sum over components, axes and (twice) pairs of axes, over the number of nodes.
    """
    scale = 1 / (flow[0, 0].numel() * spacing_mm**4)
    if not flow.is_cuda:
        fused: Tensor = _Bending.apply(flow, scale)  # type: ignore[no-untyped-call]
        return fused
    return _squares(flow) * scale
