"""Distance between two point clouds as the difference of their rasterised densities."""

from typing import Any, Literal

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lcsd.divroc import filters
from lcsd.divroc.rasterise import Places, rasterise, sample
from lcsd.divroc.smoothing import gaussian_taps, smooth
from lcsd.errors import BadInputError

Norm = Literal["l1", "l2"]


class _Fused(torch.autograd.Function):
    """The distance on the CPU; its gradient in the points is made on the way."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, distance: "CloudDistance", scale: float) -> Tensor:
        places = Places(points.detach().contiguous().numpy(), distance.shape)
        values = weights.numpy()
        raster, grad_raster = distance.buffers()
        places.splat(values, raster)
        gain, taps = distance.gain, distance.taps.astype(raster.dtype)
        total = 0.0
        for channel, target in enumerate(distance.target.numpy()):
            total += filters.compare(
                raster[channel],
                target,
                taps,
                gain,
                distance.norm == "l1",
                numba.get_num_threads(),
                grad_raster[channel],
            ).sum()
        grad_points = torch.zeros_like(points)
        places.gradient(values, grad_raster, grad_points.numpy())
        ctx.save_for_backward(grad_points.mul_(scale))
        return points.new_tensor(total * scale)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        (grad_points,) = ctx.saved_tensors
        return grad_output * grad_points, None, None, None


class CloudDistance:
    """The distance of any cloud to one target cloud, whose raster is made once.

    Both clouds are rasterised on the same grid, smoothed by a Gaussian, divided by the density that a typical point of
    theirs sees, saturated and compared:

        ``r = tanh(gain * (G * R w) / typical)``,  ``loss = sum |r - r_target| / sum r_target``

    The saturation (``tanh(v / 2) = 2 sigmoid(v) - 1``) makes the loss say where vessels are rather than how many points
    they hold, so that thick vessels and denser clouds do not dominate. 0 for equal clouds, 2 at most for clouds without
    overlap of the same volume.

    ``target`` has shape (N, 3), float32 or float64, normalised (x, y, z); ``shape`` is the raster's, voxels (D, H, W).
    ``gain`` is the slope of the saturation at 0 per typical density; 0 compares the densities themselves. ``norm``
    ``"l2"`` squares the difference. ``balance`` is the share, 0 to 1, of the local density that the weights divide out:
    with 1 a crowded hilum weighs as much per volume as the periphery, with 0 as much per point. ``labels`` (N,),
    integers, are the structures of the target points; each is then compared with its own kind, in a channel of its own.
    None: all points are of one kind.

    Raises ``BadInputError`` (``no_overlap``) if no target point lies in the raster.

    Heinrich et al., ICCV 2023, section 3 (rasterised, smoothed, compared); saturation and L1 after the same group's
    later optimisation. On the CPU loss and gradient are made in one pass, with the same bits for any number of threads,
    in two volumes that the object keeps; so one object serves one thread at a time.
    """

    def __init__(
        self,
        target: Tensor,
        shape: tuple[int, int, int],
        *,
        sigma_voxels: float,
        gain: float,
        norm: Norm = "l1",
        balance: float = 0.0,
        labels: NDArray[Any] | None = None,
    ) -> None:
        self.shape = shape
        self.gain = gain
        self.norm: Norm = norm
        self.balance = balance
        self.taps: NDArray[np.float64] = gaussian_taps(sigma_voxels)
        self.kinds = [None] if labels is None else [int(kind) for kind in np.unique(labels)]
        self.target = self._response(target, self.weights(target, labels))
        volume = self.target if norm == "l1" else self.target.square()
        total = float(volume.cpu().numpy().sum(dtype=np.float64))
        if not total > 0:
            raise BadInputError(
                "the target cloud lies outside the grid",
                code="no_overlap",
                field="target",
                expected="points inside the raster",
                found="none",
            )
        self._scale = 1 / total
        self._buffers: tuple[NDArray[Any], NDArray[Any]] | None = None

    def set_target(self, points: Tensor, weights: Tensor) -> None:
        """Compare with another cloud from now on: points (N, 3), weights (C, N), no gradient.

        The scale stays that of the first target, so that values can be compared.
        """
        self.target = self._response(points, weights)

    def buffers(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the raster and its gradient, shape (C, D, H, W), reused in every iteration."""
        if self._buffers is None:
            self._buffers = np.empty_like(self.target.numpy()), np.empty_like(self.target.numpy())
        return self._buffers

    def _density(self, points: Tensor, weights: Tensor) -> Tensor:
        return smooth(rasterise(points[None], weights[None], self.shape), self.taps)

    def _response(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the saturated density (C, D, H, W), differentiably on CUDA."""
        if not points.is_cuda:
            raster = rasterise(points[None], weights[None], self.shape)[0].numpy()
            out, taps = np.empty_like(raster), self.taps.astype(raster.dtype)
            for channel, volume in enumerate(raster):
                filters.respond(volume, taps, self.gain, out[channel])
            return torch.from_numpy(out)
        density = self._density(points, weights)[0]
        return torch.tanh(self.gain * density) if self.gain else density

    def weights(self, points: Tensor, labels: NDArray[Any] | None = None) -> Tensor:
        """Return weights (C, N) that make the cloud's typical density 1 in each channel.

        The typical density is the median, over the points, of the smoothed raster at the point; ``balance`` divides by
        a power of the point's own density first. Points of a kind that the target lacks have no weight.
        """
        ones = points.new_ones((1, len(points)))
        rows = []
        for kind in self.kinds:
            of_kind = ones
            if kind is not None and labels is not None:
                belongs = np.asarray(labels) == kind
                of_kind = torch.as_tensor(belongs, dtype=points.dtype, device=points.device)[None]
            rows.append(self._normalised(points, of_kind))
        return torch.cat(rows)

    def _normalised(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return weights (1, N) divided by the density that the weighted points see."""
        tiny = torch.finfo(points.dtype).tiny
        rounds = 2 if self.balance else 1  # balancing changes what is typical
        for last in range(1, rounds + 1):
            own = sample(self._density(points, weights), points[None])[0, 0]
            if last < rounds:
                weights = weights * own.clamp(min=tiny) ** -self.balance
        seen = own[weights[0] > 0]
        return weights / seen.median().clamp(min=tiny) if len(seen) else weights

    def __call__(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the distance of a cloud as a scalar, differentiable in the points but not in the weights.

        ``points`` have shape (N, 3), dtype and device of the target, normalised; ``weights`` are from :meth:`weights`.
        """
        if not points.is_cuda:
            fused: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]
                points, weights, self, self._scale
            )
            return fused
        difference = self._response(points, weights) - self.target
        return (difference.abs() if self.norm == "l1" else difference.square()).sum() * self._scale
