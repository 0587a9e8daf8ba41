"""The dense motion that corrfield's stages build up, in voxels of the working box."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, uniform_filter

from lcsd.geometry import Grid, fit_rigid
from lcsd.images import DisplacementField
from lcsd.tps import ThinPlateSpline

Array = NDArray[Any]

MIN_SPLINE_POINTS = 5
"""With fewer matches the stage's motion is their mean: a spline would only follow their noise."""


def _sample(volume: Array, places: Array) -> Array:
    """Return a volume (z, y, x) at voxel positions (3, ...), linear, continued at the border."""
    found: Array = map_coordinates(volume, places, order=1, mode="nearest")
    return found


def patch_means(image: Array, points: Array, radius: int) -> NDArray[np.float64]:
    """Return the mean intensity of the cube around each point (K, 3), whole voxels (z, y, x)."""
    means = uniform_filter(image, 2 * radius + 1, mode="nearest")
    found: NDArray[np.float64] = means[tuple(points.astype(int).T)].astype(np.float64)
    return found


@dataclass(frozen=True)
class Motion:
    """A displacement per voxel of the box.

    Parameters
    ----------
    vectors
        Shape (3, Z, Y, X), float32, components z, y, x in voxels.
    """

    vectors: NDArray[np.float32]

    @classmethod
    def identity(cls, shape: tuple[int, ...]) -> "Motion":
        """Return the motion that moves nothing."""
        return cls(np.zeros((3, *shape), np.float32))

    def _places(self) -> Array:
        return np.indices(self.vectors.shape[1:], dtype=np.float32) + self.vectors

    def at(self, points: Array) -> NDArray[np.float64]:
        """Return the displacement at voxel positions (K, 3), shape (K, 3)."""
        return np.stack([_sample(v, points.T) for v in self.vectors], axis=1).astype(np.float64)

    def warp(self, image: Array) -> NDArray[np.float32]:
        """Return ``image(x + u(x))`` on the box."""
        if not self.vectors.any():
            return np.asarray(image, np.float32)
        return _sample(image, self._places()).astype(np.float32)

    def composed(
        self, points: Array, vectors: Array, *, grid: Grid, corner: Array, rigid: bool,
        smoothing: float, step: int,
    ) -> "Motion":  # fmt: skip
        """Return ``u(x) = v(x) + self(x + v(x))`` with v fitted to ``vectors`` at ``points``.

        Parameters
        ----------
        points, vectors
            Voxel positions in the box and displacements, each (K, 3), z, y, x.
        grid, corner
            Grid of the whole image and the box's first voxel in it: a rigid motion is rigid in mm.
        rigid
            Fit a rotation and translation instead of a spline.
        smoothing
            Lambda of the spline, on coordinates scaled to [-1, 1] per axis.
        step
            The motion is evaluated every so many voxels and interpolated between.
        """
        shape = self.vectors.shape[1:]
        nodes = [np.arange(0, n + step, step, dtype=np.float64) for n in shape]
        places = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
        if len(points) < MIN_SPLINE_POINTS:
            coarse = np.broadcast_to(vectors.mean(axis=0), places.shape)
        elif rigid:
            coarse = _rigid_motion(places, points, vectors, grid=grid, corner=corner)
        else:
            half = (np.asarray(shape) - 1) / 2
            spline = ThinPlateSpline.fit(
                points, vectors, smoothing=smoothing, offset=half, scale=half
            )
            coarse = spline.evaluate(places)
        coarse = coarse.reshape(*(len(n) for n in nodes), 3)
        fine = np.empty((3, *shape), np.float32)
        for axis in range(3):
            fine[axis] = _upsampled(coarse[..., axis], shape, step)
        if not self.vectors.any():
            return Motion(fine)
        there = np.indices(shape, dtype=np.float32) + fine
        for axis in range(3):
            fine[axis] += _sample(self.vectors[axis], there)
        return Motion(fine)

    def on_grid(self, grid: Grid, box: tuple[slice, ...]) -> DisplacementField:
        """Return the motion as a field in mm on the whole grid, continued outside the box."""
        outside = [(part.start, n - part.stop) for part, n in zip(box, grid.shape, strict=True)]
        vectors = np.stack([np.pad(v, outside, mode="edge") for v in self.vectors[::-1]], axis=-1)
        return DisplacementField(
            grid.voxel_vectors_to_world(vectors).astype(np.float32, copy=False), grid
        )


def _rigid_motion(
    places: Array, points: Array, vectors: Array, *, grid: Grid, corner: Array
) -> Array:
    """Return the displacement of the best rigid motion at voxel positions, voxels."""

    def world(voxels: Array) -> Array:
        return grid.voxel_to_world((voxels + corner)[:, ::-1])

    rigid = fit_rigid(world(points), world(points + vectors))
    moved = grid.world_to_voxel(rigid.apply(world(places)))[:, ::-1] - corner
    found: Array = moved - places
    return found


def _upsampled(coarse: Array, shape: tuple[int, ...], step: int) -> NDArray[np.float32]:
    """Return values given at every ``step``-th voxel for all voxels, linear along each axis."""
    values = coarse.astype(np.float32)
    for axis, size in enumerate(shape):
        place = np.arange(size) / step
        first = place.astype(int)
        share = (place - first).astype(np.float32).reshape(-1, *(1,) * (2 - axis))
        near = np.take(values, first, axis=axis)
        far = np.take(values, first + 1, axis=axis)
        values = near + share * (far - near)
    return values
