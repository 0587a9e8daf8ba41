"""Whether landmarks say that a registration, or the landmarks themselves, were read in the wrong way."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lcsd.readings.motion import SCALED

FEWEST = 6
"""Fewer landmarks are no evidence: chance makes any reading look good."""

POOR = 0.5
"""Registered landmarks that keep this share of their distance raise the question; below, the reading works."""

CLEARLY_LESS, MUCH_LESS = 0.5, 0.25
"""Mean error of the right reading as a part of that of a wrong one; the second for those that only change lengths."""

NEARLY_ALL = 0.8
"""Share of the landmarks that the right reading brings nearer."""


def is_poor(errors: NDArray[np.float64], before: NDArray[np.float64]) -> bool:
    """Return whether errors (N,) after registration are so large, against those before, that readings are compared."""
    return len(errors) >= FEWEST and bool(errors.mean() > POOR * before.mean())


def follows(moved: NDArray[np.float64], points: NDArray[np.float64]) -> bool:
    """Return whether registered points (N, 3) still have the arrangement of the points.

    The motion must vary by less than half of what the points do; vectors of another kind do not.
    """
    return bool((moved - points).std(axis=0).sum() < POOR * points.std(axis=0).sum())


def better(
    errors: NDArray[np.float64],
    before: NDArray[np.float64],
    others: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> str | None:
    """Return the reading that landmarks favour clearly over the named one; None if they favour none.

    ``errors`` and ``before`` (N,) are distances in mm after and before registration as named; ``others`` has both for
    each other reading. The other reading must halve the mean error (a quarter, if it only changes lengths), improve on
    its own distances before registration, and be nearer at four of five landmarks. The best such reading wins.
    """
    found: dict[str, float] = {}
    for reading, (after, start) in others.items():
        limit = MUCH_LESS if reading in SCALED else CLEARLY_LESS
        helps = after.mean() < NEARLY_ALL * start.mean()
        if after.mean() <= limit * errors.mean() and helps and (after < errors).mean() >= NEARLY_ALL:
            found[reading] = float(after.mean())
    return min(found, key=lambda reading: found[reading]) if is_poor(errors, before) and found else None
