"""Read and write volumes and rigid transforms.

In memory a volume is an :class:`Image`: an array ``(z, y, x)`` and its :class:`Grid` in LPS.
RAS exists only inside NIfTI headers.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import DIRECTION_TOLERANCE, Grid, RigidTransform
from lcsd.io.files import atomic_path, check_written_text, require_file
from lcsd.io.itk import itk_path, read_one_transform
from lcsd.io.masks import inside
from lcsd.io.nifti import nibabel, voxels_of
from lcsd.io.sizes import READ_ERRORS, check_memory, check_nifti
from lcsd.io.volumes import VOLUME_SUFFIXES, is_volume, read_volume

IMAGE_SUFFIXES = (".nii", ".nii.gz", *VOLUME_SUFFIXES)
FORM_TOLERANCE_MM = 0.1
"""Largest difference of sform and qform at a corner. Quaternions in float32 move the far corner of a
500 mm scan by some micrometres; 0.1 mm is well below a voxel."""

MM_PER_NIFTI_UNIT = {1: 1e3, 2: 1.0, 3: 1e-3}
"""Millimetres per metre, millimetre and micrometre, by NIfTI's code; other codes mean unknown, and mm by custom."""

NIFTI_LENGTH_BITS = 7
"""Bits of ``xyzt_units`` that hold the unit of length."""

SPACING_MM = (0.1, 30.0)
"""Voxel sizes of chest CT and of images made from it: the finest detectors resolve 0.1 mm, the thickest slices
measure 10 mm, and maps for overviews are up to three times coarser."""

MOST_EXTENT_MM = 2500.0
"""No table moves farther."""

SCANNER_CODE = 1
"""NIfTI xform code 'scanner anatomical', written for sform and qform."""


@dataclass(frozen=True)
class Image:
    """A volume and its position."""

    array: NDArray[Any]  # shape (z, y, x)
    grid: Grid  # voxel lattice in LPS mm, ``grid.shape == array.shape``

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise BadInputError(
                "array and grid have different sizes",
                code="grid_mismatch",
                expected=self.grid.shape,
                found=self.array.shape,
            )


def is_image(path: Path) -> bool:
    """Return whether a file name ends like an image: NIfTI, NRRD or MetaImage."""
    return path.name.lower().endswith(IMAGE_SUFFIXES)


def mm_per_unit(header: Any) -> float:
    """Return the millimetres per unit of length of a NIfTI header."""
    return MM_PER_NIFTI_UNIT.get(int(header["xyzt_units"]) & NIFTI_LENGTH_BITS, 1.0)


def check_forms(header: Any, shape: tuple[int, int, int], path: Path) -> None:
    """Refuse a NIfTI volume whose sform and qform disagree, or that has neither."""
    sform, sform_code = header.get_sform(coded=True)
    qform, qform_code = header.get_qform(coded=True)
    if not sform_code and not qform_code:
        raise BadInputError(
            "the header has no position (sform and qform codes are 0)",
            code="no_geometry",
            file=path,
            remedy="export the scan again with its geometry",
        )
    if not qform_code:
        _check_pixdim(header, sform, shape, path)
    if not sform_code or not qform_code:
        return
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.asarray(shape) - 1
    apart = np.abs(corners @ (sform - qform).T).max() * mm_per_unit(header)
    if not apart <= FORM_TOLERANCE_MM:
        raise BadInputError(
            "sform and qform disagree",
            code="sform_qform_disagree",
            file=path,
            field="header",
            expected=f"equal positions within {FORM_TOLERANCE_MM} mm",
            found=f"{apart:.3g} mm apart at a corner",
            remedy="decide which one is right and copy it to the other",
        )


def _orthogonal(axes: NDArray[np.float64]) -> bool:
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() <= DIRECTION_TOLERANCE)


def _check_pixdim(header: Any, sform: NDArray[np.float64], shape: tuple[int, int, int], path: Path) -> None:
    """Refuse a volume whose voxel sizes (pixdim) are not those of its sform: programs read the one or the other."""
    sizes, own = np.asarray(header.get_zooms()[:3], dtype=np.float64), np.linalg.norm(sform[:3, :3], axis=0)
    if not own.all() or not _orthogonal(sform[:3, :3] / own):
        return  # voxels without a size and sheared ones have errors of their own
    apart = (np.abs(sizes - own) * (np.asarray(shape) - 1)).max() * mm_per_unit(header)
    if not apart <= FORM_TOLERANCE_MM:
        raise BadInputError(
            "the voxel sizes in the header (pixdim) and in its sform disagree",
            code="pixdim_disagrees",
            file=path,
            field="pixdim",
            expected=" x ".join(f"{size:.4g}" for size in own),
            found=" x ".join(f"{size:.4g}" for size in sizes),
            remedy="decide which one is right and correct the other",
        )


def check_spacing(grid: Grid, path: Path) -> None:
    """Refuse voxels or volumes of a size that no scan has: the unit of length is not the one that the header says."""
    low, high = SPACING_MM
    extent = max(count * step for count, step in zip(grid.size, grid.spacing, strict=True))
    if low <= min(grid.spacing) and max(grid.spacing) <= high and extent <= MOST_EXTENT_MM:
        return
    sizes = " x ".join(f"{step:.4g}" for step in grid.spacing)
    raise BadInputError(
        "no scan has voxels or a length of this size",
        code="implausible_spacing",
        file=path,
        field="spacing",
        expected=f"{low:g} to {high:g} mm per voxel, at most {MOST_EXTENT_MM:g} mm in all",
        found=f"{sizes} mm, {extent:.4g} mm in all",
        remedy="correct the unit or the voxel size in the header",
    )


def read_image(path: Path) -> Image:
    """Return a 3-D volume (NIfTI, NRRD or MetaImage, by its name) with its geometry in LPS mm.

    Integer files keep their type; scaled and floating-point files become float32. Lengths in micrometres or metres
    become mm if the header says so. Raises ``BadInputError`` for a missing, truncated or foreign file, for anything but
    three axes of at least two voxels, NaN or infinite values, a header without geometry, sform and qform that disagree,
    sheared axes, and voxels of a size that no scan has.
    """
    require_file(path)
    try:
        data, grid = read_volume(path) if is_volume(path) else _read_nifti(path)
    except BadInputError as error:
        raise _of_file(error, path) from error
    check_spacing(grid, path)
    return Image(_plain(data, path), grid)


def _of_file(error: BadInputError, path: Path) -> BadInputError:
    """Return an error of a grid with the name of the file; other errors have one."""
    if error.file is not None:
        return error
    return BadInputError(
        error.what,
        code=error.code,
        file=path,
        field=error.field,
        expected=error.expected,
        found=error.found,
        remedy=error.remedy,
    )


def _read_nifti(path: Path) -> tuple[NDArray[Any], Grid]:
    """Return the voxels (z, y, x) and the grid of a NIfTI file."""
    try:
        volume: Any = nibabel.load(path)
        if not isinstance(volume, nibabel.Nifti1Pair):
            raise ValueError(f"it is {type(volume).__name__}")
        shape = tuple(int(n) for n in volume.shape)
        if len(shape) != 3 or min(shape) < 2:
            raise BadInputError(
                "not a 3-D volume",
                code="not_3d",
                file=path,
                field="shape",
                expected="three axes of at least 2 voxels",
                found=" x ".join(map(str, shape)),
            )
        check_forms(volume.header, shape, path)
        check_nifti(volume, path)
        data = voxels_of(volume, path)
    except READ_ERRORS as error:
        check_memory(error)
        raise BadInputError(
            f"not a readable NIfTI volume ({' '.join(str(error).split())})",
            code="truncated_file",
            file=path,
            remedy="copy or export the file again",
        ) from error
    affine = np.array(volume.affine, dtype=np.float64)
    affine[:3] *= mm_per_unit(volume.header)
    return data.T, Grid.from_affine_ras(affine, (shape[0], shape[1], shape[2]))


def _plain(data: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return voxels as integers, or as finite float32."""
    if not np.issubdtype(data.dtype, np.number) or np.iscomplexobj(data):
        raise BadInputError("voxels are not plain numbers", code="bad_type", file=path, found=str(data.dtype))
    if not np.issubdtype(data.dtype, np.integer):
        data = data.astype(np.float32, copy=False)
        bad = int(data.size - np.isfinite(data).sum())
        if bad:
            raise BadInputError(
                "voxels are NaN or infinite",
                code="non_finite",
                file=path,
                field="data",
                expected="finite values",
                found=f"{bad} bad voxels",
            )
    return np.ascontiguousarray(data)


def read_mask(
    path: Path, *, like: Grid | None = None, keep_labels: bool = False, kind: Literal["mask", "vessels"] = "mask"
) -> Image:
    """Return a mask as a boolean volume; ``keep_labels`` keeps its labels instead. :func:`inside` judges its values.

    ``like`` is the grid that the mask must have; None allows any. ``kind`` selects the reason code of an empty volume:
    ``empty_mask`` or ``empty_vessels``. Raises ``BadInputError`` as :func:`read_image` and :func:`inside`, and if the
    mask is empty or not on the grid ``like``.
    """
    image = read_image(path)
    if like is not None:
        check_same_grid(image.grid, like, file=path)
    # Maps of vessels may have a label for each branch.
    values = inside(image.array, file=path, keep_labels=keep_labels or kind == "vessels")
    if not values.any():
        raise BadInputError(
            "the mask is empty",
            code=f"empty_{kind}",
            file=path,
            expected="at least one voxel",
            found="0 voxels",
            remedy="check the segmentation that made it",
        )
    return Image(values if keep_labels else values != 0, image.grid)


def check_same_grid(found: Grid, expected: Grid, *, file: Path | None = None) -> None:
    """Raise ``BadInputError`` unless both grids have the same voxels."""
    if not found.same_as(expected):
        raise BadInputError(
            "the volume is on another grid",
            code="grid_mismatch",
            file=file,
            field="grid",
            expected=_describe(expected),
            found=_describe(found),
            remedy="resample it to the expected grid",
        )


def _describe(grid: Grid) -> str:
    size = "x".join(str(n) for n in grid.size)
    spacing = "x".join(f"{s:.4g}" for s in grid.spacing)
    origin = ", ".join(f"{o:.4g}" for o in grid.origin)
    return f"{size} voxels of {spacing} mm at ({origin})"


def write_image(path: Path, image: Image, *, dtype: type[np.integer[Any] | np.floating[Any]]) -> None:
    """Write a volume as NIfTI with sform = qform, code 1; equal volumes are equal bytes.

    ``dtype`` is the type on disk: ``np.int16`` for HU (values are rounded and clipped), ``np.uint8`` for masks and
    labels, ``np.float32`` otherwise.
    """
    array = image.array
    if issubclass(dtype, np.integer):
        limits = np.iinfo(dtype)
        array = np.clip(np.rint(array), limits.min, limits.max) if array.dtype.kind == "f" else array
    volume = nibabel.Nifti1Image(
        np.asarray(array, dtype=dtype).transpose(2, 1, 0), image.grid.affine_ras(), dtype=dtype
    )
    volume.set_sform(image.grid.affine_ras(), SCANNER_CODE)
    volume.set_qform(image.grid.affine_ras(), SCANNER_CODE)
    volume.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        nibabel.save(volume, temporary)


def write_mask(path: Path, mask: Image) -> None:
    """Write a mask or label volume as uint8 NIfTI."""
    write_image(path, Image(mask.array.astype(np.uint8), mask.grid), dtype=np.uint8)


def to_sitk(image: Image) -> sitk.Image:
    """Return the volume as a SimpleITK image (masks become uint8)."""
    array = image.array.astype(np.uint8) if image.array.dtype == bool else image.array
    result = sitk.GetImageFromArray(array)
    place(result, image.grid)
    return result


def from_sitk(image: sitk.Image) -> Image:
    """Return a scalar SimpleITK image as a volume."""
    return Image(sitk.GetArrayFromImage(image), grid_of(image))


def grid_of(image: sitk.Image) -> Grid:
    """Return the voxel lattice of a SimpleITK image."""
    return Grid(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())


def place(image: sitk.Image, grid: Grid) -> None:
    """Give a SimpleITK image the spacing, origin and direction of a grid."""
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)


def to_sitk_transform(transform: RigidTransform) -> sitk.Euler3DTransform:
    """Return a rigid transform as an ITK transform (same direction: LPS point to LPS point)."""
    result = sitk.Euler3DTransform()
    result.SetMatrix(transform.rotation.ravel().tolist())
    result.SetTranslation(transform.translation.tolist())
    return result


def resample(
    image: Image, grid: Grid, *, transform: RigidTransform | None = None, nearest: bool = False, outside: float = 0.0
) -> Image:
    """Return the volume sampled on another grid; voxels that ``image`` does not have become ``outside``.

    ``transform`` maps a point of ``grid`` (LPS mm) to the space of ``image``; None is the identity. ``nearest`` takes
    the nearest voxel (masks, labels) instead of linear interpolation.
    """
    transform = transform or RigidTransform.identity()
    reference = sitk.Image(list(grid.size), sitk.sitkUInt8)
    place(reference, grid)
    interpolator = sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear
    moved = sitk.Resample(to_sitk(image), reference, to_sitk_transform(transform), interpolator, outside)
    array = sitk.GetArrayFromImage(moved)
    return Image(array.astype(bool) if image.array.dtype == bool else array, grid)


def write_rigid(path: Path, transform: RigidTransform) -> None:
    """Write a rigid transform as ITK text transform (LPS point to LPS point)."""
    with atomic_path(path) as temporary:
        sitk.WriteTransform(to_sitk_transform(transform), itk_path(temporary))
        check_written_text(temporary)


def read_rigid(path: Path) -> RigidTransform:
    """Return the rigid transform in an ITK transform file.

    Raises ``BadInputError`` if the file is missing, unreadable, or not one rigid 3-D transform.
    """
    found = read_one_transform(path)
    rigid_types = (sitk.Euler3DTransform, sitk.VersorRigid3DTransform, sitk.AffineTransform)
    typed: Any = found.Downcast()
    if type(typed) in rigid_types and found.GetDimension() == 3:
        rotation = np.asarray(typed.GetMatrix()).reshape(3, 3)
        if np.abs(rotation.T @ rotation - np.eye(3)).max() < 1e-6 and np.linalg.det(rotation) > 0:
            offset = np.asarray(typed.TransformPoint((0.0, 0.0, 0.0)))
            return RigidTransform(rotation, offset)
    raise BadInputError(
        "the transform is not rigid",
        code="bad_transform",
        file=path,
        expected="one rotation and translation in 3-D",
        found=typed.GetName(),
    )
