"""Displacement fields in the format of the Learn2Reg challenge: in voxels, along array axes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_vectors
from lcsd.io.images import check_forms
from lcsd.names import FieldReading
from lcsd.readings.motion import displacements

SPLINE_ORDER = 3
"""Learn2Reg's evaluation samples a field at landmarks by cubic splines, the default of scipy."""


@dataclass(frozen=True)
class VoxelDisplacements:
    """A Learn2Reg displacement field: the fixed voxel ``v`` corresponds to the moving voxel ``v + d(v)``."""

    vectors: NDArray[np.float32]  # shape (X, Y, Z, 3): displacements along the array axes x, y, z, in voxels
    # Grids of both images; equal in Learn2Reg's data
    fixed: Grid
    moving: Grid

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the displacement at LPS points, by cubic splines, shape (N, 3) mm.

        Equals Learn2Reg's ``map_coordinates(disp[..., c], voxel)`` up to rounding. Beyond the outermost voxel centres,
        the value of the nearest centre.
        """
        from scipy.ndimage import map_coordinates

        voxels = self.fixed.world_to_voxel(np.asarray(points, dtype=np.float64))
        inside = np.clip(voxels, 0, np.asarray(self.fixed.size) - 1).T
        found = [map_coordinates(self.vectors[..., c], inside, order=SPLINE_ORDER, output=np.float64) for c in range(3)]
        moved: NDArray[np.float64] = self.moving.voxel_to_world(voxels + np.stack(found, axis=1))
        return moved - points

    def field(self) -> DisplacementField:
        """Return the same displacements in LPS mm, on the fixed grid."""
        vectors = np.empty((*self.fixed.shape, 3), dtype=np.float32)
        x, y = np.meshgrid(*(np.arange(n) for n in self.fixed.size[:2]), indexing="xy")
        for z in range(self.fixed.size[2]):
            voxels = np.stack([x, y, np.full_like(x, z)], axis=-1).astype(np.float64)
            moved = self.moving.voxel_to_world(voxels + self.vectors[:, :, z].swapaxes(0, 1))
            vectors[z] = moved - self.fixed.voxel_to_world(voxels)
        return DisplacementField(vectors, self.fixed)


def disp_as(disp: VoxelDisplacements, reading: FieldReading) -> VoxelDisplacements:
    """Return a field whose stored vectors have another meaning as displacements in voxels."""
    if reading == "voxel":
        return disp
    vectors = np.empty_like(disp.vectors)
    x, y = np.meshgrid(*(np.arange(n) for n in disp.fixed.size[:2]), indexing="ij")
    for z in range(disp.fixed.size[2]):
        voxels = np.stack([x, y, np.full_like(x, z)], axis=-1).astype(np.float64)
        points = disp.fixed.voxel_to_world(voxels)
        moved = points + displacements(disp.vectors[:, :, z].astype(np.float64), points, disp.fixed, reading)
        vectors[:, :, z] = disp.moving.world_to_voxel(moved) - voxels
    return VoxelDisplacements(vectors, disp.fixed, disp.moving)


def read_disp(path: Path, *, grid: Grid | None = None, moving_grid: Grid | None = None) -> VoxelDisplacements:
    """Return a Learn2Reg displacement field (``disp_*.nii.gz``).

    ``grid`` is that of the fixed image; None: the affine of the file, which is wrong in files of many programs
    (identity). ``moving_grid`` is that of the moving image; None: the grid of the fixed image.

    Raises ``BadInputError`` if the file is missing, unreadable, not of shape (X, Y, Z, 3), not of real numbers or of
    another size than ``grid``, if a value is NaN or infinite, or if there is neither a geometry in the header nor a
    ``grid``.
    """
    vectors, volume = read_vectors(path, inner=(3,))
    size = (vectors.shape[0], vectors.shape[1], vectors.shape[2])
    if grid is None:
        check_forms(volume.header, size, path)
        grid = Grid.from_affine_ras(volume.affine, size)
    elif grid.size != size:
        raise BadInputError(
            "field and fixed image have different sizes",
            code="grid_mismatch",
            file=path,
            expected=" x ".join(map(str, grid.size)),
            found=" x ".join(map(str, size)),
            remedy="give the registered fixed image as --grid",
        )
    return VoxelDisplacements(vectors, grid, moving_grid or grid)
