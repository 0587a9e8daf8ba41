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


class CpuLevel:
    """A displacement grid on top of the ``motion`` so far, and the steps that minimise its objective."""

    def __init__(
        self, pair: CloudPair, motion: LayeredMotion, level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._motion = motion
        base = pair.fixed + motion.at(pair.fixed)
        self._base = base.astype(np.float32)
        self._pull = CpuPull(pair, base, level, settings)
        taps = filters.mean_taps(settings.flow_mean_width, settings.flow_mean_times)
        self._grid = flow_grid(pair.covered, level, taps)
        self._taps = taps.astype(np.float32)
        before = motion.layered(nodes(self._grid).astype(np.float32))
        self._before = np.ascontiguousarray(before.T).reshape(3, *self._grid.shape)
        self.control, self._flow, self._slope, self._bent = (np.zeros_like(self._before) for _ in range(4))
        self._adam = CpuAdam(self.control)
        self._places = Places(clamped(self._grid, pair.fixed.astype(np.float32)), self._grid.shape)
        self._moves = np.zeros((3, len(base)), np.float32)
        # The energy is a mean of squared second derivatives, per square mm.
        self._stiffness = settings.smoothness_mm2 / (self._before[0].size * level.flow_mm**4)

    def value_and_gradient(self) -> tuple[float, float, NDArray[np.float32]]:
        """Return distance, objective and the objective's gradient in the control grid, (3, D, H, W), reused."""
        filters.smooth(self.control, self._taps, self._flow)
        self._places.gather(self._flow, self._moves)
        distance, slopes = self._pull(self._base + self._moves.T)
        self._places.splat(np.ascontiguousarray(slopes.T), self._slope)
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


@numba.njit(cache=True, error_model="numpy")
def _add_scaled(values: Points, factor: np.float32, out: Points) -> None:
    for n in range(len(out)):
        out[n] += factor * values[n]
