"""The dense motion that corrfield's stages compose, in voxels of the working box."""

from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from lcsd.corrfield.kernels import Kernels, Volume
from lcsd.geometry import Grid, fit_rigid
from lcsd.io.fields import DisplacementField
from lcsd.numerics.tps import ThinPlateSpline, in_one_plane

Array = NDArray[Any]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

MIN_SPLINE_POINTS = 5
"""With fewer matches, or with all in one plane, the motion of a stage is their mean: a spline would follow their noise
or not exist."""


@numba.njit(cache=True, parallel=True, error_model="numpy")
def warp(volumes: F32, vectors: F32, out: F32) -> None:
    """Set ``out[c](x)`` to ``volumes[c](x + vectors(x))``, linear, continued at the border."""
    channels, depth, height, width = volumes.shape
    for z in numba.prange(depth):
        for y in range(height):
            for x in range(width):
                pz = min(max(z + vectors[0, z, y, x], 0.0), depth - 1.0)
                py = min(max(y + vectors[1, z, y, x], 0.0), height - 1.0)
                px = min(max(x + vectors[2, z, y, x], 0.0), width - 1.0)
                z0, y0, x0 = int(pz), int(py), int(px)
                z1, y1, x1 = min(z0 + 1, depth - 1), min(y0 + 1, height - 1), min(x0 + 1, width - 1)
                fz, fy, fx = np.float32(pz - z0), np.float32(py - y0), np.float32(px - x0)
                for c in range(channels):
                    v = volumes[c]
                    a, b = v[z0, y0, x0], v[z0, y1, x0]
                    d, e = v[z1, y0, x0], v[z1, y1, x0]
                    a += fx * (v[z0, y0, x1] - a)
                    b += fx * (v[z0, y1, x1] - b)
                    d += fx * (v[z1, y0, x1] - d)
                    e += fx * (v[z1, y1, x1] - e)
                    a += fy * (b - a)
                    d += fy * (e - d)
                    out[c, z, y, x] = a + fz * (d - a)


@numba.njit(cache=True, error_model="numpy")
def _between(near: F32, far: F32, share: np.float32, out: F32) -> None:
    for i in range(out.size):
        out[i] = near[i] + share * (far[i] - near[i])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _upsample(
    values: F32, z_first: I64, z_share: F32, y_first: I64, y_share: F32, x_first: I64, x_share: F32, out: F32
) -> None:
    """Set ``out (Z, Y, X)`` to values on a coarse grid, linear along each axis."""
    _, rows, columns = values.shape
    for z in numba.prange(len(z_first)):
        plane, row = np.empty(rows * columns, np.float32), np.empty(columns, np.float32)
        k = z_first[z]
        _between(values[k].reshape(-1), values[k + 1].reshape(-1), z_share[z], plane)
        for y in range(len(y_first)):
            j = y_first[y] * columns
            _between(plane[j : j + columns], plane[j + columns : j + 2 * columns], y_share[y], row)
            line = out[z, y]
            for x in range(line.size):
                i = x_first[x]
                line[x] = row[i] + x_share[x] * (row[i + 1] - row[i])


def node_places(
    counts: tuple[int, ...], shape: tuple[int, ...], *, step: int, low: tuple[int, ...]
) -> list[tuple[I64, F32]]:
    """Return for each axis the node before every voxel, and the share of the next node.

    Node ``i`` is at voxel ``low + step * i``; each axis has at least two nodes.
    """
    found = []
    for nodes, size, start in zip(counts, shape, low, strict=True):
        place = np.clip((np.arange(size) - start) / step, 0, nodes - 1)
        first = np.minimum(place.astype(np.int64), nodes - 2)
        found.append((first, (place - first).astype(np.float32)))
    return found


def upsampled(
    values: Array, shape: tuple[int, ...], *, step: int, low: tuple[int, ...] = (0, 0, 0)
) -> NDArray[np.float32]:
    """Return values at nodes, node ``i`` at voxel ``low + step * i``, for all voxels of a shape (Z, Y, X).

    Linear between the nodes, continued outside.
    """
    # A second plane or row, so that a single node along an axis has a neighbour.
    thin = [(0, 1 if n == 1 else 0) for n in values.shape]
    nodes = np.ascontiguousarray(np.pad(values, thin, mode="edge"), dtype=np.float32)
    z, y, x = node_places(nodes.shape, shape, step=step, low=low)
    out = np.empty(shape, np.float32)
    _upsample(nodes, *z, *y, *x, out)
    return out


def patch_means(image: Array, points: Array, radius: int) -> NDArray[np.float64]:
    """Return the mean intensity of the cube around each point (K, 3), whole voxels (z, y, x)."""
    means = uniform_filter(image, 2 * radius + 1, mode="nearest")
    return means[tuple(points.astype(int).T)].astype(np.float64)


@dataclass(frozen=True)
class GridMotion:
    """A displacement per voxel of the box: (3, Z, Y, X), float32, components z, y, x in voxels, on the device."""

    vectors: Volume
    kernels: Kernels

    def at(self, points: Array) -> NDArray[np.float64]:
        """Return the displacement at voxel positions (K, 3), shape (K, 3)."""
        return self.kernels.sample(self.vectors, points)

    def warp(self, image: Volume) -> Volume:
        """Return ``image(x + u(x))`` on the box, float32 as the image."""
        if not self.vectors.any():
            return image
        return self.kernels.warp(image[None], self.vectors)[0]

    def composed(
        self,
        points: Array,
        vectors: Array,
        *,
        grid: Grid,
        corner: Array,
        rigid: bool,
        smoothing: float,
        step: int,
        anchor: tuple[int, ...],
    ) -> "GridMotion":
        """Return ``u(x) = v(x) + self(x + v(x))`` with v fitted to ``vectors`` at ``points``.

        Points and vectors are voxel positions in the box and displacements, (K, 3), z, y, x. v is a spline (lambda
        ``smoothing`` on coordinates scaled to [-1, 1] per axis), or rigid in mm by the image's ``grid``, in which the
        box begins at voxel ``corner``.

        It is evaluated at every ``step``-th voxel and interpolated between; the voxel ``anchor`` is one of these, so
        that the motion depends on the lung and not on the border of the image.
        """
        kernels, shape = self.kernels, tuple(self.vectors.shape[1:])
        low = tuple(voxel % step - step for voxel in anchor)
        nodes = [np.arange(first, n + step, step, dtype=np.float64) for first, n in zip(low, shape, strict=True)]
        places = np.stack(np.meshgrid(*nodes, indexing="ij"), axis=-1).reshape(-1, 3)
        if len(points) < MIN_SPLINE_POINTS or in_one_plane(points):
            coarse = np.broadcast_to(vectors.mean(axis=0), places.shape)
        elif rigid:
            coarse = _rigid_motion(places, points, vectors, grid=grid, corner=corner)
        else:
            half = (np.asarray(shape) - 1) / 2
            spline = ThinPlateSpline.fit(points, vectors, smoothing=smoothing, offset=half, scale=half)
            coarse = kernels.spline_at(spline, places)
        coarse = coarse.reshape(*(len(n) for n in nodes), 3)
        fine = kernels.zeros((3, *shape))
        for axis in range(3):
            values = kernels.upload(coarse[..., axis])
            fine[axis] = kernels.upsampled(values, shape, step=step, low=low)
        if not self.vectors.any():
            return GridMotion(fine, kernels)
        return GridMotion(kernels.warp(self.vectors, fine) + fine, kernels)

    def on_grid(self, grid: Grid, box: tuple[slice, ...]) -> DisplacementField:
        """Return the motion as a field in mm on the whole grid, continued outside the box."""
        outside = [(part.start, n - part.stop) for part, n in zip(box, grid.shape, strict=True)]
        found = self.kernels.download(self.vectors)[::-1]
        vectors = np.stack([np.pad(v, outside, mode="edge") for v in found], axis=-1)
        return DisplacementField(grid.voxel_vectors_to_world(vectors).astype(np.float32, copy=False), grid)


def _rigid_motion(places: Array, points: Array, vectors: Array, *, grid: Grid, corner: Array) -> Array:
    """Return the displacement of the best rigid motion at voxel positions, voxels."""

    def world(voxels: Array) -> Array:
        return grid.voxel_to_world((voxels + corner)[:, ::-1])

    rigid = fit_rigid(world(points), world(points + vectors))
    moved = grid.world_to_voxel(rigid.apply(world(places)))[:, ::-1] - corner
    return moved - places
