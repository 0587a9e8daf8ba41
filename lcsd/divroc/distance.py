"""Distance between two point clouds as the difference of their rasterised densities."""

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from lcsd.divroc.cpu_distance import CpuDistance, Norm, kinds_of, scale_of, typical_weights
from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.rasters import rasterise, sample
from lcsd.divroc.smoothing import smooth


class _OnCpu(torch.autograd.Function):
    """The distance on the CPU; its gradient in the points is made on the way."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, weights: Tensor, distance: CpuDistance) -> Tensor:
        value, gradient = distance.value_and_gradient(points.detach().numpy(), weights.numpy())
        ctx.save_for_backward(torch.from_numpy(gradient))
        return points.new_tensor(value)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return grad_output * gradient, None, None


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
        self._balance = balance
        self._taps = gaussian_taps(sigma_voxels)
        self._kinds = kinds_of(labels)
        self._cpu: CpuDistance | None = None
        if not target.is_cuda:
            self._cpu = CpuDistance(
                target.detach().numpy(),
                shape,
                sigma_voxels=sigma_voxels,
                gain=gain,
                norm=norm,
                balance=balance,
                labels=labels,
            )
            return
        self._target = self._response(target, self.weights(target, labels))
        volume = self._target if norm == "l1" else self._target.square()
        self._scale = scale_of(volume.cpu().numpy())

    @property
    def target(self) -> Tensor:
        """Saturated density of the target, shape (C, D, H, W)."""
        return self._target if self._cpu is None else torch.from_numpy(self._cpu.target)

    def set_target(self, points: Tensor, weights: Tensor) -> None:
        """Compare with another cloud from now on: points (N, 3), weights (C, N), no gradient.

        The scale stays that of the first target, so that values can be compared.
        """
        if self._cpu is None:
            self._target = self._response(points, weights)
        else:
            self._cpu.set_target(points.numpy(), weights.numpy())

    def _density(self, points: Tensor, weights: Tensor) -> Tensor:
        return smooth(rasterise(points[None], weights[None], self.shape), self._taps)

    def _response(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the saturated density (C, D, H, W), differentiably."""
        density = self._density(points, weights)[0]
        return torch.tanh(self.gain * density) if self.gain else density

    def weights(self, points: Tensor, labels: NDArray[Any] | None = None) -> Tensor:
        """Return weights (C, N) that make the cloud's typical density 1 in each channel.

        The typical density is the median, over the points, of the smoothed raster at the point; ``balance`` divides by
        a power of the point's own density first. Points of a kind that the target lacks have no weight.
        """
        if self._cpu is not None:
            return torch.from_numpy(self._cpu.weights(points.detach().numpy(), labels))

        def density(weights: NDArray[Any]) -> NDArray[Any]:
            smoothed = self._density(points, torch.as_tensor(weights, device=points.device))
            seen: NDArray[Any] = sample(smoothed, points[None])[0, 0].cpu().numpy()
            return seen

        found = typical_weights(density, labels, self._kinds, like=points.detach().cpu().numpy(), balance=self._balance)
        return torch.as_tensor(found, device=points.device)

    def __call__(self, points: Tensor, weights: Tensor) -> Tensor:
        """Return the distance of a cloud as a scalar, differentiable in the points but not in the weights.

        ``points`` have shape (N, 3), dtype and device of the target, normalised; ``weights`` are from :meth:`weights`.
        """
        if self._cpu is not None:
            value: Tensor = _OnCpu.apply(points, weights, self._cpu)  # type: ignore[no-untyped-call]
            return value
        difference = self._response(points, weights) - self._target
        return (difference.abs() if self.norm == "l1" else difference.square()).sum() * self._scale
