"""What the networks on points share: from few points to a motion, its losses, and the motion at any place."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor, nn

from lcsd.divroc.motion import sampled_vectors
from lcsd.divroc.regularise import extrapolate
from lcsd.geometry import Grid
from lcsd.networks.graph import thinned
from lcsd.networks.grids import distances, grid_around
from lcsd.settings.register import ExtrapolateSettings
from lcsd.settings.train import PointSettings

EARLIER = 0.3
"""Weight of the error of each earlier guess relative to the last one's."""

BEYOND = ExtrapolateSettings(finest_mm=8.0, levels=4, rounds=2)
"""Grids on which the motion of the points becomes a motion of all places."""


class PointNetwork(nn.Module, ABC):
    """A network on few points of each cloud: means of the points in cells, in the order of their coordinates."""

    def __init__(self, settings: PointSettings) -> None:
        super().__init__()
        self.settings = settings

    @abstractmethod
    def fields(self, fixed: Tensor, moving: Tensor, grid: Grid) -> list[Tensor]:
        """Return displacement grids (1, 3, D, H, W), mm, from the first guess to the answer, for few points."""

    def _thin(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, Grid]:
        grid = grid_around(fixed, moving, node_mm=self.settings.node_mm)
        return *thinned(fixed, moving, self.settings.points), grid

    def supervised(self, fixed: Tensor, moving: Tensor, vectors: Tensor, *, turned: bool) -> Tensor:
        """Return the mean error in mm at fixed points (N, 3) with true vectors (N, 3); earlier guesses count less.

        ``turned``: of the motion from the moving to the fixed cloud, at the places where the fixed points go.
        """
        few, others, grid = self._thin(moving, fixed) if turned else self._thin(fixed, moving)
        places, truth = (fixed + vectors, -vectors) if turned else (fixed, vectors)
        errors = [
            (sampled_vectors(grid, field, places) - truth).norm(dim=1).mean()
            for field in self.fields(few, others, grid)
        ]
        return (errors[-1] + EARLIER * sum(errors[:-1])) / (1 + EARLIER * (len(errors) - 1))

    def unsupervised(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the DiVRoC distance after the motion, the displacement grid (1, 3, D, H, W), and its spacing, mm."""
        few, others, grid = self._thin(fixed, moving)
        answer = self.fields(few, others, grid)[-1]
        return distances(fixed + sampled_vectors(grid, answer, fixed), moving, grid), answer, self.settings.node_mm

    @torch.no_grad()
    def displace(self, fixed: Tensor, moving: Tensor, places: Tensor) -> Tensor:
        """Return the motion (K, 3), mm, that carries places (K, 3) of the fixed cloud to the moving cloud.

        The motion of the few points is extended by :func:`lcsd.divroc.regularise.extrapolate`.
        """
        few, others, grid = self._thin(fixed, moving)
        moves = sampled_vectors(grid, self.fields(few, others, grid)[-1], few)
        there, how, wanted = (part.cpu().numpy().astype(np.float64) for part in (few, moves, places))
        found = extrapolate(there, how, wanted, settings=BEYOND, device=str(places.device))
        return torch.as_tensor(found, dtype=places.dtype, device=places.device)
