"""Random motions to train on: the phantom's breathing, motions of real lungs, and smooth noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from lcsd.errors import BadInputError
from lcsd.io.tables import numbers
from lcsd.io.text_tables import read_columns
from lcsd.numerics.tps import ThinPlateSpline
from lcsd.phantom.motion import draw_motion, scaled

Points = NDArray[np.float64]
Field = Callable[[Points], Points]
"""Displacements (N, 3), mm, at points (N, 3)."""

NODES = 24
"""Nodes along each axis of a box on which the spline of a real motion is kept."""

SPLINE_POINTS = 1_500
SPLINE_SMOOTHING_MM2 = 800.0
"""Keypoints of a real motion and the smoothing of the spline through them: they are predicted, with outliers."""

BREATHING_MM = (15.0, 80.0)
"""Push of the diaphragm; the demo's phantoms have 32 to 45 mm."""

FINE_MM = (1.0, 8.0)
"""Size of the phantom's fine deformation; the demo's have 3.5 mm."""

NOISE_MM = (0.0, 4.0)
NOISE_SPACING_MM = (45.0, 110.0)
"""Standard deviation of the smooth noise, and the distance of its random vectors."""

REAL_SCALES = (0.7, 2.2)
LEAST_DETERMINANT = 0.15
"""A motion that compresses tissue further is made smaller."""

MOST_SHRINKS = 12
SHRINK = 0.8
PROBES = 13
"""Points along each axis at which the determinant is looked at."""


@dataclass(frozen=True)
class RealMotion:
    """A motion of real lungs in the unit box of its keypoints, displacements relative to the box."""

    grid: Points  # shape (3, NODES, NODES, NODES), along x, y, z

    def at(self, places: Points) -> Points:
        """Return displacements (N, 3) at places (N, 3) of the unit box."""
        where = np.clip(places, 0, 1).T * (NODES - 1)
        return np.stack([map_coordinates(part, where, order=1) for part in self.grid], axis=1)


def real_motion(path: Path) -> RealMotion:
    """Return the motion in a table of keypoints: six columns after one header line, fixed and moving x, y, z, mm.

    Raises ``BadInputError`` (``bad_table``) for any other content, and as :func:`lcsd.io.text_tables.read_columns`.
    """
    frame = read_columns(path)
    try:
        table = numbers(frame, [*frame.columns][:6])
    except ValueError as error:
        raise BadInputError(f"not a table of keypoints ({error})", code="bad_table", file=path) from error
    if table.shape[1] != 6 or len(table) < 4 or not np.isfinite(table).all():
        raise BadInputError(
            "not a table of keypoints",
            code="bad_table",
            file=path,
            expected="at least 4 rows of 6 finite numbers",
            found=f"{table.shape[0]} rows of {table.shape[1]}",
        )
    fixed, vectors = table[:, :3], table[:, 3:] - table[:, :3]
    rows = np.random.default_rng(0).permutation(len(table))[:SPLINE_POINTS]
    spline = ThinPlateSpline.fit(fixed[rows], vectors[rows], smoothing=SPLINE_SMOOTHING_MM2)
    low, size = fixed.min(axis=0), np.ptp(fixed, axis=0)
    axis = np.linspace(0, 1, NODES)
    lattice = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    found = spline.evaluate(lattice * size + low) / size
    return RealMotion(np.ascontiguousarray(found.T.reshape(3, NODES, NODES, NODES)))


def breathing_field(rng: np.random.Generator, box: Points) -> Field:
    """Return a motion as phantoms have, of half to twice their size."""
    motion = draw_motion(rng, dome_z=float(box[0, 2] + 0.25 * np.ptp(box[:, 2])))
    motion = scaled(motion, smooth=rng.uniform(*BREATHING_MM), fine=rng.uniform(*FINE_MM))
    return lambda points: motion.displacement(points)[0]


def real_field(rng: np.random.Generator, box: Points, motions: Sequence[RealMotion]) -> Field:
    """Return one of the real motions, or a mixture of two, scaled and mirrored, in the box of an anatomy."""
    chosen = rng.choice(len(motions), 2)
    share = rng.choice([0.0, rng.uniform(0, 0.5)])
    scale = rng.uniform(*REAL_SCALES)
    mirror = rng.choice([-1.0, 1.0])
    size = np.ptp(box, axis=0)
    signs = np.array([mirror, 1.0, 1.0])

    def field(points: Points) -> Points:
        places = 0.5 + ((points - box.mean(axis=0)) / size) * signs
        both = [motions[which].at(places) for which in chosen]
        return scale * ((1 - share) * both[0] + share * both[1]) * signs * size

    return field


def noise_field(rng: np.random.Generator, box: Points) -> Field:
    """Return a smooth random motion: cubic interpolation of random vectors far apart."""
    spacing, size = rng.uniform(*NOISE_SPACING_MM), rng.uniform(*NOISE_MM)
    count = np.ceil(np.ptp(box, axis=0) / spacing).astype(int) + 4
    vectors = size * rng.standard_normal((3, *count))
    low = box[0] - 1.5 * spacing

    def field(points: Points) -> Points:
        where = ((points - low) / spacing).T
        return np.stack([map_coordinates(part, where, order=3, mode="nearest") for part in vectors], axis=1)

    return field


def least_determinant(field: Field, box: Points) -> float:
    """Return the smallest det J of a motion on a lattice over a box."""
    axes = [np.linspace(low, high, PROBES) for low, high in box.T]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    moved = field(lattice.reshape(-1, 3)).reshape(lattice.shape) + lattice
    columns = [np.gradient(moved, axis, axis=number) for number, axis in enumerate(axes)]
    return float(np.linalg.det(np.stack(columns, axis=-1)).min())


def random_field(rng: np.random.Generator, box: Points, motions: Sequence[RealMotion]) -> Field:
    """Return a random motion of the anatomy in a box (2, 3), body mm, that folds nowhere."""
    main = real_field(rng, box, motions) if motions and rng.uniform() < 0.5 else breathing_field(rng, box)
    noise = noise_field(rng, box)
    size = 1.0
    for _ in range(MOST_SHRINKS):
        if least_determinant(lambda points: size * (main(points) + noise(points)), box) >= LEAST_DETERMINANT:  # noqa: B023
            break
        size *= SHRINK
    return lambda points: size * (main(points) + noise(points))
