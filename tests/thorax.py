"""A small thorax as a function of position, for tests of the imaging stages on any grid."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image

CENTRE = np.array([5.0, -150.0, -300.0])
"""LPS mm of the thorax' middle in the space of the first scan."""

LUNG_RADII = np.array([34.0, 45.0, 62.0])
LUNG_X = 48.0
VESSEL_MM = 1.8
TUBES, TUBE_POINTS, TUBE_MM = 90, 40, 32.0


def _tree(seed: int) -> cKDTree:
    """Return points along straight tubes inside both lungs, in thorax coordinates."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(-0.6, 0.6, (TUBES, 3)) * LUNG_RADII
    middle[:, 0] += LUNG_X * np.where(np.arange(TUBES) % 2, 1.0, -1.0)
    along = rng.normal(size=(TUBES, 3))
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    steps = np.linspace(-TUBE_MM / 2, TUBE_MM / 2, TUBE_POINTS)
    return cKDTree((middle[:, None] + steps[:, None] * along[:, None]).reshape(-1, 3))


TREE = _tree(11)


def _lung(p: NDArray[np.float64], side: float) -> NDArray[np.bool_]:
    return (((p - [side * LUNG_X, 0, 0]) / LUNG_RADII) ** 2).sum(axis=-1) < 1


def thorax(points: NDArray[np.float64], *, lungs: str = "both") -> dict[str, NDArray[np.generic]]:
    """Return ``hu``, ``lungs`` and ``vessels`` at LPS points (N, 3) of the first scan.

    Table, stomach gas and a trachea are there to be left out of the lungs.
    """
    p = points - CENTRE
    x, y, z = p.T
    hu = np.full(len(p), -1000.0)
    hu[(np.abs(y - 92) < 11) & (np.abs(x) < 150)] = -920.0  # table: foam between two shells
    hu[(np.abs(np.abs(y - 92) - 10) < 1.5) & (np.abs(x) < 150)] = -200.0
    hu[(x / 112) ** 2 + (y / 74) ** 2 < 1] = 40.0
    trachea = (x**2 + (y - 5) ** 2 < 7.5**2) & (z > -5)
    sides = {"both": (-1.0, 1.0), "right": (-1.0,)}[lungs]
    inside = np.any([_lung(p, side) for side in sides], axis=0)
    hu[inside] = -860.0
    hu[((p - [40, -20, -92]) ** 2).sum(axis=1) < 20**2] = -985.0  # stomach gas
    hu[trachea] = -985.0
    near = np.full(len(p), np.inf)
    near[inside], _ = TREE.query(p[inside], distance_upper_bound=4.0)
    vessels = inside & (near < VESSEL_MM)
    share = np.clip(0.5 - (near - VESSEL_MM) / 1.4, 0, 1) * inside
    hu += share * (40 - hu)
    return {"hu": hu, "lungs": inside, "vessels": vessels}


def thorax_grid(
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), direction: NDArray[np.float64] | None = None
) -> Grid:
    """Return a grid of any orientation around the thorax."""
    matrix = np.eye(3) if direction is None else direction
    reach = np.abs(matrix.T) @ np.array([260.0, 220.0, 190.0])
    size = np.ceil(reach / spacing).astype(int)
    half = matrix @ ((size - 1) / 2 * np.asarray(spacing))
    return Grid(
        size=(int(size[0]), int(size[1]), int(size[2])),
        spacing=spacing,
        origin=tuple(float(v) for v in CENTRE - half),
        direction=tuple(matrix.ravel()),
    )


def scan(grid: Grid, *, motion: RigidTransform | None = None, lungs: str = "both", seed: int = 0) -> dict[str, Image]:
    """Return ``hu`` (int16, with noise), ``lungs`` and ``vessels`` of the thorax on a grid.

    Parameters
    ----------
    motion
        Maps LPS of the first scan to LPS of ``grid``'s scan.
    """
    z, y, x = np.indices(grid.shape).reshape(3, -1).astype(np.float64)
    world = grid.voxel_to_world(np.stack([x, y, z], axis=1))
    found = thorax(motion.inverse().apply(world) if motion else world, lungs=lungs)
    noise = np.random.default_rng(seed).normal(0, 20, len(world))
    hu = np.clip(found["hu"] + noise, -1024, 3000).astype(np.int16)
    arrays = {"hu": hu, "lungs": found["lungs"], "vessels": found["vessels"]}
    return {name: Image(array.reshape(grid.shape), grid) for name, array in arrays.items()}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())
