"""Pairs of clouds of a release or a build, whose motion nobody knows."""

import hashlib
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.pair import CloudPair
from lcsd.divroc.start import starting_motion
from lcsd.networks.pairs import TrainingPair
from lcsd.phantom.motion import rotation_matrix
from lcsd.settings.register import RegisterSettings

Points = NDArray[np.float64]

KEPT_SHARES = (0.4, 1.0)
MOST_POINTS = 30_000
"""Share of a cloud's points that a draw keeps, and the most of them."""

TURN_DEG = 5.0
SCALES = (0.9, 1.1)
"""Standard deviation of the turn, and range of the scale along each axis, of both clouds of a draw."""

KEPT_CASES = 64
"""Cases whose affine start is kept in memory."""


class Cases(Protocol):
    """What :class:`lcsd.data.LCSDataset` is, of which networks know nothing else."""

    @property
    def cases(self) -> list[str]:
        """Names of the cases."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a sample with ``fixed`` (N, 3) and ``moving`` (M, 3), tensors, LPS mm."""


def label_of(cases: Cases) -> str:
    """Return which cases these are, without their names: models are passed on."""
    digest = hashlib.sha256("\n".join(cases.cases).encode()).hexdigest()
    return f"{len(cases)} cases, SHA-256 of their names {digest}"


class CasePairs:
    """Endless draws from the clouds of cases, without truth.

    A draw takes one case after its affine start, keeps some points of each cloud, turns, scales and mirrors both alike,
    and exchanges them half the time. Draw ``number`` of a ``seed`` is always the same.

    Parameters
    ----------
    cases
        For example ``LCSDataset(folder, "train", cloud="dense")``.
    seed
        Of all draws.
    """

    def __init__(self, cases: Cases, *, seed: int) -> None:
        self._cases = cases
        self._seed = seed
        self._started = lru_cache(maxsize=KEPT_CASES)(self._start)

    def _start(self, which: int) -> tuple[Points, Points]:
        """Return both clouds of a case after the affine start, LPS mm."""
        sample = self._cases[which]
        fixed, moving = (sample[scan].numpy().astype(np.float64) for scan in ("fixed", "moving"))
        start = starting_motion(CloudPair(fixed, moving, None, "cpu"), RegisterSettings())
        return fixed + start.at(fixed), moving

    def pair(self, number: int) -> TrainingPair:
        """Return a draw; its ``vectors`` are None."""
        rng = np.random.default_rng([self._seed, number])
        which = int(rng.integers(len(self._cases)))
        clouds = self._started(which)
        middle = clouds[1].mean(axis=0)
        turn = rotation_matrix(rng.normal(scale=TURN_DEG, size=3)) * rng.uniform(*SCALES, 3)
        turn = turn * np.array([rng.choice([-1.0, 1.0]), 1.0, 1.0])
        drawn = []
        for points in clouds:
            count = min(int(np.ceil(rng.uniform(*KEPT_SHARES) * len(points))), MOST_POINTS)
            drawn.append((points[rng.permutation(len(points))[:count]] - middle) @ turn.T)
        fixed, moving = drawn[:: rng.choice([-1, 1])]
        return TrainingPair(f"case {self._cases.cases[which]}, draw {number}", fixed, moving, None)
