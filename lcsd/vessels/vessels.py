"""Vessels of a scan inside its lungs, by the backend that the settings name."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lcsd.device import ONE_CORE, Compute
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, read_mask, resample
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
    """Return the vessels of a scan inside its lungs, by the backend that the settings name.

    Parameters
    ----------
    image
        CT in HU on the common grid.
    lungs
        Lung mask, bool, on the same grid.
    on
        Where to compute; the backend ``objectness`` knows one thread of the CPU only.
    file
        Name of the scan in errors.

    Raises
    ------
    BadInputError
        If the grids differ, the lung mask is empty, no vessel is found, or a device is asked for
        that the backend does not know.
    WorkError
        If TotalSegmentator or its weights fail.
    """
    with vessel_maker(settings or VesselsSettings(), on=on) as make:
        return make(image, lungs, file=file)


@dataclass(frozen=True)
class VesselMaker:
    """What makes the vessels of many scans: ``maker(image, lungs, file=None)``.

    Parameters
    ----------
    make
        Makes the vessels of one scan; parameters and errors as :func:`make_vessels`.
    known_facts
        What besides the settings decides every result, as in the facts of each.
    """

    make: Callable[..., Vessels]
    known_facts: Mapping[str, Any]

    def __call__(self, image: Image, lungs: Image, *, file: Path | None = None) -> Vessels:
        """Return the vessels of a scan."""
        return self.make(image, lungs, file=file)


@contextlib.contextmanager
def vessel_maker(settings: VesselsSettings, *, on: Compute) -> Iterator[VesselMaker]:
    """Yield what makes the vessels of many scans and loads a model once.

    Parameters and errors of both as :func:`make_vessels`; an error of one scan leaves the function
    fit for the next.
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
    """Return a user's vessel map on the common grid, by nearest neighbour.

    Parameters
    ----------
    path
        Vessel mask in the native space of its scan.
    grid
        Common grid.
    rigid
        Maps a common-space point to the scan's space; none for the baseline.

    Raises
    ------
    BadInputError
        If the map is unreadable or empty, or has no voxel on the common grid.
    """
    given = read_mask(path, kind="vessels", keep_labels=True)
    moved = resample(given, grid, transform=rigid, nearest=True)
    if not moved.array.any():
        raise BadInputError(
            "no vessel voxel lies on the common grid",
            code="empty_vessels",
            file=path,
            expected="a map in the native space of its scan",
            found="0 voxels",
            remedy="check that the map belongs to this scan (follow-up maps need --rigid)",
        )
    return moved
