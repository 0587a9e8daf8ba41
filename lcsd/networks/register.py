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
from lcsd.divroc.pair import CloudPair, smoothness_of
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.divroc.smoothing import smooth
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import Cloud
from lcsd.networks.models import Model, model_of
from lcsd.numerics.threads import torch_threads
from lcsd.settings.register import RegisterLevel, RegisterSettings
from lcsd.settings.train import NETWORKS, NetworkName

GRID_MM = 8.0
GRID_MARGIN_MM = 12.0
"""Spacing of the displacement grid that holds the guess, and its room around the fixed cloud."""

JUDGE = RegisterLevel(raster_mm=4.0, flow_mm=8.0, sigma_voxels=1.0, iterations=1)
"""The raster on which the guess must be closer to the moving cloud than the affine start."""

BENDING = 3.0
"""Weight of the motion's bending after the first level, relative to the optimiser's: where vessels are missing, a wrong
motion brings the clouds closer, but bends."""

GAINS: dict[NetworkName, float] = {"unet": 0.9, "dgcnn": 0.9, "pointpwc": 0.97}
"""A network's answer is taken if its objective after the first level is below this share of the affine start's; without
levels, if it is below that of the affine start at all."""

SMOOTH_NODES = 1.5
"""Gaussian over the answer, in nodes: the levels, whose grids are smoother still, could not undo what is finer."""

MOST_POINTS = 100_000
"""Points of each cloud that the network sees."""


@dataclass(frozen=True)
class StartFacts:
    """What a registration started from."""

    network: str
    sha256: str  # of the model
    look: int  # the network's answer after so many looks was taken; 0: the affine start
    objectives: tuple[float, ...]  # of all candidates after the first level, by which they were judged

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

    def best(self, pair: CloudPair, motions: list[LayeredMotion]) -> int:
        """Return which motion has the least objective, distance and bending on one raster; 0 unless clearly less."""
        plain = RegisterSettings()
        stiff = smoothness_of(pair, plain) * (BENDING if self._refined else 1.0)
        grid = covering_grid(pair.covered, spacing_mm=GRID_MM, margin_mm=0.0)
        objectives = []
        for motion in motions:
            base = pair.fixed + motion.at(pair.fixed, device=pair.device)
            distance = float(pull_of(pair, base, JUDGE, plain)(pair.tensor(base)))
            vectors = pair.tensor(motion.at(nodes(grid), device=pair.device).astype(np.float64)).T.reshape(
                1, 3, *grid.shape
            )
            objectives.append(distance + stiff * float(bending_energy(vectors.contiguous(), GRID_MM)))
        look = min(range(len(motions)), key=objectives.__getitem__)
        gain = GAINS[self._model.name] if self._refined else 1.0
        look = look if objectives[look] < gain * objectives[0] else 0
        self.facts = StartFacts(self._model.name, self._model.sha256, look, tuple(objectives))
        return look


@torch.no_grad()
def guesses(model: Model, pair: CloudPair, start: LayeredMotion, *, looks: int, smoothed: bool) -> list[LayeredMotion]:
    """Return the start followed by the network's motion after each look, a displacement grid over the fixed cloud."""
    network = model.network.to(pair.device)
    seen = pair.thinned(MOST_POINTS)
    fixed = pair.tensor(seen.fixed + start.at(seen.fixed, device=pair.device))
    moving = pair.tensor(seen.moving)
    grid = covering_grid(pair.covered, spacing_mm=GRID_MM, margin_mm=GRID_MARGIN_MM)
    places = nodes(grid)
    began = pair.tensor(places + start.at(places, device=pair.device))
    now = began
    found = []
    for _ in range(looks):
        both = network.displace(fixed, moving, torch.cat([fixed, now]))
        fixed, now = fixed + both[: len(fixed)], now + both[len(fixed) :]
        vectors = (now - began).T.reshape(1, 3, *grid.shape)
        found.append(start.with_layer(grid, _smoothed(vectors) if smoothed else vectors.contiguous()))
    return found


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
