"""Displacement fields as the Learn2Reg challenge exchanges them: in voxels, along array axes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.files import require_file
from lcsd.io.images import check_forms
from lcsd.io.sizes import READ_ERRORS, check_memory, check_nifti

SPLINE_ORDER = 3
"""Learn2Reg's evaluation reads a field at landmarks by cubic splines, scipy's default."""


@dataclass(frozen=True)
class VoxelDisplacements:
    """A Learn2Reg displacement field: fixed voxel ``v`` is found at voxel ``v + d(v)``.

    Parameters
    ----------
    vectors
        Shape (X, Y, Z, 3), float32: displacements along the array axes x, y, z, in voxels.
    fixed, moving
        Grids of the fixed and of the moving image; in Learn2Reg's data they are the same.
    """

    vectors: NDArray[np.float32]
    fixed: Grid
    moving: Grid

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the displacement at LPS points, by cubic splines, shape (N, 3) mm.

        The same to rounding as Learn2Reg's ``map_coordinates(disp[..., c], voxel)``; between the
        outermost voxel centres and the faces of the grid, the value of the nearest centre.
        """
        from scipy.ndimage import map_coordinates

        voxels = self.fixed.world_to_voxel(np.asarray(points, dtype=np.float64))
        inside = np.clip(voxels, 0, np.asarray(self.fixed.size) - 1).T
        found = [map_coordinates(self.vectors[..., c], inside, order=SPLINE_ORDER, output=np.float64) for c in range(3)]
        moved: NDArray[np.float64] = self.moving.voxel_to_world(voxels + np.stack(found, axis=1))
        return moved - points

    def field(self) -> DisplacementField:
        """Return the same motion in mm along LPS, on the fixed grid."""
        vectors = np.empty((*self.fixed.shape, 3), dtype=np.float32)
        x, y = np.meshgrid(*(np.arange(n) for n in self.fixed.size[:2]), indexing="xy")
        for z in range(self.fixed.size[2]):
            voxels = np.stack([x, y, np.full_like(x, z)], axis=-1).astype(np.float64)
            moved = self.moving.voxel_to_world(voxels + self.vectors[:, :, z].swapaxes(0, 1))
            vectors[z] = moved - self.fixed.voxel_to_world(voxels)
        return DisplacementField(vectors, self.fixed)


def read_disp(path: Path, *, grid: Grid | None = None, moving_grid: Grid | None = None) -> VoxelDisplacements:
    """Return a Learn2Reg displacement field (``disp_*.nii.gz``).

    Parameters
    ----------
    path
        NIfTI of shape (X, Y, Z, 3).
    grid
        Grid of the fixed image. None: the file's own affine says it; many programs write the
        identity there, which is wrong.
    moving_grid
        Grid of the moving image; None: that of the fixed image.

    Raises
    ------
    BadInputError
        Missing or unreadable file; not (X, Y, Z, 3); no real numbers; another size than
        ``grid``; NaN or infinite values; no geometry in the header and no ``grid``.
    """
    require_file(path)
    try:
        volume: Any = nibabel.load(path)
        kind = volume.get_data_dtype()
        if kind.kind not in "iuf":
            raise BadInputError(
                "not a Learn2Reg displacement field",
                code="bad_field",
                file=path,
                expected="real numbers",
                found="colours" if kind.names else str(kind),
            )
        check_nifti(volume, path)
        vectors = np.asanyarray(volume.dataobj, dtype=np.float32)
    except READ_ERRORS as error:
        check_memory(error)
        raise BadInputError("not a readable NIfTI volume", code="truncated_file", file=path) from error
    shape = tuple(int(n) for n in vectors.shape)
    if len(shape) != 4 or shape[3] != 3:
        raise BadInputError(
            "not a Learn2Reg displacement field",
            code="bad_field",
            file=path,
            expected="x * y * z * 3",
            found=" * ".join(map(str, shape)),
            remedy="an ITK displacement field (x * y * z * 1 * 3) is given by --field" if len(shape) == 5 else None,
        )
    size = (shape[0], shape[1], shape[2])
    if not np.isfinite(vectors).all():
        raise BadInputError("the field has NaN or infinite vectors", code="non_finite", file=path)
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
            remedy="give the fixed image that was registered",
        )
    return VoxelDisplacements(vectors, grid, moving_grid or grid)
