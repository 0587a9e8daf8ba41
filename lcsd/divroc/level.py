"""One resolution of the optimisation on torch: a displacement grid, and what pulls on the points."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.bending import bending_energy
from lcsd.divroc.chamfer import ChamferDistance
from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.filters import mean_taps
from lcsd.divroc.motion import LayeredMotion, Velocity, clamped, nodes
from lcsd.divroc.pair import CloudPair, flow_grid, raster_of
from lcsd.divroc.rasters import sample
from lcsd.divroc.smoothing import smooth
from lcsd.divroc.steps import TorchSteps
from lcsd.divroc.transport import TransportDistance
from lcsd.geometry import Grid
from lcsd.settings.register import RegisterLevel, RegisterSettings

Pull = Callable[[Tensor], Tensor]
"""The distance of moved points (N, 3), LPS mm, to what they should meet, as a scalar."""


def _distance(
    raster: Grid, target: Tensor, labels: NDArray[np.uint8] | None, level: RegisterLevel, settings: RegisterSettings
) -> CloudDistance:
    return CloudDistance(
        raster.world_to_normalised(target),
        raster.shape,
        sigma_voxels=level.sigma_voxels,
        gain=level.contrast * settings.saturation,
        norm=settings.norm,
        balance=settings.balance,
        labels=labels,
    )


def pull_of(pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings) -> Pull:
    """Return the distance of the fixed cloud, which starts at ``base``, to the moving cloud."""
    if settings.method == "chamfer":
        return ChamferDistance(pair.moving, scale_mm=level.raster_mm)
    if settings.method == "ot":
        return TransportDistance(pair.moving, scale_mm=level.raster_mm, settings=settings.ot, labels=pair.labels)
    raster = raster_of(level, base, pair.moving)
    fixed_labels, moving_labels = pair.labels or (None, None)
    distance = _distance(raster, pair.tensor(pair.moving), moving_labels, level, settings)
    start = raster.world_to_normalised(pair.tensor(base))
    weights = distance.weights(start, fixed_labels)
    return lambda moved: distance(raster.world_to_normalised(moved), weights)


def pulled(pull: Pull, pair: CloudPair, moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gradient of a distance at moved points (N, 3), shape (N, 3), per mm."""
    at = pair.tensor(moved).requires_grad_()
    return torch.autograd.grad(pull(at), at)[0].cpu().numpy().astype(np.float64)


class Level:
    """A displacement grid on top of the ``motion`` so far, and the objective it minimises."""

    def __init__(
        self, pair: CloudPair, motion: LayeredMotion, level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._level = level
        self._settings = settings
        self._motion = motion
        self._prepare(pair)
        self._taps = mean_taps(settings.flow_mean_width, settings.flow_mean_times)
        self.grid = flow_grid(self._extent(), level, self._taps)
        places = pair.tensor(nodes(self.grid))
        self.before = self._so_far(places).T.reshape(1, 3, *self.grid.shape)
        self.control = torch.zeros_like(self.before).requires_grad_()
        self._place(pair)
        self._steps = TorchSteps(self.control, self.losses, fixed_work=settings.method == "divroc")

    def _prepare(self, pair: CloudPair) -> None:
        base = pair.fixed + self._motion.at(pair.fixed, device=pair.device)
        self._covered = pair.covered
        self._base = pair.tensor(base)
        self._pull = pull_of(pair, base, self._level, self._settings)

    def _extent(self) -> NDArray[np.float64]:
        """Return the points that the grid has to cover."""
        return self._covered

    def _place(self, pair: CloudPair) -> None:
        self._at = clamped(self.grid, pair.tensor(pair.fixed))[None]

    def _so_far(self, places: Tensor) -> Tensor:
        """Return the motion to which this level adds, at points (N, 3), without the start."""
        return self._motion.layered(places)

    def flow(self) -> Tensor:
        """Return what this level adds, shape (1, 3, D, H, W), mm."""
        return smooth(self.control, self._taps)

    def _distance(self, flow: Tensor) -> Tensor:
        return self._pull(self._base + sample(flow, self._at)[0].T)

    def losses(self) -> tuple[Tensor, Tensor]:
        """Return the distance, and the objective: distance plus weighted bending energy."""
        flow = self.flow()
        distance = self._distance(flow)
        bending = bending_energy(self.before + flow, self._level.flow_mm)
        return distance.detach(), distance + self._settings.smoothness_mm2 * bending

    def step(self, rate: float) -> tuple[float, float]:
        """Move the control grid by one Adam step; return distance and objective before it."""
        return self._steps(rate)

    def result(self) -> LayeredMotion:
        """Return the motion so far with this level's grid on top."""
        return self._motion.with_layer(self.grid, self.flow().detach())


class _BothClouds:
    """The distance of two clouds that both move; ``base`` is where the fixed points start, (N, 3), LPS mm."""

    def __init__(
        self, pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self.ends = pair.tensor(base), pair.tensor(pair.moving)
        self._raster = raster_of(level, base, pair.moving)
        labels = pair.labels or (None, None)
        self._density = _distance(self._raster, self.ends[1], labels[1], level, settings)
        self._weights = tuple(
            self._density.weights(self._raster.world_to_normalised(end), kinds)
            for end, kinds in zip(self.ends, labels, strict=True)
        )

    def __call__(self, fixed: Tensor, moving: Tensor) -> Tensor:
        """Return the distance of points (N, 3) and (M, 3), LPS mm, differentiable in both."""
        a, b = (self._raster.world_to_normalised(points) for points in (fixed, moving))
        # Either cloud is drawn to where the other is now: together the exact gradient.
        self._density.set_target(b.detach(), self._weights[1])
        to_b = self._density(a, self._weights[0])
        self._density.set_target(a.detach(), self._weights[0])
        to_a = self._density(b, self._weights[1])
        return to_b + (to_a - to_a.detach())


class HalfwayLevel(Level):
    """A level that moves either cloud by half of what it adds, and compares them where they meet.

    The moving points move as the places do that lie on them after the motion so far.
    """

    def _prepare(self, pair: CloudPair) -> None:
        base = pair.fixed + self._motion.at(pair.fixed, device=pair.device)
        self._covered = pair.covered
        self._both = _BothClouds(pair, base, self._level, self._settings)

    def _place(self, pair: CloudPair) -> None:
        super()._place(pair)
        origins = self._motion.origins_of(pair.moving, device=pair.device)
        self._moving_at = clamped(self.grid, pair.tensor(origins))[None]

    def _distance(self, flow: Tensor) -> Tensor:
        fixed, moving = self._both.ends
        return self._both(fixed + sample(flow, self._at)[0].T / 2, moving - sample(flow, self._moving_at)[0].T / 2)


class SymmetricLevel(Level):
    """A velocity grid that moves both clouds to the middle.

    The fixed cloud, after the affine start, moves along the velocity for half the time, the moving cloud against it;
    their densities are compared where they meet. The velocity is summed over levels on the newest grid, because flows
    of velocities do not add up.
    """

    def _prepare(self, pair: CloudPair) -> None:
        start = self._motion.affine()
        aligned = pair.fixed + start.at(pair.fixed, device=pair.device)
        self._moving = pair.moving
        self._covered = pair.covered + start.at(pair.covered, device=pair.device)
        self._both = _BothClouds(pair, aligned, self._level, self._settings)

    def _extent(self) -> NDArray[np.float64]:
        return np.concatenate([self._covered, self._moving])

    def _so_far(self, places: Tensor) -> Tensor:
        velocity = self._motion.velocity
        return torch.zeros_like(places) if velocity is None else velocity.at(places)

    def _place(self, pair: CloudPair) -> None:
        """Nothing is placed: points wander through the grid."""

    def _distance(self, flow: Tensor) -> Tensor:
        velocity = Velocity(self.grid, self.before + flow)
        fixed, moving = (velocity.carry(end, share) for end, share in zip(self._both.ends, (0.5, -0.5), strict=True))
        return self._both(fixed, moving)

    def result(self) -> LayeredMotion:
        """Return the affine start and the whole velocity."""
        velocity = Velocity(self.grid, (self.before + self.flow()).detach())
        return self._motion.with_velocity(velocity)
