"""Segment the lungs by the method of the settings: thresholds, or TotalSegmentator's lobes."""

from pathlib import Path

import numpy as np

from lcsd.io.images import Image
from lcsd.lungs.classical import Lungs, no_lung, segment_lungs
from lcsd.numerics.device import ONE_CORE, Compute
from lcsd.numerics.morphology import ML_PER_MM3
from lcsd.settings.lungs import LungsSettings
from lcsd.totalsegmentator import TASKS, session

SIDES = {"left": (10, 11), "right": (12, 13, 14)}  # labels of the lobes of each lung in the task ``total``

LEAST_CROP_MM = (60.0, 60.0, 60.0)
"""The package crops to the lobes and 20 mm around them: a smaller crop has missed the lungs."""


def make_lungs(
    scan: Image, settings: LungsSettings | None = None, *, on: Compute = ONE_CORE, file: Path | None = None
) -> Lungs:
    """Return the lung mask of a scan by the method of the settings.

    ``scan`` is in HU, with any orientation; errors name ``file``. The method ``classical`` uses one thread of
    the CPU only, whatever ``on`` says. Raises ``BadInputError`` if the scan has no lung or the method does not
    support the device, ``WorkError`` if TotalSegmentator or its weights fail.
    """
    settings = settings or LungsSettings()
    if settings.method == "totalsegmentator":
        return segment_lobes(scan, settings, on=on, file=file)
    on.require_cpu("the method classical")
    return segment_lungs(scan, settings, file=file)


def segment_lobes(scan: Image, settings: LungsSettings, *, on: Compute, file: Path | None) -> Lungs:
    """Return the union of TotalSegmentator's lobes; parameters and errors as `make_lungs`.

    A lung that is too small, by itself or compared with the other one, is left out as in the
    classical method. The lobes do not include trachea and main bronchi.
    """
    chosen = settings.totalsegmentator
    with session(TASKS[f"lobes_{chosen.model}"], chosen, on=on) as totalsegmentator:
        found = totalsegmentator.segment(scan, min_crop_mm=LEAST_CROP_MM, file=file)
    voxel_ml = float(np.prod(scan.grid.spacing)) * ML_PER_MM3
    sides = [np.isin(found.labels.array, labels) for labels in SIDES.values()]
    sides.sort(key=lambda side: -int(side.sum()))
    largest = float(sides[0].sum())
    kept = [
        side
        for side in sides[: 1 if settings.expected_lungs == "1" else 2]
        if side.sum() * voxel_ml >= settings.min_lung_ml and side.sum() >= settings.second_lung_fraction * largest
    ]
    if not kept:
        expected = f"lobes of at least {settings.min_lung_ml:g} ml on one side"
        raise no_lung(file, expected, f"{largest * voxel_ml:.0f} ml")
    mask = np.logical_or.reduce(kept)
    volume = float(mask.sum()) * voxel_ml
    return Lungs(Image(mask, scan.grid), len(kept), volume, 0.0, found.facts)
