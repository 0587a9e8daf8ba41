"""One resolution of the optimisation on the CPU, by numpy and compiled kernels alone.

The same objective as :class:`lcsd.divroc.level.Level`, with its gradient written out. A process that needs no torch
starts a second earlier, and a step has no graph to build.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.divroc import filters
from lcsd.divroc.cpu_adam import CpuAdam
from lcsd.divroc.cpu_distance import CpuDistance
from lcsd.divroc.motion import LayeredMotion, clamped, nodes
from lcsd.divroc.pair import CloudPair, flow_grid, raster_of
from lcsd.divroc.places import Places
from lcsd.settings.register import RegisterLevel, RegisterSettings

Points = NDArray[np.float32]


class CpuPull:
    """The distance of the fixed cloud, which starts at ``base`` (N, 3), to the moving cloud, and its gradient."""

    def __init__(
        self, pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._raster = raster_of(level, base, pair.moving)
        fixed_labels, moving_labels = pair.labels or (None, None)
        self._distance = CpuDistance(
            self._raster.world_to_normalised(pair.moving.astype(np.float32)),
            self._raster.shape,
            sigma_voxels=level.sigma_voxels,
            gain=level.contrast * settings.saturation,
            norm=settings.norm,
            balance=settings.balance,
            labels=moving_labels,
        )
        start = self._raster.world_to_normalised(base.astype(np.float32))
        self._weights = self._distance.weights(start, fixed_labels)

    def __call__(self, moved: Points) -> tuple[float, Points]:
        """Return the distance of moved points (N, 3), LPS mm, and its gradient in them, shape (N, 3), per mm."""
        places = self._raster.world_to_normalised(moved)
        distance, slopes = self._distance.value_and_gradient(places, self._weights)
        return distance, self._raster.normalised_slopes_to_world(slopes)


class CpuMeeting(CpuPull):
    """The distance of both clouds where they meet, and its gradient in both."""

    def __init__(
        self, pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        super().__init__(pair, base, level, settings)
        labels = None if pair.labels is None else pair.labels[1]
        start = self._raster.world_to_normalised(pair.moving.astype(np.float32))
        self._moving_weights = self._distance.weights(start, labels)

    def both(self, fixed: Points, moving: Points) -> tuple[float, Points, Points]:
        """Return the distance of points (N, 3) and (M, 3), LPS mm, and its gradients in them, per mm."""
        clouds = zip((fixed, moving), (self._weights, self._moving_weights), strict=True)
        here, there = ((self._raster.world_to_normalised(points), weights) for points, weights in clouds)
        distance, own, other = self._distance.between(here, there)
        return distance, self._raster.normalised_slopes_to_world(own), self._raster.normalised_slopes_to_world(other)


class CpuLevel:
    """A displacement grid on top of the ``motion`` so far, and the steps that minimise its objective."""

    def __init__(
        self, pair: CloudPair, motion: LayeredMotion, level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._motion = motion
        base = pair.fixed + motion.at(pair.fixed)
        self._base = base.astype(np.float32)
        self._prepare(pair, base, level, settings)
        taps = filters.mean_taps(settings.flow_mean_width, settings.flow_mean_times)
        self._grid = flow_grid(pair.covered, level, taps)
        self._taps = taps.astype(np.float32)
        before = motion.layered(nodes(self._grid).astype(np.float32))
        self._before = np.ascontiguousarray(before.T).reshape(3, *self._grid.shape)
        self.control, self._flow, self._slope, self._bent = (np.zeros_like(self._before) for _ in range(4))
        self._adam = CpuAdam(self.control)
        self._place(pair)
        # The energy is a mean of squared second derivatives, per square mm.
        self._stiffness = settings.smoothness_mm2 / (self._before[0].size * level.flow_mm**4)

    def _prepare(
        self, pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._pull = CpuPull(pair, base, level, settings)

    def _place(self, pair: CloudPair) -> None:
        self._places = Places(clamped(self._grid, pair.fixed.astype(np.float32)), self._grid.shape)
        self._moves = np.zeros((3, len(pair.fixed)), np.float32)

    def _pulled(self) -> float:
        """Return the distance after the motion of this level, and set its gradient in the displacement grid."""
        self._places.gather(self._flow, self._moves)
        distance, slopes = self._pull(self._base + self._moves.T)
        self._places.splat(np.ascontiguousarray(slopes.T), self._slope)
        return distance

    def value_and_gradient(self) -> tuple[float, float, NDArray[np.float32]]:
        """Return distance, objective and the objective's gradient in the control grid, (3, D, H, W), reused."""
        filters.smooth(self.control, self._taps, self._flow)
        distance = self._pulled()
        self._flow += self._before
        energy = filters.bend(self._flow, self._bent)
        _add_scaled(self._bent.reshape(-1), np.float32(2 * self._stiffness), self._slope.reshape(-1))
        filters.smooth(self._slope, self._taps, self._bent)
        return distance, distance + self._stiffness * energy, self._bent

    def step(self, rate: float) -> tuple[float, float]:
        """Move the control grid by one Adam step; return distance and objective before it."""
        distance, objective, gradient = self.value_and_gradient()
        self._adam.step(gradient, rate)
        return distance, objective

    def result(self) -> LayeredMotion:
        """Return the motion so far with this level's grid on top."""
        return self._motion.with_layer(self._grid, filters.smoothed(self.control, self._taps)[None])


class CpuHalfwayLevel(CpuLevel):
    """A level that moves either cloud by half of what it adds, as :class:`lcsd.divroc.level.HalfwayLevel`."""

    def _prepare(
        self, pair: CloudPair, base: NDArray[np.float64], level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._meeting = CpuMeeting(pair, base, level, settings)

    def _place(self, pair: CloudPair) -> None:
        super()._place(pair)
        origins = self._motion.origins_of(pair.moving).astype(np.float32)
        self._moving = pair.moving.astype(np.float32)
        self._moving_places = Places(clamped(self._grid, origins), self._grid.shape)
        self._moving_moves = np.zeros((3, len(origins)), np.float32)
        self._moving_slope = np.zeros_like(self._slope)

    def _pulled(self) -> float:
        self._places.gather(self._flow, self._moves)
        self._moving_places.gather(self._flow, self._moving_moves)
        half = np.float32(0.5)
        fixed, moving = self._base + half * self._moves.T, self._moving - half * self._moving_moves.T
        distance, own, slopes = self._meeting.both(fixed, moving)
        self._places.splat(half * own.T, self._slope)
        self._moving_places.splat(half * slopes.T, self._moving_slope)
        self._slope -= self._moving_slope
        return distance


@numba.njit(cache=True, error_model="numpy")
def _add_scaled(values: Points, factor: np.float32, out: Points) -> None:
    for n in range(len(out)):
        out[n] += factor * values[n]
