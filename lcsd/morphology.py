"""Growing and shrinking masks by millimetres, whatever the voxels' shape."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

Mask = NDArray[np.bool_]
Step = NDArray[np.float64]
"""Distance of voxel centres along the array's axes (z, y, x), mm."""


def depth_mm(mask: Mask, step: Step) -> NDArray[np.float32]:
    """Return how deep each voxel lies in the mask, mm; outside minus the distance to it.

    Distances are to the centres of the mask's outermost voxels, which have depth 0; the volume's
    border is no edge of the mask.
    """
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing([float(s) for s in step[::-1]])
    distance = sitk.SignedMaurerDistanceMap(
        image, insideIsPositive=True, squaredDistance=False, useImageSpacing=True
    )
    return np.asarray(sitk.GetArrayFromImage(distance), dtype=np.float32)


def grown(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the mask and all voxels within ``radius_mm`` of it."""
    if not mask.any() or radius_mm <= 0:
        return mask
    return np.asarray(depth_mm(mask, step) >= -radius_mm)


def shrunk(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the voxels of the mask deeper than ``radius_mm``."""
    if not mask.any():
        return mask
    return np.asarray(depth_mm(mask, step) > radius_mm)


def closed(mask: Mask, radius_mm: float, step: Step) -> Mask:
    """Return the mask with gaps up to ``2 * radius_mm`` closed and all holes filled."""
    pad = [(int(np.ceil(radius_mm / s)) + 1,) * 2 for s in step]
    wide = np.pad(mask, pad)
    if radius_mm > 0:
        wide = shrunk(grown(wide, radius_mm, step), radius_mm, step) | wide
    filled = ndimage.binary_fill_holes(wide)
    return np.asarray(filled[tuple(slice(a, -b) for a, b in pad)])


def largest(mask: Mask) -> Mask:
    """Return the largest connected part (faces touch), the first of equals."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(labels == int(sizes.argmax()))


def box(mask: Mask, margin: int) -> tuple[slice, slice, slice]:
    """Return the slices of the smallest box around the mask, with a margin in voxels."""
    ranges = []
    for axis, count in enumerate(mask.shape):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        ranges.append(slice(max(0, int(used[0]) - margin), min(count, int(used[-1]) + margin + 1)))
    z, y, x = ranges
    return z, y, x
