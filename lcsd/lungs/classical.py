"""Segment the lungs of a CT scan by thresholds, connected components and morphology.

The scan is averaged to about 2 mm and its axes are reordered to LPS, so that "head" and "slice"
have a meaning for every orientation. The result is returned on the scan's own grid.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.lungs.airways import airways
from lcsd.lungs.body import Surroundings, body_of, gas_of
from lcsd.lungs.sides import separated
from lcsd.lungs.working import on_grid, working_copy
from lcsd.numerics.morphology import ML_PER_MM3, Mask, box, closed, connected, grown
from lcsd.settings.lungs import LungsSettings

MARGIN_MM = 30.0  # around the air between parts of the body; lungs that the edge of the scan cuts reach further out
SMOOTH_MM = 1.0  # standard deviation of the Gaussian against noise


@dataclass(frozen=True)
class Lungs:
    """A lung mask with its figures."""

    mask: Image  # both lungs, bool, on the scan's grid
    count: int  # lungs found, 1 or 2
    volume_ml: float  # volume of the mask
    airways_ml: float  # volume of trachea and bronchi removed, 0 if none was found
    facts: dict[str, Any] = field(default_factory=dict)  # versions, options and weights of a model, for the provenance


def segment_lungs(scan: Image, settings: LungsSettings | None = None, *, file: Path | None = None) -> Lungs:
    """Return the mask of both lungs, vessels included, trachea and main bronchi excluded.

    ``scan`` is in HU, with any orientation; errors name ``file``. Raises ``BadInputError`` (``empty_lungs``) if
    no air space looks like a lung.
    """
    settings = settings or LungsSettings()
    work = working_copy(scan, settings.working_spacing_mm)
    step = np.asarray(work.grid.spacing[::-1])
    around = Surroundings.of(body_of(work.array, step), step)
    place = _region(work.array, around, settings, step)
    found = _in_region(work.array[place], around.within(place), settings, step)
    if not found.lungs:
        raise no_lung(file, f"an air space of at least {settings.min_lung_ml:g} ml inside the body", "none")
    whole = np.zeros(work.grid.shape, dtype=bool)
    whole[place] = np.logical_or.reduce(found.lungs) & ~found.airways
    mask = on_grid(Image(whole, work.grid), scan.grid)
    volume = float(mask.array.sum() * np.prod(scan.grid.spacing) * ML_PER_MM3)
    return Lungs(mask, len(found.lungs), volume, float(found.airways.sum() * np.prod(step) * ML_PER_MM3))


def no_lung(file: Path | None, expected: str, found: str) -> BadInputError:
    """Return the error of a scan without lungs."""
    remedy = "check the units and the region of the scan, or give a mask"
    return BadInputError("no lung found", code="empty_lungs", file=file, expected=expected, found=found, remedy=remedy)


class _Found(NamedTuple):
    lungs: list[Mask]  # each lung, closed over its vessels, the largest first
    airways: Mask


def _region(
    hu: NDArray[np.float32], around: Surroundings, settings: LungsSettings, step: NDArray[np.float64]
) -> tuple[slice, slice, slice]:
    """Return the box that holds all air inside the body; most of a scan is outside it."""
    air = (hu < settings.air_below_hu) & around.either
    return box(air, MARGIN_MM, step) if air.any() else (slice(None), slice(None), slice(None))


def _in_region(
    hu: NDArray[np.float32], around: Surroundings, settings: LungsSettings, step: NDArray[np.float64]
) -> _Found:
    """Return lungs and airways of a volume (z, y, x) with the axes of LPS."""
    smooth = ndimage.gaussian_filter(hu, sigma=SMOOTH_MM / step)
    air = smooth < settings.air_below_hu
    tree = airways(air & around.either, smooth, step, limit_ml=settings.airway_limit_ml)
    candidates = air & ~gas_of(hu, smooth, step) & ~grown(tree, settings.airway_wall_mm, step)
    return _Found(_choose_lungs(candidates, smooth, around, settings, step), tree)


def _choose_lungs(
    candidates: Mask,
    smooth: NDArray[np.float32],
    around: Surroundings,
    settings: LungsSettings,
    step: NDArray[np.float64],
) -> list[Mask]:
    """Return the air spaces that are lungs, the largest first, closed over their vessels; touching lungs are two."""
    voxel_ml = float(np.prod(step)) * ML_PER_MM3
    # An opening by one voxel cuts fine bridges to airways and to gas under the diaphragm.
    inside = candidates & around.either
    labels, sizes, order = connected(ndimage.binary_opening(inside))
    found: list[Mask] = []
    most = 1 if settings.expected_lungs == "1" else 2
    for label in order:
        if sizes[label] * voxel_ml < settings.min_lung_ml or len(found) == most:
            break
        part = labels == label
        if float(np.median(smooth[part])) < settings.gas_below_hu:
            continue
        part = around.uncut(np.asarray(ndimage.binary_dilation(part) & inside), candidates)
        whole = closed(part, settings.closing_mm, step)
        if not around.hold(whole):
            continue
        halves = separated(part, step) if most == 2 and not found else [part]
        if len(halves) == 2:
            return [closed(half, settings.closing_mm, step) for half in halves]
        found.append(whole)
    least = settings.second_lung_fraction * found[0].sum() if found else 0
    return [part for part in found if part.sum() >= least]
