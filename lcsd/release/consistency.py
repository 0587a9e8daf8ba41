"""Check that the clouds of a case match its vessel maps, and the sparse clouds the dense ones."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.io.points import Cloud

CENTRE_TOLERANCE_VOXELS = 0.01
"""Largest distance of a point from its voxel's centre; float32 resolves 0.0001 mm at one metre."""

REMEDY = "build the case again"


def _refuse(what: str, *, file: Path, field: str, expected: object, found: object) -> BadInputError:
    return BadInputError(
        what, code="inconsistent_case", file=file, field=field, expected=expected, found=found, remedy=REMEDY
    )


def _check_radius(cloud: Cloud, *, file: Path) -> None:
    radius = cloud.radius
    if radius is None:
        return
    if radius.shape != (len(cloud),) or not np.isfinite(radius).all():
        raise _refuse(
            "not one finite radius per point",
            file=file,
            field="radius",
            expected=f"({len(cloud)},), finite",
            found=radius.shape,
        )


def check_dense(cloud: Cloud, vessels: Image, *, file: Path) -> None:
    """Refuse a dense cloud that does not hold every voxel of a vessel map exactly once.

    The cloud is in LPS mm and must have the labels of the vessel map, of which 0 is background. Raises
    ``BadInputError`` (``inconsistent_case``) if they do not match or a radius is broken; it names ``file``.
    """
    _check_radius(cloud, file=file)
    voxels = vessels.grid.world_to_voxel(cloud.points.astype(np.float64))
    nearest = np.rint(voxels).astype(np.int64)
    within = ((nearest >= 0) & (nearest < np.asarray(vessels.grid.size))).all(axis=1)
    within &= (np.abs(voxels - nearest) <= CENTRE_TOLERANCE_VOXELS).all(axis=1)
    x, y, z = nearest[within].T
    labels = vessels.array[z, y, x]
    inside = int((labels != 0).sum())
    distinct = len(np.unique(np.ravel_multi_index((z, y, x), vessels.array.shape)))
    count = int((vessels.array != 0).sum())
    if not len(cloud) == inside == distinct == count:
        raise _refuse(
            "the cloud does not match the vessel map",
            file=file,
            field="points",
            expected=f"the {count} voxels of the map",
            found=f"{len(cloud)} points, {inside} on voxels of the map, {distinct} distinct",
        )
    if cloud.label is not None and not np.array_equal(cloud.label, labels):
        raise _refuse(
            "the labels differ from the vessel map",
            file=file,
            field="label",
            expected="the map's labels",
            found=f"{int((cloud.label != labels).sum())} points with other labels",
        )


def check_sparse(cloud: Cloud, dense: Cloud, *, file: Path) -> None:
    """Refuse a sparse cloud whose points differ from the rows of the dense cloud that it names.

    Raises ``BadInputError`` (``inconsistent_case``) if they do not match or a radius is broken.
    """
    _check_radius(cloud, file=file)
    index: NDArray[np.int64] | None = cloud.index
    if index is None or index.shape != (len(cloud),):
        raise _refuse(
            "the rows of the dense cloud are missing",
            file=file,
            field="index",
            expected=f"({len(cloud)},)",
            found=None if index is None else index.shape,
        )
    known = (index >= 0) & (index < len(dense))
    if not known.all() or len(np.unique(index)) != len(index):
        raise _refuse(
            "not distinct rows of the dense cloud",
            file=file,
            field="index",
            expected=f"0 to {len(dense) - 1}",
            found=f"{int(index.min())} to {int(index.max())}",
        )
    others = int((dense.points[index] != cloud.points).any(axis=1).sum())
    if others:
        raise _refuse(
            "the points differ from the dense cloud",
            file=file,
            field="points",
            expected="equal coordinates",
            found=f"{others} of {len(cloud)} points with other coordinates",
        )
