"""How far a given lung mask lies on the lungs that are found in its scan: figures, a refusal and warnings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.lungs.classical import segment_lungs
from lcsd.lungs.sample import sample
from lcsd.numerics.morphology import grown
from lcsd.settings.gates import GatesSettings
from lcsd.settings.lungs import LungsSettings

NEAR_MM = 20.0
"""Found lung this near to a mask should be in it: a mask of one lobe lacks more, but not next to all its borders."""

MOST_ELSEWHERE = 0.75
"""A mask of which more is outside the found lungs is far from them, however little of these is near it."""

REMEDY = "check that the mask belongs to this scan and lies right; lungs.anatomy=trusted takes it as it is"


@dataclass(frozen=True)
class Fit:
    """A given mask against the lungs that the thresholds find in its scan; shares of 1."""

    excess: float  # of the mask: outside the found lungs, as consolidated or wrong parts are
    missed: float  # of the found lungs: outside the mask
    misfit: float  # the smaller one of excess, and of found lung near the mask but outside it, over the mask
    found: bool = True  # whether any lung was found

    def facts(self) -> dict[str, float]:
        """Return the figures for the provenance."""
        return {name: round(getattr(self, name), 4) for name in ("excess", "missed", "misfit")}


def fit_of(scan: Image, mask: Image, settings: LungsSettings | None = None) -> Fit:
    """Return how a mask that is not empty lies on the lungs of its scan, both on one grid.

    A mask of ill lungs covers more than the thresholds find, and one of a part less. A mask that is shifted, or of
    another scan, does both: ``misfit``. Without any lung in the scan, all of the mask is excess.
    """
    try:
        own = segment_lungs(scan, settings).mask
    except BadInputError as error:
        if error.code != "empty_lungs":
            raise
        return Fit(1.0, 0.0, 0.0, found=False)
    (given, step), (found, _) = sample(mask), sample(own)
    inside, lung = given.astype(bool), found.astype(bool)
    size = max(int(np.count_nonzero(inside)), 1)
    excess = float(np.count_nonzero(inside & ~lung)) / size
    lacking = lung & ~inside
    missed = float(np.count_nonzero(lacking)) / max(int(np.count_nonzero(lung)), 1)
    near = float(np.count_nonzero(lacking & grown(inside, NEAR_MM, step))) / size
    return Fit(excess, missed, min(excess, near))


def check_fit(fit: Fit, *, file: Path) -> None:
    """Refuse a mask that lies beside the lungs of its scan.

    Raises ``BadInputError`` (``mask_misfit``) by the largest plausible misfit, :class:`lcsd.settings.gates.LungGates`.
    """
    most = GatesSettings().mask_misfit.max
    elsewhere = fit.found and fit.excess > MOST_ELSEWHERE
    if most is None or (fit.misfit <= most and not elsewhere):
        return
    raise BadInputError(
        "the mask lies beside the lungs of the scan: it is shifted, or of another scan",
        code="mask_misfit",
        file=file,
        expected=f"at most {most:.0%} of it outside the lungs found in the scan, or as much of them next to it",
        found=f"{fit.excess:.0%} of it outside, and {fit.missed:.0%} of the lungs not in it",
        remedy=REMEDY,
    )


def doubts(fit: Fit) -> list[str]:
    """Return a sentence for each figure of a mask that is unusual by the default limits of the gates."""
    limits = GatesSettings()
    if not fit.found:
        return ["no lung was found in the scan to compare it with; the gates judge it"]
    found = {
        "it may be shifted by a few millimetres or of another scan": (fit.misfit, limits.mask_misfit),
        "they are dense, or the mask is of another scan": (fit.excess, limits.mask_excess),
        "it may lack a part of the lungs": (fit.missed, limits.mask_missed),
    }
    shares = f"{fit.excess:.0%} of it are outside the lungs found in the scan, and {fit.missed:.0%} of these not in it"
    return [
        f"{shares}: {words}; the gates judge it"
        for words, (value, limit) in found.items()
        if limit.warn_above is not None and value > limit.warn_above
    ]
