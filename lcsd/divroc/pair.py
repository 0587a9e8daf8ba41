"""Two clouds as the optimisation sees them, how sparse they are, and which levels and grids suit them."""

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.divroc.motion import LayeredMotion, covering_grid
from lcsd.geometry import Grid
from lcsd.settings.register import RegisterLevel, RegisterSettings

if TYPE_CHECKING:
    from torch import Tensor

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

SPARSE_MM = 12.0
"""Distance to the tenth neighbour from which levels take their steps for sparse clouds: where some vessels are missing,
more steps on coarse levels do harm, but motion this stiff would not arrive."""

SPACING_POINTS = 5_000
"""Points of a cloud that its spacing is taken from."""


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

    def tensor(self, points: NDArray[np.float64]) -> "Tensor":
        """Return points as float32 on the device."""
        import torch

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
    """Return the levels for a pair in the order of the work: coarser and with other steps for sparse clouds."""
    factor = float(np.clip(pair.apart_mm / COARSER_FROM_MM, 1.0, MOST_COARSER))
    found = []
    for level in settings.schedule():
        steps = level.sparse_iterations if pair.apart_mm > SPARSE_MM else None
        sizes = {"raster_mm": factor * level.raster_mm, "flow_mm": factor * level.flow_mm}
        found.append(level.model_copy(update={**sizes, "iterations": steps or level.iterations}))
    return found


def suits_halfway(pair: CloudPair, settings: RegisterSettings) -> bool:
    """Return whether levels move either cloud by half: of sparse clouds."""
    if settings.halfway_mm is None or settings.method in ("chamfer", "ot"):
        return False
    return pair.apart_mm >= settings.halfway_mm


def raster_of(level: RegisterLevel, *clouds: NDArray[np.float64]) -> Grid:
    """Return the grid on which clouds (N, 3) are rasterised at a level."""
    margin = RASTER_MARGIN_SIGMAS * level.sigma_voxels * level.raster_mm + RASTER_MARGIN_MM
    return covering_grid(np.concatenate(clouds), spacing_mm=level.raster_mm, margin_mm=margin)


def flow_grid(covered: NDArray[np.float64], level: RegisterLevel, taps: NDArray[np.float64]) -> Grid:
    """Return a level's displacement grid over points (N, 3); ``taps`` smooth its control grid.

    Every point sees whole kernels, or motion would be damped at the border.
    """
    reach = (len(taps) // 2 + 1) * level.flow_mm
    return covering_grid(covered, spacing_mm=level.flow_mm, margin_mm=reach)


def rate_of(settings: RegisterSettings, iteration: int, iterations: int) -> float:
    """Return the learning rate of an iteration (from 0), mm: a cosine from first to last."""
    first, last = 1.0, settings.final_rate_share
    wave = 0.5 * (1 + math.cos(math.pi * iteration / iterations))
    return settings.learning_rate_mm * (last + (first - last) * wave)


def needs_torch(settings: RegisterSettings, device: str) -> bool:
    """Return whether levels run on torch: those of the baselines, of symmetric registrations, and on other devices."""
    return device != "cpu" or settings.symmetric or settings.method in ("chamfer", "ot")
