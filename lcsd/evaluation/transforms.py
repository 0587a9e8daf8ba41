"""Motion described by an ITK transform file of another program."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.files import require_file
from lcsd.geometry import Grid
from lcsd.images import DisplacementField, grid_of


def read_transform(path: Path) -> Any:
    """Return a 3-D ITK transform (``.tfm``, ``.txt``, ``.h5``, ``.mat``, ``.xfm``).

    It maps points of the fixed scan to points of the moving scan, LPS mm: the direction in which
    ITK resamples images, and in which elastix, ANTs and Slicer write the transform of a
    registration.

    Returns
    -------
    SimpleITK.Transform
        Any kind, composites and displacement fields too.

    Raises
    ------
    BadInputError
        If the file is missing, unreadable or not of 3-D points.
    """
    try:
        found = sitk.ReadTransform(str(require_file(path)))
    except RuntimeError as error:
        raise BadInputError(
            "not a readable ITK transform", code="bad_transform", file=path,
            expected=".tfm, .txt, .h5, .mat or .xfm as ITK writes them",
        ) from error  # fmt: skip
    if found.GetDimension() != 3:
        raise BadInputError(
            "the transform is not of 3-D points", code="bad_transform", file=path,
            expected="3 dimensions", found=found.GetDimension(),
        )  # fmt: skip
    return found.Downcast()


def parts_of(transform: Any) -> Iterator[Any]:
    """Yield the parts of a transform in the order in which points pass through them."""
    if isinstance(transform, sitk.CompositeTransform):
        # ITK applies what was added last first.
        for number in reversed(range(transform.GetNumberOfTransforms())):
            yield from parts_of(transform.GetNthTransform(number).Downcast())
    else:
        yield transform


def domain_of(part: Any) -> Grid | None:
    """Return where a part of a transform is defined; None: everywhere.

    Outside, ITK leaves points where they are without a word.
    """
    if isinstance(part, sitk.DisplacementFieldTransform):
        return grid_of(part.GetDisplacementField())
    if isinstance(part, sitk.BSplineTransform):
        # The domain as one voxel, whose centre is its origin.
        extent = np.asarray(part.GetTransformDomainPhysicalDimensions())
        direction = np.asarray(part.GetTransformDomainDirection()).reshape(3, 3)
        centre = np.asarray(part.GetTransformDomainOrigin()) + direction @ (extent / 2)
        return Grid(
            size=(1, 1, 1),
            spacing=(float(extent[0]), float(extent[1]), float(extent[2])),
            origin=(float(centre[0]), float(centre[1]), float(centre[2])),
            direction=tuple(float(value) for value in direction.ravel()),
        )
    return None


def carry(transform: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points after a transform, shape (N, 3), LPS mm.

    Raises
    ------
    BadInputError
        If a point comes to lie outside a displacement field or B-spline, or is not finite then.
    """
    moved = np.asarray(points, dtype=np.float64)
    for part in parts_of(transform):
        domain = domain_of(part)
        inside = np.ones(len(moved), dtype=bool) if domain is None else domain.contains(moved)
        outside = np.flatnonzero(~inside)
        if len(outside):
            raise BadInputError(
                "landmarks lie outside the transform, which would leave them where they are",
                code="landmark_outside", field=part.GetName(),
                expected="all landmarks inside its domain",
                found=f"{len(outside)} of {len(moved)} outside, the first in row {outside[0] + 1} "
                f"at ({', '.join(f'{v:.1f}' for v in moved[outside[0]])}) LPS mm",
                remedy="check that it maps fixed points to moving points and is of this case",
            )  # fmt: skip
        moved = np.array([part.TransformPoint(point) for point in moved.tolist()])
    bad = np.flatnonzero(~np.isfinite(moved).all(axis=1))
    if len(bad):
        raise BadInputError(
            "the transform moves landmarks to places that are not finite", code="non_finite",
            field=transform.GetName(), found=f"{len(bad)} of {len(moved)} landmarks",
        )  # fmt: skip
    return moved


def sampled(transform: Any, grid: Grid) -> DisplacementField:
    """Return a transform as displacement field on a grid, float32 mm."""
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, grid.size, grid.origin, grid.spacing, grid.direction
    )
    return DisplacementField(sitk.GetArrayFromImage(image), grid)
