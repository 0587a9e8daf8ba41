"""Evidence of a mask: landmarks are in the lung, and in one reading of their numbers only."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.readings.numbering import READINGS

FEW, MOST = 0.5, 0.9
"""Shares of the landmarks in the mask: below the first a set is badly placed, from the second on it is well placed."""

CLEARLY_MORE = 0.15
"""A reading that is right puts this share of all landmarks more into the mask."""

UNLIKELY = 1e-3
"""Probability at which landmarks that only the other reading puts inside are no chance (McNemar's test)."""

UNLIKELY_IF_FEW = 0.01
"""The same for a set that is badly placed as named: eight landmarks or more."""


def in_mask(points: NDArray[np.float64], mask: Image) -> NDArray[np.bool_]:
    """Return for each LPS point (N, 3) whether its voxel belongs to the mask, shape (N,)."""
    inside = mask.grid.contains(points)
    index = np.rint(mask.grid.world_to_voxel(points[inside])).astype(int)
    # A point on the outer face rounds to a voxel outside the grid.
    x, y, z = np.clip(index, 0, np.asarray(mask.grid.size) - 1).T
    inside[inside] = mask.array[z, y, x] != 0
    return inside


def _is_clear(named: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Return whether another reading fits a mask clearly better; both (N,), whether a landmark is in the mask."""
    from scipy.special import bdtr

    if other.mean() < MOST:
        return False
    gained, lost = int((other & ~named).sum()), int((named & ~other).sum())
    if gained == 0:
        return False
    # The binomial test with two sides; scipy.stats takes a second to import.
    chance = min(1.0, 2.0 * float(bdtr(min(gained, lost), gained + lost, 0.5)))
    if named.mean() < FEW:
        return chance < UNLIKELY_IF_FEW
    return bool(other.mean() - named.mean() >= CLEARLY_MORE and chance < UNLIKELY)


def check_in_mask(points: NDArray[np.float64], mask: Image, *, file: Path | None) -> None:
    """Refuse fixed landmarks (N, 3), read as LPS mm, of which another reading puts clearly more into the lung's mask.

    Raises ``BadInputError`` (``landmark_outside``) with the other reading. Where no reading is clearly better, nothing
    happens: landmarks at the hilum and at fissures may lie outside a mask.
    """
    named = in_mask(points, mask)
    others = [(text, in_mask(numbering.to_lps(points, mask.grid, file=Path()), mask)) for text, numbering in READINGS]
    text, best = max(others, key=lambda other: other[1].sum())
    if not _is_clear(named, best):
        return
    raise BadInputError(
        "many fixed landmarks are outside the mask, and another reading puts them inside",
        code="landmark_outside",
        file=file,
        expected=f"{best.sum()} of {len(points)} inside",
        found=f"{named.sum()}",
        remedy=f"{best.sum()} would lie inside {text}",
    )
