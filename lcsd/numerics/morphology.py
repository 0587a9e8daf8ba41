"""Grow and shrink masks by millimetres, for voxels of any shape, and find their connected parts."""

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Step = NDArray[np.float64]
"""Distance of voxel centres along the array's axes (z, y, x), mm."""

VOXELS = np.ones(3)
"""As a step: lengths are counted in voxels."""

ML_PER_MM3 = 1e-3


def distance_mm(mask: Mask, step: Step) -> NDArray[np.float32]:
    """Return the distance of each voxel to the nearest voxel of the mask, mm; 0 inside.

    Infinite everywhere if the mask is empty.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    return _maurer(mask, step, squared=False)


def _maurer(mask: Mask, step: Step, *, squared: bool) -> NDArray[np.float32]:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(s) for s in step[::-1]])
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=False, squaredDistance=squared, useImageSpacing=True
    )
    return np.maximum(sitk.GetArrayFromImage(distance), np.float32(0))


def depth_mm(mask: Mask, step: Step) -> NDArray[np.float32]:
    """Return the distance of each voxel to the nearest voxel outside the mask, mm; 0 outside.

    The border of the volume is not an edge of the mask.
    """
    return distance_mm(~mask, step)


def squared_depth_mm2(mask: Mask, step: Step) -> NDArray[np.float32]:
    """Return the square of :func:`depth_mm`, whose root float32 would round; there is a voxel outside the mask."""
    return _maurer(~mask, step, squared=True)


def grown(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the mask and all voxels within ``radius_mm`` of it."""
    if not mask.any() or radius_mm <= 0:
        return mask
    part = box(mask, radius_mm, step)
    result = np.zeros_like(mask)
    result[part] = distance_mm(mask[part], step) <= radius_mm
    return result


def shrunk(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the voxels of the mask that are further than ``radius_mm`` from all voxels outside."""
    if not mask.any() or radius_mm <= 0:
        return mask
    part = box(mask, float(max(step)), step)
    result = np.zeros_like(mask)
    result[part] = depth_mm(mask[part], step) > radius_mm
    return result


def closed(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the mask with gaps up to ``2 * radius_mm`` closed and all holes filled."""
    pad = [(int(np.ceil(radius_mm / s)) + 1,) * 2 for s in step]
    wide = np.pad(mask, pad)
    part = box(wide, radius_mm + float(max(step)), step)
    small = wide[part]
    wide[part] = ndimage.binary_fill_holes(shrunk(grown(small, radius_mm, step), radius_mm, step))
    return np.asarray(wide[tuple(slice(a, -b) for a, b in pad)])


class Parts(NamedTuple):
    """The connected parts of a mask (faces touch), numbered from 1.

    ``labels`` has the number of each voxel's part, 0 outside the mask; ``sizes`` the voxels of each part, at the index
    of its number; ``order`` the numbers of the parts, the largest first; equal ones by number.
    """

    labels: NDArray[np.int32]
    sizes: NDArray[np.int64]
    order: NDArray[np.int64]


def connected(mask: Mask) -> Parts:
    """Return the connected parts of a mask."""
    labels = np.zeros(mask.shape, dtype=np.int32)
    if not mask.any():
        return Parts(labels, np.zeros(1, np.int64), np.zeros(0, np.int64))
    part = box(mask, 0.0, VOXELS)
    count = int(ndimage.label(mask[part], output=labels[part]))
    sizes = np.bincount(labels[part][mask[part]], minlength=count + 1)
    return Parts(labels, sizes, np.argsort(-sizes, kind="stable")[:count])


def largest(mask: Mask) -> Mask:
    """Return the largest connected part, or the empty mask itself."""
    labels, _, order = connected(mask)
    return labels == order[0] if len(order) else mask


def box(mask: Mask, margin_mm: float, step: Step) -> tuple[slice, slice, slice]:
    """Return the slices of the smallest box around a mask that is not empty, with a margin."""
    ranges = []
    for axis, count in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        margin = int(np.ceil(margin_mm / step[axis]))
        ranges.append(slice(max(0, int(used[0]) - margin), min(count, int(used[-1]) + margin + 1)))
    z, y, x = ranges
    return z, y, x
