"""Evidence of neighbours: landmarks that are near each other move alike, if the rows of both scans belong together."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError

FEWEST = 6
"""Fewer landmarks are no evidence."""

NEAR_MM = 25.0
"""Neighbours that are nearer count as this far apart: errors of an observer or of a method differ by less."""

APART = 1.0
"""Difference of the motion of two neighbours over their distance, above which they do not move alike: tissue would
fold. Of the landmarks of twelve patients (Lung250M) and the matches of a method there, at most 3 in 100 are above."""

MOST, AT_LEAST = 0.25, 4
"""Share and number of landmarks above it from which rows are exchanged; a single bad landmark spoils its neighbours."""


def differences(fixed: NDArray[np.float64], moving: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return for each landmark how differently its nearest neighbour moves, over their distance, shape (N,)."""
    from scipy.spatial import cKDTree

    apart, neighbours = cKDTree(fixed).query(fixed, k=2)
    motion = moving - fixed
    return np.asarray(np.linalg.norm(motion - motion[neighbours[:, 1]], axis=1) / np.maximum(apart[:, 1], NEAR_MM))


def check_pairing(fixed: NDArray[np.float64], moving: NDArray[np.float64], *, file: Path | None) -> None:
    """Refuse landmarks, both (N, 3) in LPS mm, whose rows do not belong together: neighbours move apart.

    Raises ``BadInputError`` (``unpaired_landmarks``).
    """
    if len(fixed) < FEWEST:
        return
    odd = int((differences(fixed, moving) > APART).sum())
    if odd < AT_LEAST or odd <= MOST * len(fixed):
        return
    raise BadInputError(
        "neighbouring landmarks move in different directions: the rows of the two scans do not belong together",
        code="unpaired_landmarks",
        file=file,
        expected=f"at most {MOST:.0%} of them",
        found=f"{odd} of {len(fixed)}",
        remedy="bring the positions of both scans into one order",
    )
