"""The coarse copy of a scan on which lungs are found, and the way back to the scan's own grid."""

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from lcsd.geometry import Grid
from lcsd.io.images import Image, from_sitk, resample, to_sitk
from lcsd.numerics.morphology import box


def working_copy(scan: Image, spacing_mm: float) -> Image:
    """Return the scan averaged to about ``spacing_mm``, float32, with the axes of LPS."""
    volume = sitk.DICOMOrient(to_sitk(scan), "LPS")
    factors = [max(1, round(spacing_mm / step)) for step in volume.GetSpacing()]
    return from_sitk(sitk.BinShrink(sitk.Cast(volume, sitk.sitkFloat32), factors))


def on_grid(mask: Image, grid: Grid) -> Image:
    """Return a mask of the working copy on the scan's grid; its surface is smooth, not one of coarse steps."""
    # The mask's box alone is interpolated: it is a third of a scan.
    reach = 2 * float(max(mask.grid.spacing))
    coarse = box(mask.array, reach, np.asarray(mask.grid.spacing[::-1]))
    soft = ndimage.gaussian_filter(mask.array[coarse].astype(np.float32), 0.7)
    first = np.array([part.start for part in coarse[::-1]])
    size = soft.shape[::-1]
    held = mask.grid.part(first, size)
    corners = grid.world_to_voxel(held.corners())
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, np.asarray(grid.size) - 1)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 1, low + 1, grid.size)
    fine = resample(Image(soft, held), grid.part(low, tuple(int(n) for n in high - low)))
    whole = np.zeros(grid.shape, dtype=bool)
    whole[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))] = fine.array > 0.5
    return Image(whole, grid)
