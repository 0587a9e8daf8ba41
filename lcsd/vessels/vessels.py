"""Segment the vessels of a scan inside its lungs by the backend of the settings."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, read_mask, resample
from lcsd.numerics.device import ONE_CORE, Compute
from lcsd.settings.gates import GatesSettings
from lcsd.settings.vessels import VesselsSettings
from lcsd.totalsegmentator import TASKS, session
from lcsd.vessels import objectness, totalsegmentator
from lcsd.vessels.totalsegmentator import Vessels


def make_vessels(
    image: Image,
    lungs: Image,
    settings: VesselsSettings | None = None,
    *,
    on: Compute = ONE_CORE,
    file: Path | None = None,
) -> Vessels:
    """Return the vessels of a scan inside its lungs, by the backend of the settings.

    ``image`` is in HU on the common grid, ``lungs`` bool on the same grid; errors name ``file``. The backend
    ``objectness`` uses one thread of the CPU only, whatever ``on`` says. Raises ``BadInputError`` if the grids
    differ, lungs or vessels are empty, or the backend does not support the device, ``WorkError`` if
    TotalSegmentator or its weights fail.
    """
    with vessel_maker(settings or VesselsSettings(), on=on) as maker:
        return maker.make(image, lungs, file=file)


@dataclass(frozen=True)
class VesselMaker:
    """A function that makes the vessels of one scan after the other."""

    make: Callable[..., Vessels]  # ``make(image, lungs, file=None)``; parameters and errors as :func:`make_vessels`
    # Facts that are the same for every scan: what decides the result besides the settings
    known_facts: Mapping[str, Any]


@contextlib.contextmanager
def vessel_maker(settings: VesselsSettings, *, on: Compute) -> Iterator[VesselMaker]:
    """Yield a maker of vessels that loads a model once for many scans.

    Parameters and errors as :func:`make_vessels`; after an error in one scan it can go on with the next.
    """
    if settings.backend == "totalsegmentator":
        chosen = settings.totalsegmentator
        with session(TASKS[chosen.task], chosen, on=on) as ready:
            segment = partial(totalsegmentator.segment_vessels, settings=chosen, session=ready)
            yield VesselMaker(segment, ready.known_facts)
        return
    on.require_cpu("the backend objectness")

    def make(image: Image, lungs: Image, *, file: Path | None = None) -> Vessels:
        return Vessels(objectness.segment_vessels(image, lungs, settings.objectness, file=file), 0, {})

    yield VesselMaker(make, {})


def given_vessels(path: Path, grid: Grid, *, rigid: RigidTransform | None = None) -> Image:
    """Return the user's vessel mask on the common grid, resampled by nearest neighbour.

    The mask at ``path`` is in the native space of its scan; ``rigid`` maps a common-space point there, None for
    the baseline. Raises ``BadInputError`` if the mask is unreadable or has no voxel on the common grid.
    """
    given = read_mask(path, kind="vessels", keep_labels=True)
    moved = resample(given, grid, transform=rigid, nearest=True)
    if not moved.array.any():
        raise BadInputError(
            "no vessel voxel is on the common grid",
            code="empty_vessels",
            file=path,
            expected="a mask in the native space of its scan",
            found="0 voxels",
            remedy="check that the mask belongs to this scan (a follow-up needs --rigid)",
        )
    return moved


def contrast_hu(image: Image, vessels: Image, lungs: Image) -> float:
    """Return how much denser vessels are than the lungs, HU: the median inside a map less that of the whole lung mask.

    All are on one grid, and only the map's part in the lungs counts; 0 if it has none there.
    """
    inside = (vessels.array != 0) & (lungs.array != 0)
    if not inside.any():
        return 0.0
    return float(np.median(image.array[inside]) - np.median(image.array[lungs.array != 0]))


def check_contrast(contrast: float, *, file: Path) -> None:
    """Refuse a map that is no denser than the lungs (:func:`contrast_hu`): it lies beside the vessels of its scan.

    Raises ``BadInputError`` (``not_vessels``) by the least plausible contrast (``gates.vessel_contrast_hu``).
    """
    least = GatesSettings().vessel_contrast_hu.min
    if least is not None and contrast < least:
        raise BadInputError(
            "the map lies beside the vessels of the scan: it is shifted, of another scan, or no vessel map",
            code="not_vessels",
            file=file,
            expected=f"a median of at least {least:g} HU more than in the lungs",
            found=f"{contrast:.0f} HU more",
            remedy="check that the map belongs to this scan and has its geometry",
        )
