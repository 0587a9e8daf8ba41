"""Registration that starts from a network's guess."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lcsd.divroc.level import CloudPair, pull_of
from lcsd.divroc.motion import LayeredMotion, covering_grid, nodes
from lcsd.divroc.optimise import Progress
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import Cloud
from lcsd.networks.models import Model, model_of
from lcsd.settings.register import RegisterLevel, RegisterSettings
from lcsd.settings.train import NETWORKS

GRID_MM = 8.0
GRID_MARGIN_MM = 12.0
"""Spacing of the displacement grid that holds the guess, and its room around the fixed cloud."""

JUDGE = RegisterLevel(raster_mm=4.0, flow_mm=8.0, sigma_voxels=1.0, iterations=1)
"""The raster on which the guess must be closer to the moving cloud than the affine start."""

MOST_POINTS = 100_000
"""Points of each cloud that the network sees."""


@dataclass(frozen=True)
class StartFacts:
    """What a registration started from."""

    network: str
    sha256: str  # of the model
    taken: bool  # False: the guess was no better than the affine start, which was taken instead
    distance_affine: float  # distance of the clouds after the affine start, from 0 (equal) on
    distance_network: float  # and after the guess

    def figures(self) -> dict[str, Any]:
        """Return the figures for ``registration.json``."""
        return {
            "start": self.network if self.taken else "fitted",
            "start_distance": {"affine": self.distance_affine, "network": self.distance_network},
            "model_sha256": self.sha256,
        }


class NetworkStart:
    """The guess of a network as a start; it keeps the affine one where the guess brings the clouds no closer."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.facts: StartFacts | None = None

    def __call__(self, pair: CloudPair, start: LayeredMotion) -> LayeredMotion:
        """Return the affine start with the guess on top, or the start alone."""
        motion = guessed(self._model, pair, start)
        plain = RegisterSettings()
        before, after = (
            float(pull_of(pair, base, JUDGE, plain)(pair.tensor(base)))
            for base in (pair.fixed + part.at(pair.fixed, device=pair.device) for part in (start, motion))
        )
        taken = bool(np.isfinite(after) and after < before)
        self.facts = StartFacts(self._model.name, self._model.sha256, taken, before, after)
        return motion if taken else start


@torch.no_grad()
def guessed(model: Model, pair: CloudPair, start: LayeredMotion) -> LayeredMotion:
    """Return the start followed by the network's motion, as a displacement grid over the fixed cloud."""
    network = model.network.to(pair.device)
    seen = pair.thinned(MOST_POINTS)
    fixed = pair.tensor(seen.fixed + start.at(seen.fixed, device=pair.device))
    moving = pair.tensor(seen.moving)
    grid = covering_grid(pair.covered, spacing_mm=GRID_MM, margin_mm=GRID_MARGIN_MM)
    places = nodes(grid)
    began = pair.tensor(places + start.at(places, device=pair.device))
    now = began
    for _ in range(model.settings.passes):
        both = network.displace(fixed, moving, torch.cat([fixed, now]))
        fixed, now = fixed + both[: len(fixed)], now + both[len(fixed) :]
    vectors = (now - began).T.reshape(1, 3, *grid.shape)
    return start.with_layer(grid, vectors.contiguous())


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
    start = NetworkStart(model_of(names[0], model))
    result = register_clouds(fixed, moving, settings=settings, grid=grid, device=device, progress=progress, guess=start)
    assert start.facts is not None  # noqa: S101 - the registration has called it
    return result, start.facts
