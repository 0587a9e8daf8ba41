"""ITK transform files of other programs as results of a registration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import grid_of
from lcsd.io.itk import read_one_transform


def read_transform(path: Path) -> Any:
    """Return a 3-D ITK transform (``.tfm``, ``.txt``, ``.h5``, ``.mat``, ``.xfm``).

    It maps points of the fixed scan to points of the moving scan, LPS mm. ITK resamples images in this direction, and
    elastix, ANTs and Slicer write their transforms in it. It may be of any kind, also a composite or a displacement
    field. Raises ``BadInputError`` if the file is missing, unreadable or not 3-D, or holds several transforms that are
    no composite.
    """
    found = read_one_transform(path)
    if found.GetDimension() != 3:
        raise BadInputError(
            "the transform is not 3-D",
            code="bad_transform",
            file=path,
            expected="3 dimensions",
            found=found.GetDimension(),
        )
    return found.Downcast()


def parts_of(transform: Any) -> list[Any]:
    """Return the parts of a transform in the order in which they apply."""
    if not isinstance(transform, sitk.CompositeTransform):
        return [transform]
    parts = _children(transform)
    if any(isinstance(part, sitk.CompositeTransform) for part in parts):
        flat = sitk.CompositeTransform(transform)
        flat.FlattenTransform()
        # SimpleITK wraps a part of a kind that it does not know in a composite; this remains after flattening.
        parts = _children(flat)
    return parts


def _children(composite: Any) -> list[Any]:
    # ITK applies the part that was added last first.
    numbers = reversed(range(composite.GetNumberOfTransforms()))
    return [composite.GetNthTransform(number).Downcast() for number in numbers]


def domain_of(part: Any) -> Grid | None:
    """Return the grid on which a part of a transform is defined; None: everywhere.

    Outside it, ITK silently returns points unchanged.
    """
    if isinstance(part, sitk.DisplacementFieldTransform):
        return grid_of(part.GetDisplacementField())
    if isinstance(part, sitk.BSplineTransform):
        # One voxel as large as the domain; the origin of a grid is a voxel's centre.
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

    Raises ``BadInputError`` if a part moves a point out of a displacement field or B-spline, or to a place that is not
    finite.
    """
    moved = np.asarray(points, dtype=np.float64)
    for part in parts_of(transform):
        domain = domain_of(part)
        inside = np.ones(len(moved), dtype=bool) if domain is None else domain.contains(moved)
        outside = np.flatnonzero(~inside)
        if len(outside):
            raise BadInputError(
                "landmarks lie outside the transform, which would not move them",
                code="landmark_outside",
                field=part.GetName(),
                expected="all landmarks inside its domain",
                found=f"{len(outside)} of {len(moved)} outside, the first in row {outside[0] + 1} "
                f"at ({', '.join(f'{v:.1f}' for v in moved[outside[0]])}) LPS mm",
                remedy="check that the transform maps fixed to moving points and belongs to this case",
            )
        moved = np.array([part.TransformPoint(point) for point in moved.tolist()])
    bad = np.flatnonzero(~np.isfinite(moved).all(axis=1))
    if len(bad):
        raise BadInputError(
            "the transform moves landmarks to infinite or undefined places",
            code="non_finite",
            field=transform.GetName(),
            found=f"{len(bad)} of {len(moved)} landmarks",
        )
    return moved


def sampled(transform: Any, grid: Grid) -> DisplacementField:
    """Return a transform as a displacement field on a grid, float32, mm."""
    image = sitk.TransformToDisplacementField(
        transform, sitk.sitkVectorFloat32, grid.size, grid.origin, grid.spacing, grid.direction
    )
    return DisplacementField(sitk.GetArrayFromImage(image), grid)


def known_on(transform: Any, grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a grid at which a transform and its derivative are defined, shape (z, y, x).

    There the voxel and its six neighbours are inside the domain of every part when they reach it. Outside a domain,
    ITK's displacement is 0: the jump at the border would look like a fold.
    """
    inside = np.ones(grid.shape, dtype=bool)
    parts = parts_of(transform)
    for number, part in enumerate(parts):
        domain = domain_of(part)
        if domain is not None:
            inside &= _arrives_in(domain, parts[:number], grid)
    return np.asarray(binary_erosion(inside, border_value=1), dtype=bool)


def _arrives_in(domain: Grid, before: Sequence[Any], grid: Grid) -> NDArray[np.bool_]:
    """Return the voxels of a grid that lie in a domain after the parts ``before``, shape (z, y, x)."""
    moved = sampled(sitk.CompositeTransform([*before][::-1]), grid) if before else None
    inside = np.empty(grid.shape, dtype=bool)
    for z, at in grid.planes():
        inside[z] = domain.contains(at if moved is None else at + moved.vectors[z])
    return inside
