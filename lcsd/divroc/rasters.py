"""Differentiable rasterisation of point clouds: the adjoint of trilinear sampling.

With ``S_x`` the linear map that samples a volume at points ``x`` (trilinear, zeros outside,
``align_corners=False``), rasterising is ``R_x = S_x^T``: every point adds its weight to the eight
voxels around it. Hence ``<S_x v, w> = <v, R_x w>``, and both derivatives are samples again:

    d<g, R_x w>/dw = S_x g            d<g, R_x w>/dx = w * (S_x g)'(x)

Heinrich, Bigalke, Großbröhmer, Hansen, *Chasing clouds* (ICCV 2023); the supplement's Figure 6
gets the same values from automatic Jacobians.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from lcsd.divroc import reference
from lcsd.divroc.places import Places
from lcsd.errors import BadInputError

_LINEAR, _ZEROS = 0, 0
"""Codes of interpolation and padding in the sampler's own backward."""


def _sorted_batch(points: Tensor, shape: tuple[int, int, int]) -> list[Places] | None:
    """Return the points of each batch sorted on the CPU; None on CUDA, which needs no order."""
    return None if points.is_cuda else [Places(part, shape) for part in points.numpy()]


def _as_grid(points: Tensor) -> Tensor:
    """Return points (B, N, 3) as a sampling grid (B, N, 1, 1, 3)."""
    return points[:, :, None, None, :]


def _splat(points: Tensor, weights: Tensor, shape: tuple[int, int, int], batch: list[Places] | None) -> Tensor:
    if batch is not None:
        out = weights.new_empty((*weights.shape[:2], *shape))
        for places, values, volume in zip(batch, weights.numpy(), out.numpy(), strict=True):
            places.splat(values, volume)
        return out
    out = weights.new_zeros((*weights.shape[:2], *shape))
    if points.shape[1] > 0:
        # The sampler's backward in its volume is the splat; the volume's values do not matter.
        out = torch.ops.aten.grid_sampler_3d_backward(
            weights[:, :, :, None, None], out, _as_grid(points), _LINEAR, _ZEROS, False, [True, False]
        )[0]
    return out


def _gather(points: Tensor, volume: Tensor, batch: list[Places] | None) -> Tensor:
    if batch is not None:
        out = volume.new_empty((*volume.shape[:2], points.shape[1]))
        for places, part, found in zip(batch, volume.numpy(), out.numpy(), strict=True):
            places.gather(part, found)
        return out
    if points.shape[1] == 0:
        return volume.new_zeros((*volume.shape[:2], 0))
    return functional.grid_sample(volume, _as_grid(points), padding_mode="zeros", align_corners=False)[:, :, :, 0, 0]


def _gather_gradient(points: Tensor, weights: Tensor, volume: Tensor, batch: list[Places] | None) -> Tensor:
    if batch is not None:
        out = torch.zeros_like(points)
        for places, values, part, found in zip(batch, weights.numpy(), volume.numpy(), out.numpy(), strict=True):
            places.gradient(values, part, found)
        return out
    if points.shape[1] == 0:
        return torch.zeros_like(points)
    result: Tensor = torch.ops.aten.grid_sampler_3d_backward(
        weights[:, :, :, None, None], volume, _as_grid(points), _LINEAR, _ZEROS, False, [False, True]
    )[1]
    return result[:, :, 0, 0]


def _needs_plain(points: Tensor) -> bool:
    """Whether only the reference form serves: other devices, and CUDA where bits must repeat."""
    if points.is_cuda:
        return torch.are_deterministic_algorithms_enabled()
    return points.device.type != "cpu"


class _Rasterise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, shape: tuple[int, int, int]) -> Tensor:
        points, weights = points.detach().contiguous(), weights.detach().contiguous()
        ctx.save_for_backward(points, weights)
        ctx.sorted = _sorted_batch(points, shape)
        return _splat(points, weights, shape, ctx.sorted)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        points, weights = ctx.saved_tensors
        grad_output = grad_output.contiguous()
        grad_points, grad_weights = None, None
        if ctx.needs_input_grad[0]:
            grad_points = _gather_gradient(points, weights, grad_output, ctx.sorted)
        if ctx.needs_input_grad[1]:
            grad_weights = _gather(points, grad_output, ctx.sorted)
        return grad_points, grad_weights, None


class _Sample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, volume: Tensor, points: Tensor) -> Tensor:
        volume, points = volume.detach().contiguous(), points.detach().contiguous()
        ctx.save_for_backward(volume, points)
        depth, height, width = volume.shape[2:]
        ctx.sorted = _sorted_batch(points, (depth, height, width))
        return _gather(points, volume, ctx.sorted)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None]:
        volume, points = ctx.saved_tensors
        grad_output = grad_output.contiguous()
        grad_volume, grad_points = None, None
        if ctx.needs_input_grad[0]:
            grad_volume = _splat(points, grad_output, tuple(volume.shape[2:]), ctx.sorted)
        if ctx.needs_input_grad[1]:
            grad_points = _gather_gradient(points, grad_output, volume, ctx.sorted)
        return grad_volume, grad_points


def _check(points: Tensor, values: Tensor, *, name: str, expected: str, fits: bool) -> None:
    """Refuse shapes, dtypes and devices that do not go together."""
    if points.dim() != 3 or points.shape[-1] != 3 or not fits:
        raise BadInputError(
            "shapes do not go together",
            code="bad_points",
            field=f"points, {name}",
            expected=f"(B, N, 3) and {expected}",
            found=f"{tuple(points.shape)} and {tuple(values.shape)}",
        )
    if points.dtype != values.dtype or points.dtype not in (torch.float32, torch.float64):
        raise BadInputError(
            "types do not go together",
            code="bad_points",
            field=f"points, {name}",
            expected="both float32 or both float64",
            found=f"{points.dtype}, {values.dtype}",
        )
    if points.device != values.device:
        raise BadInputError(
            "tensors are on different devices",
            code="bad_points",
            field=f"points, {name}",
            expected=points.device,
            found=values.device,
        )


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
    are the same bits for any number of threads, and memory besides inputs and outputs does not grow
    with N. On CUDA sums run in no fixed order, unless ``torch.use_deterministic_algorithms(True)``
    chooses the reference form, which also serves other devices.
    Heinrich et al., ICCV 2023.
    """
    fits = weights.dim() == 3 and points.dim() == 3
    fits = fits and (weights.shape[0], weights.shape[2]) == tuple(points.shape[:2])
    _check(points, weights, name="weights", expected="(B, C, N)", fits=fits)
    if len(shape) != 3 or min(shape) < 1:
        raise BadInputError(
            "grid size must be three positive numbers",
            code="bad_size",
            field="shape",
            expected="(D, H, W)",
            found=tuple(shape),
        )
    if _needs_plain(points):
        return reference.rasterise(points, weights, shape)
    result: Tensor = _Rasterise.apply(  # type: ignore[no-untyped-call]
        points, weights, tuple(shape)
    )
    return result


def sample(volume: Tensor, points: Tensor) -> Tensor:
    """Return a volume (B, C, D, H, W) sampled at points (B, N, 3), shape (B, C, N): trilinear, zeros outside.

    Both are float32 or float64 on one device; points are normalised (x, y, z), ``align_corners=False``. The adjoint of
    :func:`rasterise` in its weights; deterministic on the CPU. Differentiable once in both inputs.
    """
    fits = volume.dim() == 5 and volume.shape[0] == points.shape[0]
    _check(points, volume, name="volume", expected="(B, C, D, H, W)", fits=fits)
    if _needs_plain(points):
        return reference.sample(volume, points)
    result: Tensor = _Sample.apply(volume, points)  # type: ignore[no-untyped-call]
    return result
