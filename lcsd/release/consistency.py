"""Whether the clouds of a case belong to its vessel maps, and the sparse ones to the dense."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.io.points import Cloud

CENTRE_TOLERANCE_VOXELS = 0.01
"""How far a point may lie from its voxel's centre: float32 has 0.0001 mm at a metre."""

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
            "radii are not one finite number per point",
            file=file,
            field="radius",
            expected=f"({len(cloud)},), finite",
            found=radius.shape,
        )


def check_dense(cloud: Cloud, vessels: Image, *, file: Path) -> None:
    """Refuse a dense cloud that is not every voxel of a vessel map, each once.

    Parameters
    ----------
    cloud
        LPS mm.
    vessels
        Labels, 0 is background; where there are several the cloud's labels are those.
    file
        Of the cloud, for messages.

    Raises
    ------
    BadInputError
        They do not belong together, or a radius is broken.
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
            "the cloud is not of this vessel map",
            file=file,
            field="points",
            expected=f"the {count} voxels of the map",
            found=f"{len(cloud)} points, {inside} of them on its voxels, {distinct} at places of their own",
        )
    if cloud.label is not None and not np.array_equal(cloud.label, labels):
        raise _refuse(
            "labels are not those of the vessel map",
            file=file,
            field="label",
            expected="the map's labels",
            found=f"{int((cloud.label != labels).sum())} points with others",
        )


def check_sparse(cloud: Cloud, dense: Cloud, *, file: Path) -> None:
    """Refuse a sparse cloud whose points are not those rows of the dense one that it names.

    Raises
    ------
    BadInputError
        They do not belong together, or a radius is broken.
    """
    _check_radius(cloud, file=file)
    index: NDArray[np.int64] | None = cloud.index
    if index is None or index.shape != (len(cloud),):
        raise _refuse(
            "rows of the dense cloud are missing",
            file=file,
            field="index",
            expected=f"({len(cloud)},)",
            found=None if index is None else index.shape,
        )
    known = (index >= 0) & (index < len(dense))
    if not known.all() or len(np.unique(index)) != len(index):
        raise _refuse(
            "not rows of the dense cloud, each once",
            file=file,
            field="index",
            expected=f"0 to {len(dense) - 1}",
            found=f"{int(index.min())} to {int(index.max())}",
        )
    others = int((dense.points[index] != cloud.points).any(axis=1).sum())
    if others:
        raise _refuse(
            "points are not those of the dense cloud",
            file=file,
            field="points",
            expected="equal coordinates",
            found=f"{others} of {len(cloud)} points elsewhere",
        )
