"""Vessel masks: backends that make them, and vessel maps handed in by the user."""

from collections.abc import Callable
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.images import Image, read_mask, resample
from lcsd.settings.vessels import VesselsSettings
from lcsd.vessels import objectness, totalsegmentator
from lcsd.vessels.totalsegmentator import Vessels

__all__ = ["Vessels", "given_vessels", "make_vessels"]


def make_vessels(
    image: Image,
    lungs: Image,
    settings: VesselsSettings | None = None,
    *,
    device: str = "cpu",
    threads: int = 1,
    file: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Vessels:
    """Return the vessels of a scan inside its lungs, by the backend that the settings name.

    Parameters
    ----------
    image
        CT in HU on the common grid.
    lungs
        Lung mask, bool, on the same grid.
    device, threads
        Where to compute, for the backend ``totalsegmentator``; ``objectness`` knows the CPU only.
    file
        Name of the scan in errors.
    progress
        Called with a line of text at each step that takes long.

    Raises
    ------
    BadInputError
        If the grids differ, the lung mask is empty, no vessel is found, or a device is asked for
        that the backend does not know.
    WorkError
        If TotalSegmentator or its weights fail.
    """
    settings = settings or VesselsSettings()
    if settings.backend == "totalsegmentator":
        return totalsegmentator.segment_vessels(
            image, lungs, settings.totalsegmentator,
            device=device, threads=threads, file=file, progress=progress,
        )  # fmt: skip
    if device != "cpu":
        raise BadInputError(
            "the backend objectness computes on the CPU only", code="bad_usage", field="--device",
            expected="cpu", found=device, remedy="leave --device out",
        )  # fmt: skip
    mask = objectness.segment_vessels(image, lungs, settings.objectness, file=file)
    return Vessels(mask, 0, {})


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
            "no vessel voxel lies on the common grid", code="empty_vessels", file=path,
            expected="a map in the native space of its scan", found="0 voxels",
            remedy="check that the map belongs to this scan (follow-up maps need --rigid)",
        )  # fmt: skip
    return moved
