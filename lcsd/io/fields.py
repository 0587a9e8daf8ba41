"""Read and write displacement fields, and measure how much they stretch and fold space."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.io.field_size import check_field_size
from lcsd.io.files import atomic_path, check_written_gzip, require_file
from lcsd.io.images import Image, check_forms, check_spacing, place, resample
from lcsd.io.itk import itk_path
from lcsd.io.nifti import nibabel, voxels_of
from lcsd.io.sizes import READ_ERRORS, check_memory, check_nifti
from lcsd.io.volumes import is_volume, read_vector_volume

NIFTI_DISPLACEMENT_INTENT = 1006
"""NIfTI intent of displacement vectors in RAS. Vectors with another intent are LPS (ITK writes 1007)."""

HEADER_BYTES = 352
"""Header of a NIfTI-1 file and the four bytes after it."""


@dataclass(frozen=True)
class DisplacementField:
    """A displacement field ``y = x + u(x)`` over the fixed scan."""

    vectors: NDArray[np.float32]  # shape (z, y, x, 3), components x, y, z in LPS mm
    grid: Grid  # its spacing need not be that of the fixed image

    def __post_init__(self) -> None:
        if self.vectors.shape != (*self.grid.shape, 3):
            raise BadInputError(
                "field and grid have different sizes",
                code="grid_mismatch",
                expected=(*self.grid.shape, 3),
                found=self.vectors.shape,
            )

    def at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the displacement at LPS points, linear, shape (N, 3) mm.

        Points outside take the value at the nearest face of the grid: the field is unknown there, and a
        sudden zero would be a fold.
        """
        from scipy.ndimage import map_coordinates

        voxels = self.grid.world_to_voxel(np.asarray(points, dtype=np.float64))[:, ::-1].T
        sampled = [map_coordinates(self.vectors[..., axis], voxels, order=1, mode="nearest") for axis in range(3)]
        return np.stack(sampled, axis=1).astype(np.float64)

    def on(self, grid: Grid) -> "DisplacementField":
        """Return the field on another grid of any orientation, linear as :meth:`at`."""
        from scipy.ndimage import affine_transform

        if grid.same_as(self.grid):
            return self
        # Maps indices of `grid` to indices here, in the order (z, y, x) of arrays.
        matrix = np.linalg.solve(self.grid.voxel_to_world_matrix, grid.voxel_to_world_matrix)[::-1, ::-1]
        first = self.grid.world_to_voxel(np.asarray(grid.origin))[::-1]
        vectors = np.empty((*grid.shape, 3), dtype=np.float32)
        for axis in range(3):
            affine_transform(
                self.vectors[..., axis], matrix, first, grid.shape, vectors[..., axis], order=1, mode="nearest"
            )
        return DisplacementField(vectors, grid)


def field_grid(image: Grid, spacing_mm: float | None) -> Grid:
    """Return the grid of a field over the extent of an image: the image's own, or voxels of ``spacing_mm``.

    Raises ``BadInputError`` (``field_too_large``) if the field would not fit in memory.
    """
    if spacing_mm is None:
        return image
    check_field_size(np.multiply(image.size, image.spacing), spacing_mm, field="--field-mm")
    return Grid.covering(image, spacing_mm)


def write_field(path: Path, field: DisplacementField) -> None:
    """Write a displacement field as an ITK vector image, which ITK reads as DisplacementFieldTransform."""
    image = sitk.GetImageFromArray(np.asarray(field.vectors, dtype=np.float32), isVector=True)
    place(image, field.grid)
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, itk_path(temporary), useCompression=True)
        check_written_gzip(temporary, HEADER_BYTES + 4 * field.vectors.size)


FORMATS = {(1, 3): ("ITK", "--field"), (3,): ("Learn2Reg", "--disp")}
"""Last dimensions of a displacement field, its format, and the option of ``lcsd evaluate`` that takes it."""


def read_shape(path: Path) -> tuple[int, ...]:
    """Return the dimensions of a NIfTI file; errors as :func:`read_vectors`."""
    require_file(path)
    try:
        volume: Any = nibabel.load(path)
        return tuple(int(n) for n in volume.shape)
    except READ_ERRORS as error:
        check_memory(error)
        raise _unreadable(path) from error


def _unreadable(path: Path) -> BadInputError:
    return BadInputError("not a readable NIfTI volume", code="truncated_file", file=path)


def read_numbers(path: Path) -> tuple[NDArray[np.float32], Any]:
    """Return the numbers of a NIfTI file of any dimensions, float32, and its nibabel image; errors as read_vectors."""
    require_file(path)
    if is_volume(path):
        raise BadInputError(
            "such vectors are read from NIfTI only",
            code="unknown_format",
            file=path,
            expected=".nii or .nii.gz",
            found=path.suffix,
            remedy="MetaImage and NRRD hold fields of ITK: LPS mm on the grid of the file",
        )
    try:
        # ITK's NIfTI reader would silently turn NaN into 0.
        volume: Any = nibabel.load(path)
        kind = volume.get_data_dtype()
        if kind.kind not in "iuf":
            raise BadInputError(
                "not a displacement field",
                code="bad_field",
                file=path,
                expected="real numbers",
                found="colours" if kind.names else str(kind),
            )
        check_nifti(volume, path)
        return voxels_of(volume, path).astype(np.float32, copy=False), volume
    except READ_ERRORS as error:
        check_memory(error)
        raise _unreadable(path) from error


def read_vectors(path: Path, *, inner: tuple[int, ...]) -> tuple[NDArray[np.float32], Any]:
    """Return the vectors of a NIfTI displacement field as stored, float32, and its nibabel image.

    ``inner`` are the dimensions after x, y, z: a key of ``FORMATS``. Raises ``BadInputError`` for a missing or
    unreadable file (``truncated_file``), another format (``unknown_format``), no real numbers or other dimensions
    (``bad_field``), and NaN or infinite vectors (``non_finite``).
    """
    vectors, volume = read_numbers(path)
    shape = vectors.shape
    if shape[3:] != inner:
        other = FORMATS.get(shape[3:])
        raise BadInputError(
            f"not a displacement field of {FORMATS[inner][0]}",
            code="bad_field",
            file=path,
            expected=" * ".join(("x * y * z", *map(str, inner))),
            found=" * ".join(map(str, shape)),
            remedy=f"this is a field of {other[0]}; lcsd evaluate takes it by {other[1]}" if other else None,
        )
    _check_finite(vectors, path)
    return vectors, volume


def _check_finite(vectors: NDArray[np.float32], path: Path) -> None:
    if not np.isfinite(vectors).all():
        raise BadInputError("the field has NaN or infinite vectors", code="non_finite", file=path)


def read_field(path: Path) -> DisplacementField:
    """Return a displacement field of NIfTI, NRRD or MetaImage; errors as :func:`read_vectors`.

    For NRRD and MetaImage also those of ``lcsd.io.volumes.read_vector_volume``.
    """
    if is_volume(path):
        stored, grid = read_vector_volume(path)
        vectors = np.asarray(stored, dtype=np.float32)
        _check_finite(vectors, path)
        check_spacing(grid, path)
        return DisplacementField(vectors, grid)
    data, volume = read_vectors(path, inner=(1, 3))
    size = (data.shape[0], data.shape[1], data.shape[2])
    check_forms(volume.header, size, path)
    vectors = np.ascontiguousarray(data[:, :, :, 0].transpose(2, 1, 0, 3))
    if int(volume.header["intent_code"]) == NIFTI_DISPLACEMENT_INTENT:
        vectors = flip_lps_ras(vectors)
    grid = Grid.from_affine_ras(volume.affine, size)
    check_spacing(grid, path)
    return DisplacementField(vectors, grid)


HALF = 0.5
"""A voxel counts as inside a mask of a finer grid from this linear weight on."""

SLAB = 16
"""Slices per step: keeps the nine derivatives of a full-size field below 200 MB."""


@dataclass(frozen=True)
class FieldQuality:
    """Figures of ``det J``, ``J = I + du/dx``, over the voxels of a region."""

    voxels: int
    folding_voxels: int  # voxels with ``det J <= 0``
    # Population standard deviation of ``log(det J)`` over the other voxels; None if all fold
    std_log_jacobian: float | None
    min_jacobian: float
    mean_jacobian: float

    @property
    def folding_percent(self) -> float:
        """Share of voxels with ``det J <= 0``, percent."""
        return 100.0 * self.folding_voxels / self.voxels


def _along(vectors: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the derivative along an array axis, per voxel; 0 if the axis has one voxel."""
    if vectors.shape[axis] == 1:
        return np.zeros_like(vectors)
    derivative: NDArray[np.float64] = np.gradient(vectors, axis=axis)
    return derivative


def _slab_determinant(vectors: NDArray[np.float64], inverse: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``det(I + du/dx)`` of a block (z, y, x, 3); ``inverse`` maps world to voxel."""
    # Column a of du/dv is the derivative along voxel axis a (x, y, z); chain rule to world.
    by_voxel = np.stack([_along(vectors, axis) for axis in (2, 1, 0)], axis=-1)
    jacobian = by_voxel @ inverse
    jacobian += np.eye(3)
    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    determinant: NDArray[np.float64] = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return determinant


def jacobian_determinant(field: DisplacementField) -> NDArray[np.float64]:
    """Return ``det(I + du/dx)`` at every voxel (z, y, x): 1 keeps the volume, 2 doubles it, <= 0 is a fold.

    Derivatives are central differences, one-sided at the border, taken along the voxel axes and turned to world axes by
    ``du/dx = (du/dv) (D diag(spacing))^-1``, so oblique and anisotropic grids are right. Exact for affine fields.
    """
    inverse = np.asarray(np.linalg.inv(field.grid.voxel_to_world_matrix), np.float64)
    depth = field.grid.shape[0]
    result = np.empty(field.grid.shape)
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        # One slice more on both sides makes the slab's differences those of the whole field.
        low, high = max(start - 1, 0), min(stop + 1, depth)
        block = _slab_determinant(np.asarray(field.vectors[low:high], np.float64), inverse)
        result[start:stop] = block[start - low : stop - low]
    return result


def field_quality(field: DisplacementField, *, mask: Image | None = None) -> FieldQuality:
    """Return how smooth a displacement field is and how often it folds.

    ``mask`` is the region, usually the fixed lung mask, on any grid; None is the whole field. On a field finer than
    the mask the nearest voxel counts. On a coarser one half of the linear weight must be inside, since its voxels may
    lie between those of the mask. Raises ``BadInputError`` (``no_overlap``) if no voxel of the mask lies in the field.
    """
    determinant = jacobian_determinant(field)
    inside = determinant
    if mask is not None:
        region = mask.array != 0
        if not mask.grid.same_as(field.grid):
            finer = min(field.grid.spacing) < min(mask.grid.spacing)
            share = resample(Image(region.astype(np.float32), mask.grid), field.grid, nearest=finer)
            region = share.array >= HALF
        inside = determinant[region]
    values = inside.ravel()
    if not len(values):
        raise BadInputError(
            "mask and field do not overlap",
            code="no_overlap",
            field="mask",
            expected="at least one voxel of the mask inside the field",
            found="0 voxels",
            remedy="give the fixed lung mask in the same space as the field",
        )
    good = values[values > 0]
    return FieldQuality(
        voxels=len(values),
        folding_voxels=len(values) - len(good),
        std_log_jacobian=float(np.log(good).std()) if len(good) else None,
        min_jacobian=float(values.min()),
        mean_jacobian=float(values.mean()),
    )
