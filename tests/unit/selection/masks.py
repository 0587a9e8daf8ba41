"""Realistic lung masks in closed form on any grid, moved rigidly, breathed, cut."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image
from lcsd.phantom.anatomy import draw_body, lung_levels
from lcsd.phantom.motion import rotation_matrix
from lcsd.selection.overlap import lattice

Points = NDArray[np.float64]
BODY = draw_body(np.random.default_rng(0))
EXTENT = np.array([330.0, 240.0, 330.0])


def rigid(angles_deg: tuple[float, float, float], shift: tuple[float, float, float]) -> RigidTransform:
    return RigidTransform(rotation_matrix(np.array(angles_deg)), np.array(shift))


def grid_around(
    centre: Points, spacing: tuple[float, float, float] = (4.5, 4.5, 4.5), matrix: Points | None = None
) -> Grid:
    axes = np.eye(3) if matrix is None else matrix
    size = np.ceil(np.abs(axes.T) @ EXTENT / spacing).astype(int)
    origin = centre - axes @ ((size - 1) / 2 * np.asarray(spacing))
    return Grid(
        (int(size[0]), int(size[1]), int(size[2])),
        spacing,
        (float(origin[0]), float(origin[1]), float(origin[2])),
        tuple(axes.ravel()),
    )


def lungs(grid: Grid, moved: RigidTransform | None = None, breath_mm: float = 0.0) -> Image:
    """Lungs of the phantom's body; ``moved`` maps its space to the grid's.

    A breath lifts the diaphragm by up to ``breath_mm`` and leaves the apex where it is.
    """
    points = lattice(grid)
    body = moved.inverse().apply(points) if moved else points.copy()
    body[:, 2] -= breath_mm / (1 + np.exp((body[:, 2] + 60) / 25))
    inside = lung_levels(np.ascontiguousarray(body), BODY) > 0
    return Image(inside.reshape(grid.shape), grid)


def cut(mask: Image, low: int, high: int = 0) -> Image:
    """The mask of a scan that lacks its first and last slices."""
    array = mask.array[low : mask.array.shape[0] - high]
    first = mask.grid.voxel_to_world(np.array([0.0, 0.0, low]))
    grid = Grid(
        (*mask.grid.size[:2], len(array)),
        mask.grid.spacing,
        (float(first[0]), float(first[1]), float(first[2])),
        mask.grid.direction,
    )
    return Image(array, grid)


def without(mask: Image, lost: Callable[[Points], NDArray[np.bool_]]) -> Image:
    """The mask without the points that ``lost`` names in its own space, LPS mm."""
    gone = lost(lattice(mask.grid)).reshape(mask.array.shape)
    return Image(mask.array & ~gone, mask.grid)


def miss_mm(mask: Image, found: RigidTransform, truth: RigidTransform) -> float:
    """Largest distance between where two transforms bring the mask's voxels."""
    points = lattice(mask.grid)[mask.array.ravel()]
    return float(np.linalg.norm(found.apply(points) - truth.apply(points), axis=1).max())
