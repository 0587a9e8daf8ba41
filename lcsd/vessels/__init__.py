"""Vessel masks: backends that make them, and vessel maps handed in by the user."""

from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.images import Image, read_mask, resample
from lcsd.settings.vessels import VesselsSettings
from lcsd.vessels.objectness import segment_vessels

__all__ = ["given_vessels", "make_vessels"]


def make_vessels(
    image: Image, lungs: Image, settings: VesselsSettings | None = None, *, file: Path | None = None
) -> Image:
    """Return the vessel mask of a scan by the backend that the settings name.

    Parameters
    ----------
    image
        CT in HU on the common grid.
    lungs
        Lung mask, bool, on the same grid.
    file
        Name of the scan in errors.

    Raises
    ------
    BadInputError
        If the grids differ, the lung mask is empty, or no vessel is found.
    """
    return segment_vessels(image, lungs, settings or VesselsSettings(), file=file)


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
