"""A motion as an affine start plus smooth displacement grids, evaluated anywhere."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.places import sampled
from lcsd.geometry import Grid, constant_like

if TYPE_CHECKING:
    from torch import Tensor

Values = TypeVar("Values", bound=Any)
"""A numpy array, or a torch tensor where the work is torch's."""

CHUNK_POINTS = 1 << 20
"""Points evaluated at a time: bounds the memory of a full-size field to some 100 MB."""


def covering_grid(points: NDArray[np.float64], *, spacing_mm: float, margin_mm: float) -> Grid:
    """Return an isotropic, axis-aligned grid over the box of ``points`` (N, 3) plus a margin."""
    low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
    size = np.maximum(np.ceil((high - low) / spacing_mm).astype(int), 1)
    return Grid.centred((low + high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=spacing_mm)


def nodes(grid: Grid) -> NDArray[np.float64]:
    """Return the voxel centres of a grid in raster order (z, y, x), LPS mm, shape (V, 3)."""
    where = np.indices(grid.shape).reshape(3, -1).T[:, ::-1]
    world: NDArray[np.float64] = grid.voxel_to_world(where.astype(np.float64))
    return world


def clamped(grid: Grid, points: Values) -> Values:
    """Return normalised coordinates of LPS points, moved to the nearest voxel centre's box.

    A displacement grid is constant beyond its border: a sudden zero there would be a fold.
    """
    limit = constant_like(1 - 1 / np.asarray(grid.size), points)
    return grid.world_to_normalised(points).clip(-limit, limit)


def sampled_vectors(grid: Grid, vectors: Any, points: Any) -> Any:
    """Return the vectors (1, 3, D, H, W) of a displacement grid at LPS points (N, 3), shape (N, 3).

    Points are an array or a tensor, and so is the result; vectors are either.
    """
    if isinstance(points, np.ndarray):
        return sampled(np.asarray(vectors)[0], clamped(grid, points)).T
    import torch

    from lcsd.divroc.rasters import sample

    volume = torch.as_tensor(vectors, device=points.device)
    return sample(volume, clamped(grid, points)[None])[0].T


AFFINE_MIN_POINTS = 12
"""An affine motion has 12 numbers and a point gives 3; with fewer than this many points the fit
would follow their noise, and the mean motion alone is returned."""

AFFINE_RCOND = 1e-6
"""Singular values below this share of the largest count as none: a flat cloud gets no slope across its plane."""


ORIGIN_ROUNDS = 12
"""Each round leaves at most the share of an error by which neighbouring points move differently, a third in lungs."""

VELOCITY_STEPS = 4
"""Midpoint steps per unit of time: a motion of 50 mm comes back to 0.1 mm."""


@dataclass(frozen=True)
class Velocity:
    """A stationary velocity field: motion that can be undone by going backwards."""

    grid: Grid  # where the vectors stand; constant beyond
    vectors: "Tensor"  # shape (1, 3, D, H, W), mm per unit of time

    def at(self, points: "Tensor") -> "Tensor":
        """Return the velocity at LPS points (N, 3), shape (N, 3)."""
        velocity: Tensor = sampled_vectors(self.grid, self.vectors, points)
        return velocity

    def carry(self, points: "Tensor", time: float) -> "Tensor":
        """Return where LPS points (N, 3) are after a time; negative goes back."""
        count = max(1, round(VELOCITY_STEPS * abs(time)))
        step = time / count
        for _ in range(count):
            halfway = points + 0.5 * step * self.at(points)
            points = points + step * self.at(halfway)
        return points


@dataclass(frozen=True)
class LayeredMotion:
    """The motion ``y = x + u(x)``: an affine start, then either grids or a velocity.

    ``u = (x - centre) slope + offset + sum of layers``, or the affine motion and then the flow of the velocity over
    unit time.
    """

    centre: NDArray[np.float64]  # LPS mm, shape (3,)
    slope: NDArray[np.float64]  # shape (3, 3), no unit: row a is the motion per mm along axis a
    offset: NDArray[np.float64]  # motion of the centre, shape (3,), mm
    layers: tuple[tuple[Grid, Any], ...] = ()  # displacement grids: the grid and its vectors, (1, 3, D, H, W), mm
    velocity: Velocity | None = None  # instead of layers; such a motion has an inverse

    def affine(self) -> "LayeredMotion":
        """Return the affine start alone."""
        return LayeredMotion(self.centre, self.slope, self.offset)

    def with_layer(self, grid: Grid, vectors: Any) -> "LayeredMotion":
        """Return this motion plus a displacement grid, whose vectors are an array or a tensor."""
        return replace(self, layers=(*self.layers, (grid, vectors)))

    def with_velocity(self, velocity: Velocity) -> "LayeredMotion":
        """Return the affine start followed by a velocity."""
        return replace(self, velocity=velocity)

    def layered(self, points: Values) -> Values:
        """Return the summed layers at LPS points (N, 3), an array or a tensor; of the same shape and kind, mm."""
        total: Any = 0 * points
        for grid, vectors in self.layers:
            total += sampled_vectors(grid, vectors, points)
        result: Values = total
        return result

    def origins_of(self, points: NDArray[np.float64], *, device: str = "cpu") -> NDArray[np.float64]:
        """Return the points (N, 3) that move to LPS points (N, 3), where the motion does not fold.

        A fixed point in ``ORIGIN_ROUNDS`` rounds, with the affine part undone exactly.
        """
        undone = np.linalg.inv(np.eye(3) + self.slope)
        found = self.centre + (points - self.centre - self.offset) @ undone
        if self.layers:
            for _ in range(ORIGIN_ROUNDS):
                found = found - (found + self.at(found, device=device) - points) @ undone
        return found

    def _part(self, points: NDArray[np.float64], device: str) -> NDArray[np.float64]:
        affine = (points - self.centre) @ self.slope + self.offset
        if self.velocity is None and device == "cpu":
            return affine + self.layered(points.astype(np.float32))
        import torch

        if self.velocity is None:
            places = torch.as_tensor(points, dtype=torch.float32, device=device)
            return affine + self.layered(places).cpu().numpy()
        start = torch.as_tensor(points + affine, dtype=torch.float32, device=device)
        carried = self.velocity.carry(start, 1.0) - start
        return affine + carried.cpu().numpy()

    def _part_back(self, points: NDArray[np.float64], device: str) -> NDArray[np.float64]:
        carried = np.zeros_like(points)
        if self.velocity is not None:
            import torch

            start = torch.as_tensor(points, dtype=torch.float32, device=device)
            carried = (self.velocity.carry(start, -1.0) - start).cpu().numpy()
        left = points + carried - self.centre - self.offset
        return self.centre + left @ np.linalg.inv(np.eye(3) + self.slope) - points

    def at(self, points: NDArray[Any], *, device: str = "cpu") -> NDArray[np.float32]:
        """Return the displacement at LPS points (N, 3), float32, shape (N, 3), mm."""
        return _in_chunks(self._part, points, device)

    def inverse_at(self, points: NDArray[Any], *, device: str = "cpu") -> NDArray[np.float32]:
        """Return ``x - y`` for LPS points y (N, 3): the way back, float32, shape (N, 3), mm.

        Raises ``ValueError`` if the motion has layers: their inverse is not known.
        """
        if self.layers:
            raise ValueError("a motion of displacement grids has no known inverse")
        return _in_chunks(self._part_back, points, device)


def _in_chunks(
    part: Callable[[NDArray[np.float64], str], NDArray[np.float64]], points: NDArray[Any], device: str
) -> NDArray[np.float32]:
    result = np.empty((len(points), 3), dtype=np.float32)
    for start in range(0, len(points), CHUNK_POINTS):
        rows = slice(start, start + CHUNK_POINTS)
        result[rows] = part(np.asarray(points[rows], dtype=np.float64), device)
    return result


def fit_affine(points: NDArray[np.float64], vectors: NDArray[Any]) -> LayeredMotion:
    """Return the least-squares affine motion of points (N, 3) that move by vectors (N, 3)."""
    centre, offset = points.mean(axis=0), vectors.mean(axis=0, dtype=np.float64)
    slope = np.zeros((3, 3))
    if len(points) >= AFFINE_MIN_POINTS:
        slope = np.linalg.lstsq(points - centre, vectors - offset, rcond=AFFINE_RCOND)[0]
    return LayeredMotion(centre, slope, offset)
