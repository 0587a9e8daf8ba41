"""Separable smoothing of volumes, self-adjoint, hence its own backward."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lcsd.divroc import filters
from lcsd.geometry import constant_like


class _Smooth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, taps: Tensor) -> Tensor:
        ctx.save_for_backward(taps)
        return _filter(volume.detach().contiguous(), taps)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        return _filter(grad_output.contiguous(), taps), None


def _filter(volume: Tensor, taps: Tensor) -> Tensor:
    size = volume.shape[2:]
    flat = volume.view(-1, *size)
    if not volume.is_cuda:
        out = torch.empty_like(flat)
        filters.smooth(flat.numpy(), taps.numpy(), out.numpy())
        return out.view_as(volume)
    return _convolved(flat, taps).view_as(volume)


@contextmanager
def _whole_floats() -> Iterator[None]:
    """Keep cuDNN from rounding float32 to the 10 bits of TF32, which it does by default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _convolved(volumes: Tensor, taps: Tensor) -> Tensor:
    """Return volumes (M, D, H, W) filtered along each axis by torch: the form of CUDA."""
    result = volumes[:, None]
    for axis in range(3):
        form = [1, 1, 1]
        padding = [0, 0, 0]
        form[axis], padding[axis] = len(taps), len(taps) // 2
        with _whole_floats():
            result = functional.conv3d(result, taps.view(1, 1, *form), padding=padding)
    return result[:, 0].contiguous()


def smooth(volume: Tensor, taps: NDArray[np.float64]) -> Tensor:
    """Return a volume (B, C, D, H, W) filtered by the same kernel along z, y and x; zeros outside.

    The volume is float32 or float64; ``taps`` is a symmetric kernel of odd length, in voxels (:func:`gaussian_taps`,
    :func:`mean_taps`). Differentiable once in the volume; on the CPU the same bits for any number of threads.
    """
    result: Tensor = _Smooth.apply(  # type: ignore[no-untyped-call]
        volume, constant_like(taps, volume)
    )
    return result
