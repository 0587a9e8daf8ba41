"""Registration that starts from a network's guess."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lcsd.divroc.bending import bending_energy
from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.level import pull_of
from lcsd.divroc.motion import LayeredMotion, covering_grid, nodes
from lcsd.divroc.optimise import Progress
from lcsd.divroc.pair import CloudPair, smoothness_of, suits_halfway
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.divroc.smoothing import smooth
from lcsd.divroc.trust import evidence, judged, trust_model
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import Cloud
from lcsd.networks.models import Model, model_of
from lcsd.numerics.threads import torch_threads
from lcsd.settings.register import RegisterLevel, RegisterSettings
from lcsd.settings.train import NETWORKS, NetworkSettings, PointSettings

GRID_MM = 8.0
GRID_MARGIN_MM = 12.0
"""Spacing of the displacement grid that holds the guess, and its room around the fixed cloud."""

JUDGE = RegisterLevel(raster_mm=4.0, flow_mm=8.0, sigma_voxels=1.0, iterations=1)
"""The raster on which starts are compared."""

GAIN = 0.96
"""The guess stays a candidate if its objective after the first level is below this share of the affine start's."""

CLEAR = 0.65
"""Below this share it is taken at once: no such start ended worse."""

JUDGED_POINTS = 30_000
"""Points of each cloud from which errors are expected when two refined starts are compared."""

JUDGED_LEVEL = 2
"""Level after which one start is left: that with the smaller expected errors. The objective does not tell, for where
vessels are missing a wrong motion brings the clouds closer."""

SMOOTH_NODES = 3.5
"""Gaussian over the guess, in nodes: the grids of the first levels are as smooth, and could not undo what is finer."""

MOST_POINTS = 100_000
"""Points of each cloud that the U-Net sees."""

POINTS_A_CELL = 4
"""Points of each cloud that networks on points see, for each of their cells: means of more points look less like
vessels."""


@dataclass(frozen=True)
class StartFacts:
    """What a registration started from."""

    network: str
    sha256: str  # of the model
    look: int  # the network's answer after so many looks was taken; 0: the affine start
    objectives: tuple[float, ...]  # of the candidates when they were compared last
    expected_p95_mm: tuple[float, ...] | None = None  # theirs, if it decided

    @property
    def taken(self) -> bool:
        """Whether the network's answer was taken."""
        return self.look > 0

    def figures(self) -> dict[str, Any]:
        """Return the figures for ``registration.json``."""
        return {
            "start": self.network if self.taken else "fitted",
            "start_look": self.look,
            "start_objectives": list(self.objectives),
            "start_expected_p95_mm": None if self.expected_p95_mm is None else list(self.expected_p95_mm),
            "model_sha256": self.sha256,
        }


class NetworkStarts:
    """The affine start and the answer of a network after each look; the best of them is found by the clouds alone."""

    def __init__(self, model: Model, *, refined: bool) -> None:
        self._model = model
        self._refined = refined
        self.facts: StartFacts | None = None

    def candidates(self, pair: CloudPair, start: LayeredMotion) -> list[LayeredMotion]:
        """Return the affine start, and it followed by the network's motion after each look."""
        # After a level the second look was never the best one.
        looks = 1 if self._refined else self._model.settings.passes
        return [start, *guesses(self._model, pair, start, looks=looks, smoothed=self._refined)]

    def kept(self, pair: CloudPair, motions: list[LayeredMotion], level: int, *, last: bool) -> list[int]:
        """Return which motions go on after a level (0: before any): the affine start's unless another one is better.

        Objectives leave out what is clearly worse. Between two refined motions the expected errors decide, and between
        the guesses of sparse clouds: the optimiser's weight of bending, made for its own motion, would take none.
        """
        objectives = [_objective(pair, motion) for motion in motions]
        expected: tuple[float, ...] | None = None
        if not self._refined and not suits_halfway(pair, RegisterSettings()):
            kept = [min(range(len(motions)), key=objectives.__getitem__)]
        elif level == 1 and objectives[1] >= GAIN * objectives[0]:
            kept = [0]
        elif level == 1 and objectives[1] < CLEAR * objectives[0]:
            kept = [1]
        elif last or not self._refined or level == JUDGED_LEVEL:
            expected = tuple(_expected_p95(pair, one) for one in motions)
            # All nearly perfect motions have equal expected errors.
            kept = [min(range(len(motions)), key=[*zip(expected, objectives, strict=True)].__getitem__)]
        else:
            kept = [0, 1]
        self.facts = StartFacts(self._model.name, self._model.sha256, kept[-1], tuple(objectives), expected)
        return kept


def _objective(pair: CloudPair, motion: LayeredMotion) -> float:
    """Return the distance of the clouds after a motion, and its bending with the optimiser's weight."""
    plain = RegisterSettings()
    grid = covering_grid(pair.covered, spacing_mm=GRID_MM, margin_mm=0.0)
    base = pair.fixed + motion.at(pair.fixed, device=pair.device)
    distance = float(pull_of(pair, base, JUDGE, plain)(pair.tensor(base)))
    vectors = pair.tensor(motion.at(nodes(grid), device=pair.device).astype(np.float64)).T
    energy = bending_energy(vectors.reshape(1, 3, *grid.shape).contiguous(), GRID_MM)
    return distance + smoothness_of(pair, plain) * float(energy)


def _expected_p95(pair: CloudPair, motion: LayeredMotion) -> float:
    """Return the error in mm below which 95 % of the points are expected after a motion, without a backward run."""
    some = pair.thinned(JUDGED_POINTS)
    moved = some.fixed + motion.at(some.fixed, device=pair.device)
    return judged(trust_model("fast", "forward").possible(evidence(some.fixed, some.moving, moved))).p95_mm


@torch.no_grad()
def guesses(model: Model, pair: CloudPair, start: LayeredMotion, *, looks: int, smoothed: bool) -> list[LayeredMotion]:
    """Return the start followed by the network's motion after each look, a displacement grid over the fixed cloud."""
    network = model.network.to(pair.device)
    seen = pair.thinned(_most_points(model.settings))
    fixed = pair.tensor(seen.fixed + start.at(seen.fixed, device=pair.device))
    moving = pair.tensor(seen.moving)
    grid = covering_grid(pair.covered, spacing_mm=GRID_MM, margin_mm=GRID_MARGIN_MM)
    places = nodes(grid)
    began = pair.tensor(places + start.at(places, device=pair.device))
    now = began
    found = []
    for look in range(1, looks + 1):
        # After the last look nobody asks where the points are.
        motion = network.displace(fixed, moving, now if look == looks else torch.cat([fixed, now]))
        now = now + motion[-len(now) :]
        if look < looks:
            fixed = fixed + motion[: len(fixed)]
        vectors = (now - began).T.reshape(1, 3, *grid.shape)
        found.append(start.with_layer(grid, _smoothed(vectors) if smoothed else vectors.contiguous()))
    return found


def _most_points(settings: NetworkSettings) -> int:
    return POINTS_A_CELL * settings.points if isinstance(settings, PointSettings) else MOST_POINTS


def _smoothed(vectors: Tensor) -> Tensor:
    """Return a displacement grid (1, 3, D, H, W) after a Gaussian; beyond its border it is constant."""
    taps = gaussian_taps(SMOOTH_NODES)
    room = len(taps) // 2
    wide = functional.pad(vectors.contiguous(), [room] * 6, mode="replicate").contiguous()
    return smooth(wide, taps)[:, :, room:-room, room:-room, room:-room].contiguous()


@torch_threads(1)
def register_with_network(
    fixed: NDArray[Any] | Cloud,
    moving: NDArray[Any] | Cloud,
    *,
    settings: RegisterSettings,
    model: Path | None = None,
    grid: Grid | None = None,
    device: str = "cpu",
    progress: Progress | bool | None = None,
) -> tuple[RegistrationResult, StartFacts]:
    """Register two clouds from the guess of the network that ``settings.method`` names.

    Parameters are those of :func:`lcsd.divroc.register.register_clouds`; ``model`` is a model file, or None for the
    shipped one. ``settings.effort`` says what follows the guess: the levels (accurate, fast) or nothing (none).

    Returns the registration and what it started from.

    Raises ``BadInputError`` as that function, and as :func:`lcsd.networks.models.model_of`; ``bad_option`` for
    another method, or with ``settings.symmetric``, whose motion has no place for a guess.
    """
    names = [name for name in NETWORKS if name == settings.method]
    if not names or settings.symmetric:
        raise BadInputError(
            "the option does not fit" if names else "not a network",
            code="bad_option",
            field="symmetric" if names else "method",
            expected="false with a network" if names else " or ".join(NETWORKS),
            found="true" if names else settings.method,
            remedy="leave it out" if names else "use lcsd.register_clouds for this method",
        )
    starts = NetworkStarts(model_of(names[0], model), refined=bool(settings.schedule()))
    result = register_clouds(
        fixed, moving, settings=settings, grid=grid, device=device, progress=progress, starts=starts
    )
    assert starts.facts is not None  # noqa: S101 - the registration has called it
    return result, starts.facts
