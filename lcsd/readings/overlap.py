"""Evidence of two clouds of one patient: they overlap and have the same shape, in one reading of their numbers only."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras

Points = NDArray[np.float64]

OTHERS: tuple[tuple[str, Callable[[Points], Points]], ...] = (
    (
        "one of the clouds is in RAS: give --frame ras --moving-frame lps, or --frame lps --moving-frame ras",
        flip_lps_ras,
    ),
    ("one of the clouds has its columns in the order z, y, x: exchange them", lambda points: points[:, ::-1]),
)
"""Readings of the moving cloud against the fixed one: what to do, and the conversion."""

SAMPLE, TARGETS = 2000, 20_000
"""Points of each cloud whose nearest neighbours are measured, and points of the other cloud that may be neighbours."""

FEWEST = 50
"""Smaller clouds have no shape."""

CLEARLY_NEARER = 0.5
"""Mean distance between the clouds in the right reading, as a part of that in a wrong one."""

SAME_SHAPE = 0.95
"""The same part once both middles are on each other, for a reading that also brings the clouds nearer: breathing
changes the shape less than a turn by half a circle."""

BETTER_SHAPE = 0.85
"""Both parts at which the shape alone decides between LPS and RAS, for clouds around the origin."""

SAME_SIZE = 1.5
"""Only clouds whose standard deviations differ by less than this factor, along each axis, have comparable shapes."""

FEW, MOST = 0.5, 0.9
"""Shares of a cloud in an image, below and from which it is badly and well placed."""


def _apart(fixed: Points, moving: Points) -> float:
    """Return the mean distance of points of two clouds to the other cloud, mm."""
    from scipy.spatial import cKDTree

    there = cKDTree(moving).query(fixed[:SAMPLE])[0].mean()
    return float(there + cKDTree(fixed).query(moving[:SAMPLE])[0].mean()) / 2


def _same_size(fixed: Points, moving: Points) -> bool:
    factors = np.abs(np.log(np.maximum(fixed.std(axis=0), 1e-6) / np.maximum(moving.std(axis=0), 1e-6)))
    return bool((factors < np.log(SAME_SIZE)).all())


def _some(points: NDArray[np.floating]) -> Points:
    chosen = np.random.default_rng(0).permutation(len(points))[:TARGETS]
    return np.asarray(points[chosen], dtype=np.float64)


def check_overlap(fixed: NDArray[np.floating], moving: NDArray[np.floating], *, file: Path) -> None:
    """Refuse two clouds, (N, 3) and (M, 3), read as LPS mm, that another reading of one of them fits clearly better.

    It must halve the mean distance to the other cloud, and also fit better with both middles on each other, since a
    table or a centre of the scanner may move a cloud anywhere. For LPS against RAS, a clearly better shape needs less.
    Raises ``BadInputError`` (``frame_mismatch``).
    """
    if min(len(fixed), len(moving)) < FEWEST:
        return
    here, there = _some(fixed), _some(moving)
    named, shape = _apart(here, there), _apart(here - here.mean(axis=0), there - there.mean(axis=0))
    for remedy, read in OTHERS:
        other = read(there)
        near = _apart(here, other)
        if near >= BETTER_SHAPE * named:  # so, too, where the clouds are equal
            continue
        alike = _apart(here - here.mean(axis=0), other - other.mean(axis=0))
        if (read is flip_lps_ras and alike < BETTER_SHAPE * shape and _same_size(here, other)) or (
            near < CLEARLY_NEARER * named and alike < SAME_SHAPE * shape
        ):
            raise BadInputError(
                "the clouds are in different frames",
                code="frame_mismatch",
                file=file,
                field="fixed, moving",
                expected=f"{near:.1f} mm from point to cloud",
                found=f"{named:.1f} mm",
                remedy=remedy,
            )


def check_in_image(fixed: NDArray[np.floating], grid: Grid, *, file: Path) -> None:
    """Refuse a fixed cloud (N, 3), read as LPS mm, that is in the image of its field in another reading only.

    Raises ``BadInputError`` (``frame_mismatch``) if less than half of the points are in the image, and nine of ten by
    another reading.
    """
    points = np.asarray(fixed, dtype=np.float64)
    named = float(grid.contains(points).mean())
    if named >= FEW:
        return
    others = (
        ("both clouds may be in RAS: give --frame ras", flip_lps_ras(points)),
        ("the numbers may be voxels of the image: convert them to mm", grid.voxel_to_world(points)),
        ("the columns may be in the order z, y, x: exchange them", points[:, ::-1]),
    )
    for remedy, read in others:
        share = float(grid.contains(read).mean())
        if share >= MOST:
            raise BadInputError(
                "the fixed cloud is not in the image of the field",
                code="frame_mismatch",
                file=file,
                field="--grid",
                expected=f"{share:.0%} of the points inside",
                found=f"{named:.0%}",
                remedy=remedy,
            )
