"""A motion as an affine start plus smooth displacement grids, evaluated anywhere."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.rasterise import sample
from lcsd.geometry import Grid

CHUNK_POINTS = 1 << 20
"""Points evaluated at a time: bounds the memory of a full-size field to some 100 MB."""


def covering_grid(points: NDArray[np.float64], *, spacing_mm: float, margin_mm: float) -> Grid:
    """Return an isotropic, axis-aligned grid over the box of ``points`` (N, 3) plus a margin."""
    low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
    size = np.maximum(np.ceil((high - low) / spacing_mm).astype(int), 1)
    return Grid.centred(
        (low + high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=spacing_mm
    )


def nodes(grid: Grid) -> NDArray[np.float64]:
    """Return the voxel centres of a grid in raster order (z, y, x), LPS mm, shape (V, 3)."""
    where = np.indices(grid.shape).reshape(3, -1).T[:, ::-1]
    world: NDArray[np.float64] = grid.voxel_to_world(where.astype(np.float64))
    return world


def clamped(grid: Grid, points: Tensor) -> Tensor:
    """Return normalised coordinates of LPS points, moved to the nearest voxel centre's box.

    A displacement grid is constant beyond its border: a sudden zero there would be a fold.
    """
    limit = points.new_tensor([1 - 1 / n for n in grid.size])
    normalised: Tensor = grid.world_to_normalised(points)
    return torch.maximum(torch.minimum(normalised, limit), -limit)


AFFINE_MIN_POINTS = 12
"""An affine motion has 12 numbers and a point gives 3; with fewer than this many points the fit
would follow their noise, and the mean motion alone is returned."""

AFFINE_RCOND = 1e-6
"""Singular values below this share of the largest count as none: a flat cloud gets no slope
across its plane."""


@dataclass(frozen=True)
class Motion:
    """The motion ``y = x + u(x)`` with ``u = (x - centre) slope + offset + sum of layers``.

    Parameters
    ----------
    centre
        LPS mm, shape (3,).
    slope
        Shape (3, 3), no unit: row a is the motion per mm along axis a.
    offset
        Motion of the centre, shape (3,), mm.
    layers
        Displacement grids: the grid and its vectors, shape (1, 3, D, H, W), mm.
    """

    centre: NDArray[np.float64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    layers: list[tuple[Grid, Tensor]] = field(default_factory=list)

    def layered(self, points: Tensor) -> Tensor:
        """Return the summed layers at LPS points (N, 3), shape (N, 3), mm."""
        total = torch.zeros_like(points)
        for grid, vectors in self.layers:
            total += sample(vectors, clamped(grid, points)[None])[0].T
        return total

    def at(self, points: NDArray[Any], *, device: str = "cpu") -> NDArray[np.float32]:
        """Return the displacement at LPS points (N, 3), float32, shape (N, 3), mm."""
        result = np.empty((len(points), 3), dtype=np.float32)
        for start in range(0, len(points), CHUNK_POINTS):
            part = np.asarray(points[start : start + CHUNK_POINTS], dtype=np.float64)
            layers = self.layered(torch.as_tensor(part, dtype=torch.float32, device=device))
            affine = (part - self.centre) @ self.slope + self.offset
            result[start : start + CHUNK_POINTS] = affine + layers.cpu().numpy()
        return result


def fit_affine(points: NDArray[np.float64], vectors: NDArray[Any]) -> Motion:
    """Return the least-squares affine motion of points (N, 3) that move by vectors (N, 3)."""
    centre, offset = points.mean(axis=0), vectors.mean(axis=0, dtype=np.float64)
    slope = np.zeros((3, 3))
    if len(points) >= AFFINE_MIN_POINTS:
        slope = np.linalg.lstsq(points - centre, vectors - offset, rcond=AFFINE_RCOND)[0]
    return Motion(centre, slope, offset)
