"""Differentiable rasterisation of point clouds: the adjoint of trilinear sampling.

With ``S_x`` the linear map that samples a volume at points ``x`` (trilinear, zeros outside,
``align_corners=False``), rasterising is ``R_x = S_x^T``: every point adds its weight to the eight
voxels around it. Hence ``<S_x v, w> = <v, R_x w>``, and both derivatives are samples again:

    d<g, R_x w>/dw = S_x g            d<g, R_x w>/dx = w * (S_x g)'(x)

Heinrich, Bigalke, Großbröhmer, Hansen, *Chasing clouds* (ICCV 2023); the supplement's Figure 6
gets the same values from automatic Jacobians.
"""

from typing import Any

import numba
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lcsd.divroc import kernels
from lcsd.errors import BadInputError

SLABS_PER_THREAD = 4
"""Slabs of the CPU splat per thread: enough to even out points that crowd in a few slices."""

_LINEAR, _ZEROS = 0, 0
"""Codes of interpolation and padding in the sampler's own backward."""


def _as_grid(points: Tensor) -> Tensor:
    """Return points (B, N, 3) as a sampling grid (B, N, 1, 1, 3)."""
    return points[:, :, None, None, :]


def _splat(points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
    out = weights.new_zeros((*weights.shape[:2], *shape))
    if points.shape[1] == 0:
        return out
    if not points.is_cuda:
        slabs = min(shape[0], SLABS_PER_THREAD * numba.get_num_threads())
        kernels.splat(points.numpy(), weights.numpy(), slabs, out.numpy())
        return out
    # The sampler's backward in its volume is the splat; the volume's values do not matter.
    result: Tensor = torch.ops.aten.grid_sampler_3d_backward(
        weights[:, :, :, None, None], out, _as_grid(points), _LINEAR, _ZEROS, False, [True, False]
    )[0]
    return result


def _gather(points: Tensor, volume: Tensor) -> Tensor:
    batch, channels, count = *volume.shape[:2], points.shape[1]
    if count == 0 or not points.is_cuda:
        out = volume.new_empty((batch, channels, count))
        if count:
            kernels.gather(points.numpy(), volume.numpy(), out.numpy())
        return out
    return functional.grid_sample(
        volume, _as_grid(points), padding_mode="zeros", align_corners=False
    )[:, :, :, 0, 0]


def _gather_slope(points: Tensor, weights: Tensor, volume: Tensor) -> Tensor:
    if points.shape[1] == 0:
        return torch.zeros_like(points)
    if not points.is_cuda:
        out = torch.empty_like(points)
        kernels.gather_slope(points.numpy(), weights.numpy(), volume.numpy(), out.numpy())
        return out
    result: Tensor = torch.ops.aten.grid_sampler_3d_backward(
        weights[:, :, :, None, None], volume, _as_grid(points), _LINEAR, _ZEROS, False,
        [False, True],
    )[1]  # fmt: skip
    return result[:, :, 0, 0]


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
        points, weights = points.detach().contiguous(), weights.detach().contiguous()
        ctx.save_for_backward(points, weights)
        return _splat(points, weights, shape)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        points, weights = ctx.saved_tensors
        slope = slope.contiguous()
        in_points = _gather_slope(points, weights, slope) if ctx.needs_input_grad[0] else None
        in_weights = _gather(points, slope) if ctx.needs_input_grad[1] else None
        return in_points, in_weights, None


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, points: Tensor) -> Tensor:
        volume, points = volume.detach().contiguous(), points.detach().contiguous()
        ctx.save_for_backward(volume, points)
        return _gather(points, volume)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        volume, points = ctx.saved_tensors
        slope = slope.contiguous()
        shape = tuple(volume.shape[2:])
        in_volume = _splat(points, slope, shape) if ctx.needs_input_grad[0] else None
        in_points = _gather_slope(points, slope, volume) if ctx.needs_input_grad[1] else None
        return in_volume, in_points


def _check(points: Tensor, values: Tensor, *, name: str, expected: str, fits: bool) -> None:
    """Refuse shapes, dtypes and devices that do not go together."""
    if points.dim() != 3 or points.shape[-1] != 3 or not fits:
        raise BadInputError(
            "shapes do not go together", code="bad_points", field=f"points, {name}",
            expected=f"(B, N, 3) and {expected}",
            found=f"{tuple(points.shape)} and {tuple(values.shape)}",
        )  # fmt: skip
    if points.dtype != values.dtype or points.dtype not in (torch.float32, torch.float64):
        raise BadInputError(
            "types do not go together", code="bad_points", field=f"points, {name}",
            expected="both float32 or both float64", found=f"{points.dtype}, {values.dtype}",
        )  # fmt: skip
    if points.device != values.device:
        raise BadInputError(
            "tensors are on different devices", code="bad_points", field=f"points, {name}",
            expected=points.device, found=values.device,
        )  # fmt: skip


def rasterise(points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Return the weights of a point cloud spread over a voxel grid, differentiably.

    Parameters
    ----------
    points
        Shape (B, N, 3), float32 or float64, normalised (x, y, z) in [-1, 1] with
        ``align_corners=False``. N may be 0. The share of a point that falls outside is lost.
    weights
        Shape (B, C, N), same dtype and device.
    shape
        Voxels (D, H, W) along z, y, x.

    Returns
    -------
    Tensor
        Shape (B, C, D, H, W): ``sum_n weights[b, c, n] * hat(voxel - points[b, n])``, the
        adjoint of trilinear sampling with zeros outside.

    Raises
    ------
    BadInputError
        If shapes, dtypes or devices do not go together.

    Notes
    -----
    Differentiable once in both inputs (a second derivative raises). On a voxel centre, where the
    hat has a kink, the gradient is that of the side of growing coordinates. On the CPU the values
    are the same bits for any number of threads; on CUDA sums run in no fixed order.
    Heinrich et al., ICCV 2023.
    """
    fits = weights.dim() == 3 and points.dim() == 3
    fits = fits and (weights.shape[0], weights.shape[2]) == tuple(points.shape[:2])
    _check(points, weights, name="weights", expected="(B, C, N)", fits=fits)
    if len(shape) != 3 or min(shape) < 1:
        raise BadInputError(
            "grid size must be three positive numbers", code="bad_size", field="shape",
            expected="(D, H, W)", found=tuple(shape),
        )  # fmt: skip
    result: Tensor = _Rasterise.apply(  # type: ignore[no-untyped-call]
        points, weights, tuple(shape)
    )
    return result


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """Return a volume sampled at points, differentiably: trilinear, zeros outside.

    Parameters
    ----------
    volume
        Shape (B, C, D, H, W), float32 or float64.
    points
        Shape (B, N, 3), same dtype and device, normalised (x, y, z), ``align_corners=False``.

    Returns
    -------
    Tensor
        Shape (B, C, N). The adjoint of :func:`rasterise` in its weights; deterministic on the
        CPU. Differentiable once in both inputs.
    """
    fits = volume.dim() == 5 and volume.shape[0] == points.shape[0]
    _check(points, volume, name="volume", expected="(B, C, D, H, W)", fits=fits)
    result: Tensor = _Sample.apply(volume, points)  # type: ignore[no-untyped-call]
    return result
