"""What the vectors of a displacement field may mean."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.fields import DisplacementField
from lcsd.names import FieldReading

Vectors = NDArray[np.float64]

FIELD_READINGS: tuple[FieldReading, ...] = get_args(FieldReading)


@dataclass(frozen=True)
class _Unit:
    """How numbers along x, y, z are millimetres of LPS on a grid, and back."""

    places: Callable[[Vectors, Grid], Vectors]  # positions to LPS mm
    numbers: Callable[[Vectors, Grid], Vectors]  # LPS mm to positions

    def vectors(self, values: Vectors, grid: Grid) -> Vectors:
        """Return displacements in LPS mm: all units are linear, so a displacement is a difference of positions."""
        return self.places(values, grid) - self.places(np.zeros(3), grid)

    def differences(self, motion: Vectors, grid: Grid) -> Vectors:
        """Return displacements in this unit of displacements in LPS mm."""
        return self.numbers(motion, grid) - self.numbers(np.zeros(3), grid)


_UNITS: dict[str, _Unit] = {
    "displacement": _Unit(lambda v, _: v, lambda v, _: v),
    "negated": _Unit(lambda v, _: -v, lambda v, _: -v),
    "ras": _Unit(lambda v, _: flip_lps_ras(v), lambda v, _: flip_lps_ras(v)),
    "m": _Unit(lambda v, _: 1000.0 * v, lambda v, _: v / 1000.0),
    "voxel": _Unit(lambda v, grid: grid.voxel_to_world(v), lambda v, grid: grid.world_to_voxel(v)),
    "normalised": _Unit(lambda v, grid: grid.normalised_to_world(v), lambda v, grid: grid.world_to_normalised(v)),
    "normalised-corners": _Unit(
        lambda v, grid: grid.voxel_to_world(grid.corner_aligned_to_voxel(v)),
        lambda v, grid: grid.voxel_to_corner_aligned(grid.world_to_voxel(v)),
    ),
    "unit": _Unit(
        lambda v, grid: grid.voxel_to_world(grid.corner_aligned_to_voxel(2 * v - 1)),
        lambda v, grid: (grid.voxel_to_corner_aligned(grid.world_to_voxel(v)) + 1) / 2,
    ),
}


def _parts(reading: str) -> tuple[_Unit, bool, bool]:
    """Return the unit of a reading, whether it is of positions, and whether components have the order z, y, x."""
    words = reading.removeprefix("positions").strip("-")
    unit = words.removesuffix("zyx").strip("-") or "displacement"
    return _UNITS[unit], reading.startswith("positions"), words.endswith("zyx")


MEANINGS: dict[str, str] = {
    "displacement": "displacements in LPS mm",
    "negated": "displacements with the opposite sign, as of moving to fixed points",
    "ras": "displacements in RAS mm",
    "zyx": "displacements with components in the order z, y, x",
    "voxel": "displacements in voxels",
    "voxel-zyx": "displacements in voxels, in the order z, y, x",
    "m": "displacements in metres",
    "normalised": "displacements in normalised coordinates (the grid is 2 wide)",
    "normalised-zyx": "displacements in normalised coordinates, in the order z, y, x",
    "normalised-corners": "displacements in normalised coordinates with align_corners=True (outer voxels are 2 apart)",
    "normalised-corners-zyx": "displacements in normalised coordinates with align_corners=True, in the order z, y, x",
    "unit": "displacements in units of the grid (outer voxels are 1 apart)",
    "unit-zyx": "displacements in units of the grid (outer voxels are 1 apart), in the order z, y, x",
    "positions": "positions in LPS mm, not displacements",
    "positions-ras": "positions in RAS mm, not displacements",
    "positions-zyx": "positions in mm in the order z, y, x, not displacements",
    "positions-voxel": "positions in voxels, not displacements",
    "positions-voxel-zyx": "positions in voxels in the order z, y, x, not displacements",
    "positions-normalised": "positions in normalised coordinates, not displacements",
    "positions-normalised-zyx": "positions in normalised coordinates in the order z, y, x, not displacements",
    "positions-normalised-corners": "positions in normalised coordinates with align_corners=True, not displacements",
    "positions-normalised-corners-zyx": "positions in normalised coordinates with align_corners=True in the order "
    "z, y, x, not displacements",
    "positions-unit": "positions from 0 to 1 between the outer voxels, not displacements",
    "positions-unit-zyx": "positions from 0 to 1 between the outer voxels in the order z, y, x, not displacements",
}

SCALED = frozenset({"displacement", "voxel", "m", "normalised", "normalised-corners", "unit"})
"""Readings that only change the length of vectors: a registration that moves too little looks like one of them."""

MOST_MOTION_MM = 100.0
"""No point of a lung moves this far between two scans that were aligned; positions are often further from 0."""

CLEARLY_LESS = 1 / 3
"""Displacements of the right reading are at most this part of those of a wrong one that are too large."""

SAMPLE = 20_000
"""Voxels of a field that are looked at."""


def displacements(vectors: Vectors, points: Vectors, grid: Grid, reading: str) -> Vectors:
    """Return displacements in LPS mm of stored vectors at points, both (..., 3), under a reading."""
    unit, positions, zyx = _parts(reading)
    values = vectors[..., ::-1] if zyx else vectors
    return unit.places(values, grid) - points if positions else unit.vectors(values, grid)


def stored_as(motion: Vectors, points: Vectors, grid: Grid, reading: str) -> Vectors:
    """Return the numbers that a file holds under a reading, for displacements in LPS mm at points, both (..., 3)."""
    unit, positions, zyx = _parts(reading)
    values = unit.numbers(points + motion, grid) if positions else unit.differences(motion, grid)
    return values[..., ::-1] if zyx else values


def read_as(field: DisplacementField, reading: FieldReading) -> DisplacementField:
    """Return a field whose stored vectors have another meaning as displacements in LPS mm.

    Raises ``BadInputError`` (``wrong_field``) if they are plainly displacements as they are stored.
    """
    if reading == "displacement":
        return field
    found = _by_slices(field, lambda vectors, points: displacements(vectors, points, field.grid, reading))
    _check_size(_median_mm(*_sample(found), field.grid, "displacement"), _sizes(field, ("displacement",)))
    return found


def write_as(field: DisplacementField, reading: FieldReading) -> DisplacementField:
    """Return a field of displacements in LPS mm with vectors of another meaning; the inverse of :func:`read_as`."""
    return _by_slices(field, lambda vectors, points: stored_as(vectors, points, field.grid, reading))


def _by_slices(field: DisplacementField, change: Callable[[Vectors, Vectors], Vectors]) -> DisplacementField:
    """Return a field with vectors that ``change`` makes of the stored ones and the voxels' positions, LPS mm."""
    vectors = np.empty_like(field.vectors)
    for z, points in field.grid.planes():
        vectors[z] = change(field.vectors[z].astype(np.float64), points)
    return DisplacementField(vectors, field.grid)


def _sample(field: DisplacementField) -> tuple[Vectors, Vectors]:
    """Return stored vectors of voxels spread over a field, and the voxels' positions in LPS mm, both (N, 3)."""
    voxels = field.vectors[..., 0].size
    flat = np.arange(0, voxels, max(voxels // SAMPLE, 1))
    zyx = np.stack(np.unravel_index(flat, field.grid.shape), axis=-1).astype(np.float64)
    return field.vectors.reshape(-1, 3)[flat].astype(np.float64), field.grid.voxel_to_world(zyx[:, ::-1])


def _median_mm(vectors: Vectors, points: Vectors, grid: Grid, reading: str) -> float:
    return float(np.median(np.linalg.norm(displacements(vectors, points, grid, reading), axis=-1)))


def _sizes(field: DisplacementField, readings: Iterable[str]) -> dict[str, float]:
    """Return the median displacement of a field under each reading, mm."""
    sample = _sample(field)
    return {reading: _median_mm(*sample, field.grid, reading) for reading in readings}


def _check_size(named: float, others: Mapping[str, float]) -> None:
    if named <= MOST_MOTION_MM:
        return
    found = {reading: size for reading, size in others.items() if size < CLEARLY_LESS * named}
    if found:
        best = min(found, key=lambda reading: found[reading])
        raise wrong_field(best, f"a median displacement of {named:.0f} mm", f"{found[best]:.0f} mm")


def check_size_of_motion(field: DisplacementField) -> None:
    """Refuse a field, read as displacements, whose vectors are plainly something else: positions, or in other units.

    Raises ``BadInputError`` (``wrong_field``) with the better reading if more than half of the voxels move further than
    ``MOST_MOTION_MM``, and by another reading less than a third of that.
    """
    sizes = _sizes(field, ["displacement", *(reading for reading in FIELD_READINGS if reading not in SCALED)])
    _check_size(sizes.pop("displacement"), sizes)


def wrong_field(reading: str, found: str, expected: str, *, option: str = "--field") -> BadInputError:
    """Return the error for a field, given by an option, that another reading explains better."""
    return BadInputError(
        f"the field looks like {MEANINGS[reading]}",
        code="wrong_field",
        field=option,
        expected=expected,
        found=found,
        remedy=f"if it is so, give --field-as {reading}",
    )
