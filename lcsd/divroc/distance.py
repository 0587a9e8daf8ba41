"""Distance between two point clouds as the difference of their rasterised densities."""

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lcsd.divroc import kernels
from lcsd.divroc.rasterise import rasterise, sample
from lcsd.divroc.smoothing import gaussian_taps, smooth
from lcsd.errors import BadInputError

Norm = Literal["l1", "l2"]


class _SaturatedDifference(torch.autograd.Function):
    """Sum of ``|tanh(gain density) - target|`` (or its square); gradient made on the way."""

    @staticmethod
    def forward(ctx: Any, density: Tensor, target: Tensor, gain: float, norm: Norm) -> Tensor:
        density = density.detach().contiguous()
        if density.is_cuda:
            response = torch.tanh(gain * density)
            off = response - target
            steep = gain * (1 - response**2)
            slope = off.sign() * steep if norm == "l1" else 2 * off * steep
            loss = off.abs().sum() if norm == "l1" else off.square().sum()
        else:
            losses, gradient = kernels.saturated_difference(
                density[0, 0].numpy(), target[0, 0].numpy(), gain, norm == "l1"
            )
            slope = torch.from_numpy(gradient)[None, None]
            loss = density.new_tensor(losses.sum())
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None, None]:
        (slope,) = ctx.saved_tensors
        return outer * slope, None, None, None


class CloudDistance:
    """The distance of any cloud to one target cloud, whose raster is made once.

    Both clouds are rasterised on the same grid, smoothed by a Gaussian, divided by the density
    that a typical point of theirs sees, saturated and compared:

        ``r = tanh(gain * (G * R w) / typical)``,  ``loss = sum |r - r_target| / sum r_target``

    The saturation (``tanh(v / 2) = 2 sigmoid(v) - 1``) makes the loss say where vessels are
    rather than how many points they hold, so that thick vessels and denser clouds do not
    dominate. 0 for equal clouds, 2 at most for clouds without overlap of the same volume.

    Parameters
    ----------
    target
        Shape (N, 3), normalised (x, y, z).
    shape
        Voxels (D, H, W) of the raster.
    sigma_voxels
        Standard deviation of the Gaussian, voxels.
    gain
        Slope of the saturation at 0 per typical density.
    norm
        ``"l1"`` or ``"l2"`` (squared) difference.

    Notes
    -----
    Heinrich et al., ICCV 2023, section 3 (rasterised, smoothed, compared); saturation and L1
    after the same group's later optimisation.
    """

    def __init__(
        self,
        target: Tensor,
        shape: tuple[int, int, int],
        *,
        sigma_voxels: float,
        gain: float,
        norm: Norm = "l1",
    ) -> None:
        self.shape = shape
        self.gain = gain
        self.norm: Norm = norm
        self._taps: NDArray[np.float64] = gaussian_taps(sigma_voxels)
        weights = self.weights(target)
        self.target = torch.tanh(gain * self._density(target, weights))
        volume = self.target if norm == "l1" else self.target.square()
        self._scale = float(volume.cpu().numpy().sum(dtype=np.float64))
        if not self._scale > 0:
            raise BadInputError(
                "the target cloud lies outside the grid", code="no_overlap", field="target",
                expected="points inside the raster", found="none",
            )  # fmt: skip

    def _density(self, points: Tensor, weights: Tensor) -> Tensor:
        return smooth(rasterise(points[None], weights[None, None], self.shape), self._taps)

    def weights(self, points: Tensor) -> Tensor:
        """Return a weight per point, shape (N,), that makes the cloud's typical density 1.

        The typical density is the median, over the points, of the smoothed raster at the point.
        """
        ones = torch.ones(len(points), dtype=points.dtype, device=points.device)
        own = sample(self._density(points, ones), points[None])[0, 0]
        typical = own.median()
        return ones / typical.clamp(min=torch.finfo(points.dtype).tiny)

    def __call__(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the distance of a cloud (N, 3) with weights (N,) as a scalar, differentiably."""
        density = self._density(points, weights)
        total: Tensor = _SaturatedDifference.apply(  # type: ignore[no-untyped-call]
            density, self.target, self.gain, self.norm
        )
        return total / self._scale
