"""Every few voxels of a scan, with the axes of LPS: enough for figures of the whole chest."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.io.images import Image, from_sitk
from lcsd.numerics.morphology import Step

SAMPLE_MM = 3.0  # voxels are taken at about this distance


def sample(image: Image) -> tuple[NDArray[np.float32], Step]:
    """Return voxels at about ``SAMPLE_MM``, float32, with the axes of LPS, and their distance (z, y, x)."""
    every = [max(1, round(SAMPLE_MM / step)) for step in image.grid.spacing]
    x, y, z = every
    array = image.array[::z, ::y, ::x]
    volume = sitk.GetImageFromArray(np.ascontiguousarray(array, dtype=np.float32))
    volume.SetSpacing([step * n for step, n in zip(image.grid.spacing, every, strict=True)])
    volume.SetDirection(image.grid.direction)
    found = from_sitk(sitk.DICOMOrient(volume, "LPS"))
    return found.array, np.asarray(found.grid.spacing[::-1])
