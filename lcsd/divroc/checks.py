"""Clouds that cannot be registered are refused before any work."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.points import Cloud, check_points

MAX_APART_MM = 500.0
"""Lungs of one patient are never this far apart; clouds of different frames often are."""

MAX_EXTENT_MM = 1500.0
"""No cloud of a chest is larger; clouds in micrometres are."""

MIN_EXTENT_MM = 2.5
"""Nor smaller; a chest in metres spans 0.3, and coordinates that a program scaled to -1 to 1 span 2."""

MAX_COORDINATE_MM = 1e6
"""Single precision rounds larger coordinates by more than 0.03 mm. No scanner's origin is a kilometre away; that of a
survey, or of coordinates in nanometres, is."""

USUAL_EXTENT_MM = (60.0, 700.0)
"""Clouds of a lung are 150 to 450 mm across; coordinates in cm or inches span 10 to 45."""

MANY_AT_ORIGIN = 5
"""So many points of a cloud are never at one place, not even voxels."""

MOST_AT_ONE_PLACE = 1_000
"""More points than this at one place are a fault of the file; searches for neighbours would never end there."""


def _checked(cloud: NDArray[Any] | Cloud, name: str) -> NDArray[np.float64]:
    """Return the points of a cloud as float64 after refusing what cannot be registered."""
    raw = cloud.points if isinstance(cloud, Cloud) else np.asarray(cloud)
    check_points(raw, name=name)
    points = np.asarray(raw, dtype=np.float64)
    extent = float((points.max(axis=0) - points.min(axis=0)).max())
    if extent == 0:
        raise BadInputError(
            "the cloud is a single place",
            code="degenerate_cloud",
            field=name,
            expected="points that differ",
            found=f"{len(points)} equal points",
        )
    if not MIN_EXTENT_MM <= extent <= MAX_EXTENT_MM:
        raise BadInputError(
            "the cloud is too small or too large for a chest in mm",
            code="wrong_unit",
            field=name,
            expected=f"{MIN_EXTENT_MM:g} to {MAX_EXTENT_MM:g} mm across",
            found=f"{extent:.4g}",
            remedy="convert the coordinates to millimetres, or say --unit m",
        )
    largest = float(np.abs(points).max())
    if largest > MAX_COORDINATE_MM:
        raise BadInputError(
            "the cloud is too far from the origin for a chest in mm",
            code="wrong_unit",
            field=name,
            expected=f"coordinates up to {MAX_COORDINATE_MM:g} mm",
            found=f"{largest:.4g}",
            remedy="subtract one place from all points of both clouds",
        )
    filled = int((points == 0).all(axis=1).sum())
    if filled >= MANY_AT_ORIGIN:
        raise BadInputError(
            "points lie exactly at the origin: they fill up an array, or were not measured",
            code="filled_cloud",
            field=name,
            expected=f"fewer than {MANY_AT_ORIGIN}",
            found=filled,
            remedy="remove them",
        )
    _check_repeated(points, name)
    return points


def _check_repeated(points: NDArray[np.float64], name: str) -> None:
    """Refuse a cloud with very many equal points."""
    most = int(np.unique(_sums(points), return_counts=True)[1].max())
    if most > MOST_AT_ONE_PLACE:
        raise BadInputError(
            "very many points lie at one place",
            code="repeated_points",
            field=name,
            expected=f"at most {MOST_AT_ONE_PLACE} there",
            found=most,
            remedy="remove the repetitions",
        )


def _sums(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a number for each point that equal points share and others do not, shape (N,).

    The factors share no unit. A matrix product may round equal rows differently.
    """
    sums: NDArray[np.float64] = points[:, 0] + math.pi * points[:, 1] + math.e * points[:, 2]
    return sums


def places_of(points: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first row at each place of points (N, 3), ascending, and for each point which of them is at its place.

    Merged clouds and exported meshes hold the same point several times. It is one place of a vessel, and says no more
    than others.
    """
    _, first, at = np.unique(_sums(points), return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[at]


def check_pair(
    fixed: NDArray[Any] | Cloud, moving: NDArray[Any] | Cloud
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the points of two clouds, float64, if they can be registered; errors as :func:`register_clouds`."""
    points = _checked(fixed, "fixed"), _checked(moving, "moving")
    apart = float(np.linalg.norm(points[0].mean(axis=0) - points[1].mean(axis=0)))
    if apart > MAX_APART_MM:
        raise BadInputError(
            "the clouds are in different frames",
            code="frame_mismatch",
            field="fixed, moving",
            expected=f"means within {MAX_APART_MM:g} mm",
            found=f"{apart:.0f} mm apart",
            remedy="bring both into one LPS mm frame (a flipped axis or RAS/LPS mix-up is likely)",
        )
    return points


def doubts(fixed: Cloud, moving: Cloud) -> list[str]:
    """Return a sentence for each cloud that can be registered, but has an unusual size for a chest in mm."""
    low, high = USUAL_EXTENT_MM
    found = []
    for name, cloud in (("fixed", fixed), ("moving", moving)):
        extent = float(np.ptp(cloud.points, axis=0).max())
        if not low <= extent <= high:
            found.append(
                f"the {name} cloud is {extent:.3g} mm across, usual are {low:g} to {high:g}: "
                "check that its coordinates are millimetres, not cm or inches"
            )
    return found
