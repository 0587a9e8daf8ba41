"""Grids of every orientation that geometry tests run on."""

import numpy as np

from lcsd.geometry import Grid


def _rotation(angles_deg: tuple[float, float, float]) -> np.ndarray:
    x, y, z = np.deg2rad(angles_deg)
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return rz @ ry @ rx


def _grid(direction: np.ndarray, spacing: tuple[float, float, float] = (1.5, 1.5, 1.5)) -> Grid:
    return Grid(
        size=(11, 8, 6),
        spacing=spacing,
        origin=(-30.0, 12.5, -700.0),
        direction=tuple(float(v) for v in direction.ravel()),
    )


GRIDS = {
    "lps": _grid(np.eye(3)),
    "ras": _grid(np.diag([-1.0, -1.0, 1.0])),
    "flipped_z": _grid(np.diag([1.0, 1.0, -1.0])),
    "left_handed": _grid(np.diag([-1.0, 1.0, 1.0])),
    "anisotropic": _grid(np.eye(3), (0.7, 0.9, 2.5)),
    "oblique": _grid(_rotation((10, -20, 35)), (0.7, 0.9, 2.5)),
    "permuted": _grid(np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]), (0.7, 0.9, 2.5)),
}
