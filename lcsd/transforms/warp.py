"""Warp images, masks and label maps by chains of transforms."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, from_sitk, place, to_sitk
from lcsd.names import Interpolation
from lcsd.transforms.chain import Part, as_itk, itk_field, there_and_back

INTERPOLATORS: dict[Interpolation, int] = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "label-gaussian": sitk.sitkLabelGaussian,
    "bspline": sitk.sitkBSpline,
}

MOST_LABELS = 256
"""A volume with more values is no label map."""

Progress = Callable[[Sequence[int]], Iterable[int]]

LEAST_COVERED_PERCENT = 0.1
"""A warped image with fewer voxels of its input is a mistake."""


@dataclass(frozen=True)
class Warped:
    """An image on another grid."""

    image: Image
    covered_percent: float  # share of the voxels that lie inside the input image
    residual_mm: float  # largest distance by which the inversion misses; 0 if nothing was inverted


def is_label_map(array: NDArray[np.generic]) -> bool:
    """Return whether voxels are labels: bool, or few whole numbers from 0."""
    if array.dtype == bool:
        return True
    if array.min() < 0 or (array.dtype.kind == "f" and (array != np.rint(array)).any()):
        return False
    return len(np.unique(array)) <= MOST_LABELS


def check_labels(image: Image, interpolation: Interpolation) -> None:
    """Refuse fractional values for an interpolation of labels (``fractional_labels``)."""
    if interpolation in {"nearest", "label-gaussian"} and image.array.dtype.kind == "f":
        fractional = int((image.array != np.rint(image.array)).sum())
        if fractional:
            raise BadInputError(
                "labels must be whole numbers",
                code="fractional_labels",
                field="voxels",
                expected="whole numbers",
                found=f"{fractional} voxels with a fraction",
                remedy="give the label map before any resampling, or warp it with --interpolation linear",
            )


def warp_image(
    image: Image,
    chain: Sequence[Part],
    reference: Grid,
    *,
    interpolation: Interpolation,
    inverse: bool = False,
    outside: float = 0.0,
    progress: Progress = iter,
) -> Warped:
    """Return an image on the grid ``reference``, warped by a chain.

    A voxel of the reference takes the value where the chain brings it; with ``inverse``, the value of the point that
    the chain brings to it. So a chain from fixed to moving warps the moving image without an inversion. Voxels that
    ``image`` does not have become ``outside``. ``progress`` wraps the slices of an inversion.

    Raises ``BadInputError`` if less than a thousandth of the voxels would have a value (``no_overlap``), or labels have
    fractions (``fractional_labels``).
    """
    check_labels(image, interpolation)
    transform, residual = as_itk(chain), 0.0
    if inverse:
        field, residual = _inverse_field(chain, reference, progress)
        transform = itk_field(field)
    inside = Image(np.ones(image.array.shape, dtype=bool), image.grid)
    covered = 100 * float(resampled(inside, transform, reference, "nearest", 0.0).array.mean())
    if covered < LEAST_COVERED_PERCENT:
        raise BadInputError(
            "the warped image would be empty",
            code="no_overlap",
            expected="voxels of the reference that come from the image",
            found=f"{covered:.2f} %",
            remedy="check the order of --transform, the direction (--from, --to), and that image and reference belong "
            "to the transforms",
        )
    return Warped(resampled(image, transform, reference, interpolation, outside), covered, residual)


def resampled(image: Image, transform: Any, grid: Grid, interpolation: Interpolation, outside: float) -> Image:
    """Return an image on a grid, where each voxel takes the value of the place to which an ITK transform brings it.

    Voxels that ``image`` does not have become ``outside``.
    """
    target = sitk.Image(list(grid.size), sitk.sitkUInt8)
    place(target, grid)
    moved = from_sitk(sitk.Resample(to_sitk(image), target, transform, INTERPOLATORS[interpolation], outside))
    return Image(moved.array.astype(bool) if image.array.dtype == bool else moved.array, grid)


def _inverse_field(chain: Sequence[Part], grid: Grid, progress: Progress) -> tuple[DisplacementField, float]:
    """Return the field from each voxel of a grid to the point that the chain brings to it, and its largest residual."""
    vectors, residual = np.empty((*grid.shape, 3), dtype=np.float32), 0.0
    x, y = np.meshgrid(*(np.arange(n) for n in grid.size[:2]), indexing="xy")
    for z in progress(range(grid.size[2])):
        voxels = np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3).astype(np.float64)
        points = grid.voxel_to_world(voxels)
        found, back, known = there_and_back(chain, points)
        vectors[z] = (found - points).reshape(*x.shape, 3)
        if known.any():
            residual = max(residual, float(np.linalg.norm(back - points, axis=1)[known].max()))
    return DisplacementField(vectors, grid), residual
