"""Adam, coarse to fine: the motion that lays one cloud onto another."""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from lcsd.divroc.cpu_level import CpuHalfwayLevel, CpuLevel
from lcsd.divroc.motion import LayeredMotion
from lcsd.divroc.pair import CloudPair, needs_torch, rate_of, schedule_of, smoothness_of, suits_halfway
from lcsd.divroc.start import starting_motion
from lcsd.errors import WorkError
from lcsd.settings.register import RegisterLevel, RegisterSettings

STOP_WINDOW = 10
"""Steps over which the stop rule looks back."""

Progress = Callable[[int, float], None]
"""Called after each iteration with its number (from 1) and the distance."""


class Starts(Protocol):
    """Further motions to start from, besides the affine one; levels run from all of them until one is left."""

    def candidates(self, pair: CloudPair, start: LayeredMotion) -> list[LayeredMotion]:
        """Return the motions to start from, the affine start first."""

    def kept(self, pair: CloudPair, motions: list[LayeredMotion], level: int, *, last: bool) -> list[int]:
        """Return which of the motions go on after a level (0: the candidates themselves), one after the last."""


class AnyLevel(Protocol):
    """A level of the optimisation, on any device."""

    def step(self, rate: float) -> tuple[float, float]:
        """Move by one Adam step at a learning rate, mm; return distance and objective before it."""

    def result(self) -> LayeredMotion:
        """Return the motion so far with what this level adds."""


def _descend(
    level: AnyLevel, settings: RegisterSettings, tell: Callable[[float], None], *, iterations: int, name: str
) -> None:
    """Run Adam on a level; tell the distance of every iteration."""
    objectives: list[float] = []
    for iteration in range(iterations):
        distance, objective = level.step(rate_of(settings, iteration, iterations))
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


def _level(
    pair: CloudPair, before: LayeredMotion, level: RegisterLevel, settings: RegisterSettings, *, halfway: bool
) -> AnyLevel:
    if not needs_torch(settings, pair.device):
        return (CpuHalfwayLevel if halfway else CpuLevel)(pair, before, level, settings)
    from lcsd.divroc.level import HalfwayLevel, Level, SymmetricLevel

    kind = SymmetricLevel if settings.symmetric else HalfwayLevel if halfway else Level
    return kind(pair, before, level, settings)


def optimise(
    pair: CloudPair, settings: RegisterSettings, progress: Progress | None = None, starts: Starts | None = None
) -> tuple[LayeredMotion, tuple[float, ...]]:
    """Return the motion of the fixed cloud onto the moving cloud, and the distance per iteration.

    With ``starts``, the levels run from each of them until the best is known.

    Raises ``WorkError`` if the optimisation diverges; it names level and iteration.
    """
    motion = starting_motion(pair, settings)
    motions = [motion] if starts is None else starts.candidates(pair, motion)
    settings = settings.model_copy(update={"smoothness_mm2": smoothness_of(pair, settings)})
    curves: list[list[float]] = [[] for _ in motions]
    halfway = suits_halfway(pair, settings)
    schedule = schedule_of(pair, settings)

    def choose(number: int) -> None:
        nonlocal motions, curves
        if starts is not None and len(motions) > 1:
            kept = starts.kept(pair, motions, number, last=number == len(schedule))
            motions, curves = [motions[one] for one in kept], [curves[one] for one in kept]

    if not schedule:
        choose(0)
    for number, resolution in enumerate(schedule, start=1):
        for at, before in enumerate(motions):
            curve, last = curves[at], at == len(motions) - 1

            def tell(distance: float, curve: list[float] = curve, shown: bool = last) -> None:
                curve.append(distance)
                if progress is not None and shown:
                    progress(len(curve), distance)

            level = _level(pair.at_level(before, resolution), before, resolution, settings, halfway=halfway)
            _descend(level, settings, tell, iterations=resolution.iterations, name=f"level {number}")
            motions[at] = level.result()
        choose(number)
    return motions[0], tuple(curves[0])
