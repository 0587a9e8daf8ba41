"""Displacement fields in the format of the Learn2Reg challenge: in voxels, along array axes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_vectors
from lcsd.io.files import atomic_path, check_written_gzip
from lcsd.io.images import SCANNER_CODE, check_forms
from lcsd.io.nifti import nibabel
from lcsd.names import FieldReading
from lcsd.readings.motion import displacements
from lcsd.transforms.arrays import ARRAY_SUFFIXES, channels_last, read_array, save_array

SPLINE_ORDER = 3
"""Learn2Reg's evaluation samples a field at landmarks by cubic splines, the default of scipy."""

HALF_ORDER = 2
"""Its first edition doubled fields of half resolution by quadratic splines. Their first and last voxel centres lie on
those of the full grid, as ``scipy.ndimage.zoom`` has it, and their numbers are voxels of the full grid."""

HEADER_BYTES = 352
"""Header of a NIfTI-1 file and the four bytes after it."""


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
        for z, points in self.fixed.planes():
            voxels = self.fixed.world_to_voxel(points) + self.vectors[:, :, z].swapaxes(0, 1)
            vectors[z] = self.moving.voxel_to_world(voxels) - points
        return DisplacementField(vectors, self.fixed)


def disp_of(field: DisplacementField, moving: Grid | None = None) -> VoxelDisplacements:
    """Return a field in LPS mm as displacements in voxels; ``moving``: grid of the moving image, by default its own."""
    to = moving or field.grid
    vectors = np.empty((*field.grid.size, 3), dtype=np.float32)
    for z, points in field.grid.planes():
        voxels = to.world_to_voxel(points + field.vectors[z]) - field.grid.world_to_voxel(points)
        vectors[:, :, z] = voxels.swapaxes(0, 1)
    return VoxelDisplacements(vectors, field.grid, to)


def disp_as(disp: VoxelDisplacements, reading: FieldReading) -> VoxelDisplacements:
    """Return a field whose stored vectors have another meaning as displacements in voxels; ``negated``: of voxels."""
    if reading == "voxel":
        return disp
    if reading == "negated":
        return VoxelDisplacements(-disp.vectors, disp.fixed, disp.moving)
    vectors = np.empty_like(disp.vectors)
    for z, points in disp.fixed.planes():
        stored = disp.vectors[:, :, z].swapaxes(0, 1).astype(np.float64)
        moved = disp.moving.world_to_voxel(points + displacements(stored, points, disp.fixed, reading))
        vectors[:, :, z] = (moved - disp.fixed.world_to_voxel(points)).swapaxes(0, 1)
    return VoxelDisplacements(vectors, disp.fixed, disp.moving)


def read_disp(path: Path, *, grid: Grid | None = None, moving_grid: Grid | None = None) -> VoxelDisplacements:
    """Return a Learn2Reg displacement field: ``disp_*.nii.gz``, or ``.npz`` with an array (3, X, Y, Z).

    ``grid`` is that of the fixed image; None: the affine of the file, which is wrong in files of many programs
    (identity), and which ``.npz`` lacks. ``moving_grid`` is that of the moving image; None: the grid of the fixed
    image. A field of half the voxels of ``grid`` along each axis is doubled as in the challenge.

    Raises ``BadInputError`` if the file is missing, unreadable, of another shape, not of real numbers or of another
    size than ``grid``, if a value is NaN or infinite, or if there is neither a geometry in the header nor a ``grid``.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        vectors = channels_last(read_array(path), "first", path)
        if grid is None:
            raise missing_grid(path)
    else:
        vectors, volume = read_vectors(path, inner=(3,))
        if grid is None:
            size = (vectors.shape[0], vectors.shape[1], vectors.shape[2])
            check_forms(volume.header, size, path)
            grid = Grid.from_affine_ras(volume.affine, size)
    if tuple(2 * n for n in vectors.shape[:3]) == grid.size:
        vectors = _doubled(vectors)
    if vectors.shape[:3] != grid.size:
        raise BadInputError(
            "field and fixed image have different sizes",
            code="grid_mismatch",
            file=path,
            expected=f"{' x '.join(map(str, grid.size))}, or half of it",
            found=" x ".join(map(str, vectors.shape[:3])),
            remedy="give the registered fixed image as --grid",
        )
    return VoxelDisplacements(vectors, grid, moving_grid or grid)


def missing_grid(path: Path) -> BadInputError:
    """Return the error for a file without geometry."""
    return BadInputError(
        "the file has no geometry",
        code="no_geometry",
        file=path,
        field="--grid",
        remedy="give the registered fixed image as --grid",
    )


def _doubled(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    from scipy.ndimage import zoom

    return np.stack([zoom(vectors[..., c], 2, order=HALF_ORDER) for c in range(3)], axis=-1)


def write_disp(path: Path, disp: VoxelDisplacements, *, half: bool = False) -> None:
    """Write displacements as ``disp_*.nii.gz`` (float32), or as ``.npz``; ``half``: half resolution, float16.

    Half resolution is the form of the first edition, ``.npz`` only; it rounds. Raises ``BadInputError`` (``bad_usage``)
    for half of an odd number of voxels, or in NIfTI.
    """
    if path.suffix.lower() in ARRAY_SUFFIXES:
        vectors = _halved(disp.vectors, path).astype(np.float16) if half else disp.vectors
        save_array(path, np.moveaxis(vectors, -1, 0))
        return
    if half:
        raise BadInputError(
            "only .npz holds fields of half resolution", code="bad_usage", field="--half", file=path, expected=".npz"
        )
    volume = nibabel.Nifti1Image(np.asarray(disp.vectors, np.float32), disp.fixed.affine_ras())
    volume.set_sform(disp.fixed.affine_ras(), SCANNER_CODE)
    volume.set_qform(disp.fixed.affine_ras(), SCANNER_CODE)
    volume.header.set_xyzt_units("mm")
    with atomic_path(path) as temporary:
        nibabel.save(volume, temporary)
        check_written_gzip(temporary, HEADER_BYTES + 4 * disp.vectors.size)


def _halved(vectors: NDArray[np.float32], path: Path) -> NDArray[np.float32]:
    from scipy.ndimage import zoom

    odd = [n for n in vectors.shape[:3] if n % 2]
    if odd:
        raise BadInputError(
            "half resolution needs even numbers of voxels",
            code="bad_usage",
            field="--half",
            file=path,
            found=" x ".join(map(str, vectors.shape[:3])),
            remedy="leave out --half",
        )
    return np.stack([zoom(vectors[..., c], 0.5, order=SPLINE_ORDER) for c in range(3)], axis=-1)
