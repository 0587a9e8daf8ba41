"""Self-training: pairs whose truth nobody knows, labelled by the moving average of the network that learns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.optimise import optimise
from lcsd.divroc.pair import CloudPair
from lcsd.networks.grids import distances, grid_around
from lcsd.networks.models import Network
from lcsd.networks.pairs import TrainingPair
from lcsd.phantom.motion import rotation_matrix
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import SelfTrainingSettings

Points = NDArray[np.float64]

PURPOSE = 2
"""Tells the draws of lessons from those of pairs, which have the same seed and number."""

JUDGE_MM = 8.0
"""Nodes of the grid of the distance that compares teacher and student; its rasters are as fine and twice as fine."""

REFINING = RegisterSettings(effort="fast", start="none", trust="none")


@dataclass(frozen=True)
class View:
    """Both clouds of a pair turned, scaled and jittered: points (N, 3) and (M, 3), LPS mm."""

    fixed: Points
    moving: Points
    turn: Points  # shape (3, 3): vectors (N, 3) of the pair are vectors @ turn.T in the view

    def back(self, vectors: Points) -> Points:
        """Return vectors (N, 3) of the view as vectors of the pair."""
        return np.asarray(np.linalg.solve(self.turn, vectors.T).T, dtype=np.float64)


def drawn_view(pair: TrainingPair, rng: np.random.Generator, settings: SelfTrainingSettings) -> View:
    """Return a random view of a pair, about the middle of its moving cloud."""
    turn = rotation_matrix(rng.uniform(-settings.turn_deg, settings.turn_deg, 3))
    turn = turn * (1 + rng.uniform(-settings.scale_share, settings.scale_share))
    middle = pair.moving.mean(axis=0)

    def seen(points: Points) -> Points:
        return (points - middle) @ turn.T + middle + rng.normal(scale=settings.jitter_mm, size=points.shape)

    return View(seen(pair.fixed), seen(pair.moving), turn)


class Lessons:
    """What a student learns at each step from its teacher, whose weights are the moving average of its own.

    Bigalke and Heinrich, *A denoised mean teacher for domain adaptive point cloud registration*, MICCAI 2023: two views
    of a pair, a filter by the distance of the clouds, and pairs generated from the teacher's motion. The labels are
    refined by DiVRoC's own optimisation (Heinrich et al., ICCV 2023). Equal seeds and steps draw equal views.
    """

    def __init__(self, settings: SelfTrainingSettings, *, seed: int, device: str) -> None:
        self._settings = settings
        self._seed = seed
        self._device = device

    def lesson(self, pair: TrainingPair, step: int, *, student: Network, teacher: Network) -> TrainingPair | None:
        """Return the student's view of a pair with the teacher's motion as its vectors, or None to leave it out."""
        settings = self._settings
        rng = np.random.default_rng([self._seed, step, PURPOSE])
        label = self._answer(teacher, drawn_view(pair, rng, settings))
        if rng.uniform() < settings.generated_share:
            pair, label = generated(pair, label, rng)
            view = drawn_view(pair, rng, settings)
            return TrainingPair(pair.name, view.fixed, view.moving, label @ view.turn.T)
        view = drawn_view(pair, rng, settings)
        if settings.filtered and self._distance(pair, label) >= self._distance(pair, self._answer(student, view)):
            return None
        if settings.refined:
            label = refined(pair, label, device=self._device)
        return TrainingPair(pair.name, view.fixed, view.moving, label @ view.turn.T)

    def _tensor(self, points: Any) -> Tensor:
        return torch.as_tensor(points, dtype=torch.float32, device=self._device)

    def _answer(self, network: Network, view: View) -> Points:
        """Return a network's motion of the fixed points in a view, as vectors (N, 3) of the pair, mm."""
        fixed = self._tensor(view.fixed)
        found = network.displace(fixed, self._tensor(view.moving), fixed)
        return view.back(found.double().cpu().numpy())

    @torch.no_grad()
    def _distance(self, pair: TrainingPair, vectors: Points) -> float:
        fixed, moving = self._tensor(pair.fixed), self._tensor(pair.moving)
        grid = grid_around(fixed, moving, node_mm=JUDGE_MM)
        return float(distances(self._tensor(pair.fixed + vectors), moving, grid))


def generated(pair: TrainingPair, vectors: Points, rng: np.random.Generator) -> tuple[TrainingPair, Points]:
    """Return a pair whose motion (N, 3) is known: random half of a fixed cloud, the other half after its vectors."""
    own, other = np.array_split(rng.permutation(len(pair.fixed)), 2)
    made = TrainingPair(f"{pair.name}, generated", pair.fixed[own], pair.fixed[other] + vectors[other], None)
    return made, vectors[own]


def refined(pair: TrainingPair, vectors: Points, *, device: str) -> Points:
    """Return the vectors (N, 3) of a pair's fixed points after the fast levels that start from them, mm."""
    moved = pair.fixed + vectors
    motion, _ = optimise(CloudPair(moved, pair.moving, None, device), REFINING)
    return vectors + motion.at(moved, device=device)
