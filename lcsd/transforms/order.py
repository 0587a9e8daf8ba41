"""Evidence of a chain of transforms: whether another order or direction fits landmarks or a reference image better."""

from collections.abc import Sequence
from itertools import combinations, groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lcsd.errors import BadInputError
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.names import FieldReading
from lcsd.readings.motion import FIELD_READINGS, SCALED, displacements, wrong_field
from lcsd.transforms.chain import Part, Points, through

FEWEST = 6
"""Fewer landmarks are no evidence."""

HALF, NEARLY_ALL = 0.5, 0.8
"""Mean error of a better reading at landmarks, as a part of that of the named one; share that it brings nearer."""

LESS = 0.9
"""Mean difference of images under a better reading, as a part of that of the named one.

In the three phantom pairs of the demo, a wrong order has 1.24 to 1.9 times the difference of
the right one, the wrong direction 4 to 7 times.
"""

MUCH_LESS = 0.75
"""The same for another reading of a field, which is refused."""

SAMPLE = 5_000
"""Voxels of the reference that are compared."""

LEAST_HU, AIR_HU, MOST_HU = -1000.0, -950.0, 200.0
"""A CT has voxels below the second; the reference's others are compared, cut off at the first and the third."""

BLOCKS, FEWEST_IN_BLOCK = 3, 20
"""The compared volume is cut into this number of blocks along each axis; those with fewer voxels do not count."""


class Reading(NamedTuple):
    """Another use of the same transforms."""

    kind: str  # order, direction or part
    words: str  # continues "fits better ..."
    chain: list[Part]
    inverse: bool


def _same(a: Part, b: Part) -> bool:
    if a.field is not None and b.field is not None:
        return a.field.grid == b.field.grid and bool(np.array_equal(a.field.vectors, b.field.vectors))
    if a.field is not None or b.field is not None or a.transform.GetName() != b.transform.GetName():
        return False
    return all(
        np.array_equal(getattr(a.transform, name)(), getattr(b.transform, name)())
        for name in ("GetParameters", "GetFixedParameters")
    )


def check_repeated(chain: Sequence[Part], files: Sequence[Path]) -> None:
    """Refuse a transform that is given twice, in one file or in two (``repeated_transform``)."""
    twice = next((file for number, file in enumerate(files) if file in files[:number]), None)
    first = twice
    if twice is None:
        alike = ((a, b) for a, b in combinations(chain, 2) if a.file != b.file and _same(a, b))
        first, twice = next(((a.file, b.file) for a, b in alike), (None, None))
    if twice is not None:
        raise BadInputError(
            "the same transform is given twice",
            code="repeated_transform",
            file=twice,
            field="--transform",
            found=f"also in {first}",
            remedy="leave one of them out",
        )


def other_readings(chain: Sequence[Part], *, inverse: bool) -> list[Reading]:
    """Return other uses of a chain's files: in the other order or direction, without one of them, without all."""
    files = [[*parts] for _, parts in groupby(chain, key=lambda part: part.file)]
    names = [parts[0].file.name for parts in files]
    found = [Reading("direction", "in the other direction (--from, --to)", [*chain], not inverse)]
    if len(files) > 1:
        other = [part for parts in files[::-1] for part in parts]
        found.append(Reading("order", f"in the order {', '.join(names[::-1])}", other, inverse))
        for left_out, name in enumerate(names):
            rest = [part for number, parts in enumerate(files) for part in parts if number != left_out]
            found.append(Reading("part", f"without {name}", rest, inverse))
    return [*found, Reading("part", "without any transform", [], inverse)]


def _carried(chain: Sequence[Part], points: Points, *, inverse: bool) -> tuple[Points, NDArray[np.bool_]] | None:
    """Return points after a chain and where it is defined, (N, 3) and (N,); None if it is not at most of them."""
    if not chain:
        return points, np.ones(len(points), dtype=bool)
    try:
        moved = through(chain, points, inverse=inverse)
    except BadInputError:
        return None
    return moved.points, moved.known


def check_landmarks(moved: Points, start: Points, goal: Points, chain: Sequence[Part], *, inverse: bool) -> None:
    """Refuse an order or direction that brings landmarks to their places clearly worse than another.

    ``moved`` (N, 3) are the points ``start`` after the chain, ``goal`` the other scan's landmarks, LPS mm. Raises
    ``BadInputError`` (``wrong_order``, ``wrong_direction``). If the goal is in another space, no reading is better.
    """
    if len(moved) < FEWEST:
        return
    named, before = np.linalg.norm(moved - goal, axis=1), np.linalg.norm(start - goal, axis=1)
    best: tuple[float, Reading] | None = None
    for reading in other_readings(chain, inverse=inverse):
        carried = None if reading.kind == "part" else _carried(reading.chain, start, inverse=reading.inverse)
        if carried is None or not carried[1].all():
            continue
        errors = np.linalg.norm(carried[0] - goal, axis=1)
        clear = errors.mean() <= HALF * named.mean() and (errors < named).mean() >= NEARLY_ALL
        if clear and errors.mean() < NEARLY_ALL * before.mean() and (best is None or errors.mean() < best[0]):
            best = float(errors.mean()), reading
    if best is not None:
        raise BadInputError(
            f"the landmarks fit the transforms better {best[1].words}",
            code=f"wrong_{best[1].kind}",
            field="--transform",
            expected=f"mean error {best[0]:.2f} mm",
            found=f"{named.mean():.2f} mm",
            remedy="give the transforms from fixed to moving points, in the order in which they move a fixed point",
        )


def better_for_images(
    image: Image, reference: Image, chain: Sequence[Part], *, inverse: bool
) -> tuple[str, float, float] | None:
    """Return another reading of a chain by which an image fits its reference clearly better; None if there is none.

    Also returns both mean differences, of the better and of the named reading, HU. Both are CT, otherwise nothing is
    compared. Better is at most 0.9 of the difference, in four of five blocks of the volume.
    """
    if max(image.array.min(), reference.array.min()) > AIR_HU:
        return None
    points, values = _samples(reference)
    named = _differences(image, points, values, chain, inverse=inverse)
    if named is None:
        return None
    block = _blocks(points)
    best: tuple[str, float, float] | None = None
    for reading in other_readings(chain, inverse=inverse):
        other = _differences(image, points, values, reading.chain, inverse=reading.inverse)
        if other is None:
            continue
        known = np.isfinite(named) & np.isfinite(other)
        if not known.any():
            continue
        mean, before = float(other[known].mean()), float(named[known].mean())
        if mean <= LESS * before and _in_most_blocks(other, named, block, known) and (best is None or mean < best[1]):
            best = reading.words, mean, before
    return best


def check_field(stored: DisplacementField, reading: FieldReading, image: Image, reference: Image) -> None:
    """Refuse a reading of a field by which the moving image fits the fixed one (``reference``) clearly worse.

    ``stored`` has the vectors as they are in the file. Raises ``BadInputError`` (``wrong_field``) with the reading that
    has at most 0.75 of the difference, or 0.5 if it only changes lengths: a method that moves too little looks so.
    """
    if max(image.array.min(), reference.array.min()) > AIR_HU:
        return
    points, values = _samples(reference)
    covered = stored.grid.contains(points)
    if not covered.any():
        return
    points, values = points[covered], values[covered]
    vectors, inside = stored.at(points), np.ones(len(points), dtype=bool)

    def apart(other: str) -> NDArray[np.float64]:
        found = _apart(image, values, points + displacements(vectors, points, stored.grid, other), inside)
        return np.where(np.isfinite(found), found, values - LEAST_HU)  # air around the moving scan

    named, block = apart(reading), _blocks(points)
    found: dict[str, tuple[float, float]] = {}
    for other in FIELD_READINGS:
        differences = apart(other)
        mean, before = float(differences.mean()), float(named.mean())
        limit = HALF if {other, reading} <= SCALED else MUCH_LESS
        if other != reading and mean <= limit * before and _in_most_blocks(differences, named, block, inside):
            found[other] = mean, before
    if found:
        best = min(found, key=lambda other: found[other][0])
        mean, before = found[best]
        raise wrong_field(best, f"a mean difference of {before:.0f} HU between the scans", f"{mean:.0f} HU")


def _samples(reference: Image) -> tuple[Points, NDArray[np.float64]]:
    """Return voxels of a CT that are not air, spread at random: LPS mm (N, 3), and HU (N,)."""
    flat = np.flatnonzero(reference.array > AIR_HU)
    if len(flat) > SAMPLE:
        flat = np.random.default_rng(0).choice(flat, SAMPLE, replace=False)
    zyx = np.stack(np.unravel_index(flat, reference.grid.shape), axis=-1)
    values = np.clip(reference.array.reshape(-1)[flat].astype(np.float64), LEAST_HU, MOST_HU)
    return reference.grid.voxel_to_world(zyx[:, ::-1].astype(np.float64)), values


def _differences(
    image: Image, points: Points, values: NDArray[np.float64], chain: Sequence[Part], *, inverse: bool
) -> NDArray[np.float64] | None:
    """Return ``|image - values|`` at points, HU (N,): NaN where it is unknown; None if it is at most of them."""
    carried = _carried(chain, points, inverse=inverse)
    if carried is None:
        return None
    return _apart(image, values, *carried)


def _apart(image: Image, values: NDArray[np.float64], at: Points, known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return ``|image - values|`` at places (N, 3), HU (N,): NaN where it is not known."""
    known = known & image.grid.contains(at)
    zyx = image.grid.world_to_voxel(at)[:, ::-1].T
    found = np.clip(map_coordinates(image.array, zyx, order=1, mode="nearest", output=np.float64), LEAST_HU, MOST_HU)
    return np.where(known, np.abs(found - values), np.nan)


def _blocks(points: Points) -> NDArray[np.int64]:
    """Return the number of the block in which each point lies, (N,)."""
    low, high = points.min(axis=0), points.max(axis=0)
    cell = np.minimum((BLOCKS * (points - low) / np.maximum(high - low, 1e-9)).astype(np.int64), BLOCKS - 1)
    return np.asarray(cell @ BLOCKS ** np.arange(3))


def _in_most_blocks(
    other: NDArray[np.float64], named: NDArray[np.float64], block: NDArray[np.int64], known: NDArray[np.bool_]
) -> bool:
    counts = np.bincount(block[known], minlength=BLOCKS**3)
    sums = [np.bincount(block[known], values[known], minlength=BLOCKS**3) for values in (other, named)]
    counted = counts >= FEWEST_IN_BLOCK
    return bool(counted.any() and (sums[0] < sums[1])[counted].mean() >= NEARLY_ALL)
