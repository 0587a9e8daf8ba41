"""Write the files of one phantom case: NIfTI volumes and truth points.

The phantom has its own writers, so that an error in the rest of the package cannot cancel out.
"""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.io.files import atomic_path, check_written_gzip
from lcsd.phantom.anatomy import Points
from lcsd.phantom.scanner import Scan

POINT_HEADER = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
# Header of a NIfTI-1 file and the four bytes after it.
NIFTI_HEADER_BYTES = 352
# Fast compression: noise hardly compresses, masks compress well at any level.
COMPRESSION_LEVEL = 1


def write_volume(path: Path, voxels: NDArray[Any], scan: Scan) -> None:
    """Write voxels (z, y, x) with the scan's geometry; the suffix of the path chooses the format."""
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([float(v) for v in scan.spacing])
    image.SetOrigin([float(v) for v in scan.origin])
    image.SetDirection([float(v) for v in scan.direction.ravel()])
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), True, COMPRESSION_LEVEL)
        if path.name.endswith(".gz"):
            check_written_gzip(temporary, NIFTI_HEADER_BYTES + voxels.nbytes)


def write_points(path: Path, fixed: Points, moving: Points) -> None:
    """Write point pairs (N, 3) as CSV in native LPS mm with 6 decimals."""
    lines = [",".join(f"{v:.6f}" for v in row) for row in np.hstack([fixed, moving])]
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join([POINT_HEADER, *lines, ""]), encoding="utf-8")
