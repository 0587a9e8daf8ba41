"""One resolution of the optimisation: a displacement grid, and what pulls on the points."""

import math
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from lcsd.divroc.bending import bending_energy
from lcsd.divroc.chamfer import ChamferDistance
from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.motion import LayeredMotion, Velocity, clamped, covering_grid, nodes
from lcsd.divroc.rasterise import sample
from lcsd.divroc.smoothing import mean_taps, smooth
from lcsd.divroc.transport import TransportDistance
from lcsd.geometry import Grid
from lcsd.settings.register import RegisterLevel, RegisterSettings

RASTER_MARGIN_SIGMAS = 4.0
"""Room around the clouds on the raster, in Gaussian standard deviations."""

RASTER_MARGIN_MM = 5.0
"""Further room around the clouds on the raster: moved points may leave their start's box."""

LEAST_NEAR = 0.5
"""Where fewer points of a cloud have the other one near, the start is bad and all points pull."""

NEIGHBOURS = 10
"""The distance to this many neighbours shows how sparse a cloud is. That to the nearest one does not: it may be the
same in a vessel of all its voxels and on a centre line."""

DENSE_MM = 2.6
"""Distance to the tenth neighbour in a cloud of all vessel voxels at 1.5 mm. Motion from sparser clouds is smoother:
they say less of each place, and their points seldom have a counterpart."""

MOST_SMOOTHER = 20.0
"""Beyond this factor a motion would be too stiff to follow the points that are there."""

COARSER_FROM_MM, MOST_COARSER = 6.5, 1.25
"""Distance to the tenth neighbour from which levels are coarser, in proportion, and their largest factor: between the
nodes of a centre line a fine grid has nothing to follow."""

SPACING_POINTS = 5_000
"""Points of a cloud that its spacing is taken from."""

Pull = Callable[[Tensor], Tensor]
"""The distance of moved points (N, 3), LPS mm, to what they should meet, as a scalar."""


class CloudPair:
    """Two clouds, shapes (N, 3) and (M, 3), LPS mm, in the form of the optimisation: points, structures, device.

    ``labels`` are the structures of both clouds' points, shapes (N,) and (M,), or None. ``covered`` are points that a
    displacement grid has to cover, shape (K, 3); the fixed points if None.
    """

    def __init__(
        self,
        fixed: NDArray[np.float64],
        moving: NDArray[np.float64],
        labels: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None,
        device: str,
        covered: NDArray[np.float64] | None = None,
    ) -> None:
        self.covered = fixed if covered is None else covered
        self.fixed = fixed
        self.moving = moving
        self.labels = labels
        self.device = device

    def tensor(self, points: NDArray[np.float64]) -> Tensor:
        """Return points as float32 on the device."""
        return torch.as_tensor(points, dtype=torch.float32, device=self.device)

    @cached_property
    def apart_mm(self) -> float:
        """Median distance to the tenth neighbour, the mean of both clouds, mm."""
        return tenth_neighbours(self.fixed, self.moving)

    def _part(self, fixed: NDArray[Any], moving: NDArray[Any]) -> "CloudPair":
        """Return the pair with some rows of each cloud, ascending."""
        labels = None if self.labels is None else (self.labels[0][fixed], self.labels[1][moving])
        return CloudPair(self.fixed[fixed], self.moving[moving], labels, self.device, self.covered)

    def thinned(self, most: int | None) -> "CloudPair":
        """Return the pair with random subsets of at most ``most`` points; None keeps all."""
        rows = [np.sort(np.random.default_rng(0).permutation(len(part))[:most]) for part in (self.fixed, self.moving)]
        return self._part(rows[0], rows[1])

    def at_level(self, motion: LayeredMotion, level: RegisterLevel) -> "CloudPair":
        """Return what pulls at a level: thinned, without points far from the other cloud after the motion so far."""
        pair = self if level.points is None else self.thinned(level.points)
        if level.reach_mm is None:
            return pair
        moved = pair.fixed + motion.at(pair.fixed, device=pair.device)
        trees = cKDTree(moved), cKDTree(pair.moving)
        reach = level.reach_mm + sum(median_spacing(tree) for tree in trees)
        near = [
            np.isfinite(trees[1 - at].query(trees[at].data, distance_upper_bound=reach, workers=-1)[0]) for at in (0, 1)
        ]
        if min(part.mean() for part in near) < LEAST_NEAR:
            return pair
        return pair._part(near[0], near[1])


def median_spacing(tree: cKDTree, neighbours: int = 1) -> float:
    """Return the median distance of a cloud's points to their nearest (or n-th nearest) neighbour, mm."""
    some = tree.data[:: max(1, tree.n // SPACING_POINTS)]
    return float(np.median(tree.query(some, k=[min(neighbours + 1, tree.n)])[0]))


def tenth_neighbours(*clouds: NDArray[np.float64]) -> float:
    """Return the median distance to the tenth neighbour, the mean of clouds (N, 3), mm."""
    return float(np.mean([median_spacing(cKDTree(cloud), NEIGHBOURS) for cloud in clouds]))


def smoothness_of(pair: CloudPair, settings: RegisterSettings) -> float:
    """Return the weight of the bending energy for a pair: that of the settings, more for sparse clouds, square mm.

    It grows with the square of the distance to the tenth neighbour.
    """
    return settings.smoothness_mm2 * float(np.clip((pair.apart_mm / DENSE_MM) ** 2, 1.0, MOST_SMOOTHER))


def schedule_of(pair: CloudPair, settings: RegisterSettings) -> list[RegisterLevel]:
    """Return the levels for a pair in the order of the work: those of the settings, coarser for sparse clouds."""
    factor = float(np.clip(pair.apart_mm / COARSER_FROM_MM, 1.0, MOST_COARSER))
    return [
        level.model_copy(update={"raster_mm": factor * level.raster_mm, "flow_mm": factor * level.flow_mm})
        for level in settings.schedule()
    ]


def _raster(level: RegisterLevel, *clouds: NDArray[np.float64]) -> Grid:
    margin = RASTER_MARGIN_SIGMAS * level.sigma_voxels * level.raster_mm + RASTER_MARGIN_MM
    return covering_grid(np.concatenate(clouds), spacing_mm=level.raster_mm, margin_mm=margin)


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
    raster = _raster(level, base, pair.moving)
    fixed_labels, moving_labels = pair.labels or (None, None)
    distance = _distance(raster, pair.tensor(pair.moving), moving_labels, level, settings)
    start = raster.world_to_normalised(pair.tensor(base))
    weights = distance.weights(start, fixed_labels)
    return lambda moved: distance(raster.world_to_normalised(moved), weights)


class Level:
    """A displacement grid on top of the ``motion`` so far, and the objective it minimises."""

    def __init__(
        self, pair: CloudPair, motion: LayeredMotion, level: RegisterLevel, settings: RegisterSettings
    ) -> None:
        self._level = level
        self._settings = settings
        self._motion = motion
        self._prepare(pair)
        # Every point must see whole kernels, or motion would be damped at the border.
        self._taps = mean_taps(settings.flow_mean_width, settings.flow_mean_times)
        reach = (len(self._taps) // 2 + 1) * level.flow_mm
        self.grid = covering_grid(self._extent(), spacing_mm=level.flow_mm, margin_mm=reach)
        places = pair.tensor(nodes(self.grid))
        self.before = self._so_far(places).T.reshape(1, 3, *self.grid.shape)
        self.control = torch.zeros_like(self.before).requires_grad_()
        self._place(pair)

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

    def rate(self, iteration: int) -> float:
        """Return the learning rate of an iteration (from 0), mm: a cosine from first to last."""
        first, last = 1.0, self._settings.final_rate_share
        wave = 0.5 * (1 + math.cos(math.pi * iteration / self._level.iterations))
        return self._settings.learning_rate_mm * (last + (first - last) * wave)

    def result(self) -> LayeredMotion:
        """Return the motion so far with this level's grid on top."""
        return self._motion.with_layer(self.grid, self.flow().detach())


class SymmetricLevel(Level):
    """A velocity grid that moves both clouds to the middle.

    The fixed cloud, after the affine start, moves along the velocity for half the time, the moving cloud against it;
    their densities are compared where they meet. The velocity is summed over levels on the newest grid, because flows
    of velocities do not add up.
    """

    def _prepare(self, pair: CloudPair) -> None:
        start = self._motion.affine()
        self._aligned = pair.fixed + start.at(pair.fixed, device=pair.device)
        self._moving = pair.moving
        self._covered = pair.covered + start.at(pair.covered, device=pair.device)
        self._ends = pair.tensor(self._aligned), pair.tensor(pair.moving)
        self._raster = _raster(self._level, self._aligned, pair.moving)
        moving_labels = None if pair.labels is None else pair.labels[1]
        self._density = _distance(self._raster, self._ends[1], moving_labels, self._level, self._settings)
        labels = pair.labels or (None, None)
        self._weights = tuple(
            self._density.weights(self._raster.world_to_normalised(end), kinds)
            for end, kinds in zip(self._ends, labels, strict=True)
        )

    def _extent(self) -> NDArray[np.float64]:
        return np.concatenate([self._covered, self._moving])

    def _so_far(self, places: Tensor) -> Tensor:
        velocity = self._motion.velocity
        return torch.zeros_like(places) if velocity is None else velocity.at(places)

    def _place(self, pair: CloudPair) -> None:
        """Nothing is placed: points wander through the grid."""

    def _distance(self, flow: Tensor) -> Tensor:
        velocity = Velocity(self.grid, self.before + flow)
        a, b = (
            self._raster.world_to_normalised(velocity.carry(end, share))
            for end, share in zip(self._ends, (0.5, -0.5), strict=True)
        )
        # Either cloud is drawn to where the other is now: together the exact gradient.
        self._density.set_target(b.detach(), self._weights[1])
        to_b = self._density(a, self._weights[0])
        self._density.set_target(a.detach(), self._weights[0])
        to_a = self._density(b, self._weights[1])
        return to_b + (to_a - to_a.detach())

    def result(self) -> LayeredMotion:
        """Return the affine start and the whole velocity."""
        velocity = Velocity(self.grid, (self.before + self.flow()).detach())
        return self._motion.with_velocity(velocity)
