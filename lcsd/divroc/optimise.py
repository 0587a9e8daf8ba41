"""Adam, coarse to fine: the motion that lays one cloud onto another."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch

from lcsd.divroc.adam import Adam
from lcsd.divroc.level import CloudPair, Level, SymmetricLevel, schedule_of, smoothness_of
from lcsd.divroc.motion import LayeredMotion
from lcsd.divroc.start import starting_motion
from lcsd.errors import WorkError
from lcsd.settings.register import RegisterSettings

STOP_WINDOW = 10
"""Steps over which the stop rule looks back."""

GRAPH_WARMUP = 3
"""Steps before a CUDA graph is captured, so that all libraries are initialised."""

Progress = Callable[[int, float], None]
"""Called after each iteration with its number (from 1) and the distance."""


class Starts(Protocol):
    """Further motions to start from, besides the affine one; the first level runs from all of them."""

    def candidates(self, pair: CloudPair, start: LayeredMotion) -> list[LayeredMotion]:
        """Return the motions to start from, the affine start first."""

    def best(self, pair: CloudPair, motions: list[LayeredMotion]) -> int:
        """Return which of the motions is best; without levels they are the candidates themselves."""


Step = Callable[[], tuple[float, float]]
"""One Adam step; returns the distance and the objective before it."""


def _eager_step(level: Level, optimiser: Adam) -> Callable[[], tuple[Any, Any]]:
    def step() -> tuple[Any, Any]:
        distance, objective = level.losses()
        optimiser.step(*torch.autograd.grad(objective, level.control))
        return distance, objective.detach()

    return step


class _GraphStep:
    """Adam steps on CUDA: the first ones eager, then one captured graph, launched as a whole.

    A step is some hundred small kernels; launched one by one they would take longer to start than to run.
    """

    def __init__(self, eager: Callable[[], tuple[Any, Any]]) -> None:
        self._eager = eager
        self._stream = torch.cuda.Stream()
        self._left = GRAPH_WARMUP
        self._graph: Any = None
        self._values: tuple[Any, Any] | None = None

    def __call__(self) -> tuple[Any, Any]:
        if self._left > 0:
            self._left -= 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                values = self._eager()
            torch.cuda.current_stream().wait_stream(self._stream)
            return values
        if self._values is None:
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):  # records, does not run
                self._values = self._eager()
        self._graph.replay()
        return self._values


def _descend(
    level: Level, settings: RegisterSettings, tell: Callable[[float], None], *, iterations: int, name: str
) -> None:
    """Run Adam on a level; tell the distance of every iteration."""
    cuda = level.control.is_cuda
    rate = torch.tensor(level.rate(0), device=level.control.device) if cuda else level.rate(0)
    optimiser = Adam(level.control, rate)
    eager = _eager_step(level, optimiser)
    # Algorithms that repeat bit by bit wait for the device, which a graph cannot.
    graphed = cuda and not torch.are_deterministic_algorithms_enabled()
    step = _GraphStep(eager) if graphed and settings.method == "divroc" else eager
    objectives: list[float] = []
    for iteration in range(iterations):
        if isinstance(rate, torch.Tensor):
            rate.fill_(level.rate(iteration))
        else:
            optimiser.rate = level.rate(iteration)
        distance, objective = (float(value) for value in step())
        if not np.isfinite(objective):
            raise WorkError(
                "the optimisation diverged",
                code="diverged",
                field=f"{name}, iteration {iteration + 1}",
                expected="a finite objective",
                found=objective,
                remedy="lower learning_rate_mm or raise smoothness_mm2",
            )
        tell(distance)
        objectives.append(objective)
        if _stalled(objectives, settings.stop_share):
            return


def _stalled(objectives: list[float], share: float) -> bool:
    """Return whether the objective changed by less than a share over the last steps.

    First steps are large, and may raise an objective that was low already. Such a level goes on with smaller steps.
    """
    if share == 0 or len(objectives) <= STOP_WINDOW or objectives[-1] > objectives[0]:
        return False
    before = objectives[-1 - STOP_WINDOW]
    return abs(before - objectives[-1]) < share * before


def optimise(
    pair: CloudPair, settings: RegisterSettings, progress: Progress | None = None, starts: Starts | None = None
) -> tuple[LayeredMotion, tuple[float, ...]]:
    """Return the motion of the fixed cloud onto the moving cloud, and the distance per iteration.

    With ``starts``, the first level runs from each of them, and the others from the best.

    Raises ``WorkError`` if the optimisation diverges; it names level and iteration.
    """
    motion = starting_motion(pair, settings)
    motions = [motion] if starts is None else starts.candidates(pair, motion)
    settings = settings.model_copy(update={"smoothness_mm2": smoothness_of(pair, settings)})
    form = SymmetricLevel if settings.symmetric else Level
    curves: list[list[float]] = [[] for _ in motions]
    for number, resolution in enumerate(schedule_of(pair, settings), start=1):
        for at, before in enumerate(motions):
            curve, last = curves[at], at == len(motions) - 1

            def tell(distance: float, curve: list[float] = curve, shown: bool = last) -> None:
                curve.append(distance)
                if progress is not None and shown:
                    progress(len(curve), distance)

            level = form(pair.at_level(before, resolution), before, resolution, settings)
            _descend(level, settings, tell, iterations=resolution.iterations, name=f"level {number}")
            motions[at] = level.result()
        if starts is not None and len(motions) > 1:
            best = starts.best(pair, motions)
            motions, curves = [motions[best]], [curves[best]]
    if starts is not None and len(motions) > 1:
        motions = [motions[starts.best(pair, motions)]]
    return motions[0], tuple(curves[0])
