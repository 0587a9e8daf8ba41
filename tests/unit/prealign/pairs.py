"""A thorax and the same thorax moved rigidly, on grids of any orientation."""

import numpy as np

from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image
from lcsd.settings.prealign import PrealignSettings
from tests.grids import GRIDS, _rotation
from tests.thorax import CENTRE, scan, thorax_grid

SMALL = PrealignSettings(size=(64, 44, 50), spacing_mm=3.0, rounds=3)
MOTION = RigidTransform(_rotation((3, -4, 6)), np.array([-300.0, 40.0, 900.0]))
"""The follow-up is in another frame."""


def moved_scan(name: str, spacing: tuple[float, float, float], motion: RigidTransform = MOTION) -> dict[str, Image]:
    """Return the follow-up on a grid of the given orientation around the moved thorax."""
    there = thorax_grid(spacing, GRIDS[name].matrix)
    middle = motion.apply(CENTRE)
    origin = np.asarray(there.origin) - CENTRE + middle
    grid = Grid(there.size, there.spacing, tuple(float(v) for v in origin), there.direction)
    return scan(grid, motion=motion, seed=1)


def lung_points(case: dict[str, Image]) -> np.ndarray:
    """Return LPS mm of some lung voxels, shape (N, 3)."""
    voxels = np.argwhere(case["lungs"].array)[::101, ::-1]
    return case["lungs"].grid.voxel_to_world(voxels.astype(float))


def error_mm(rigid: RigidTransform, case: dict[str, Image]) -> float:
    """Return the largest distance from MOTION in the lungs."""
    points = lung_points(case)
    return float(np.linalg.norm(rigid.apply(points) - MOTION.apply(points), axis=1).max())
