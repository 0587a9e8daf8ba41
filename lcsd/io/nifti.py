"""nibabel, which commands import without pydicom.

nibabel imports pydicom, and with it decoders and a client for HTTP, for DICOM headers inside NIfTI files, which lcsd
never reads: a third of the time that a command takes to start. Programs that import lcsd get nibabel as it is.
"""

import gzip
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

_without = "lcsd.cli.main" in sys.modules and "pydicom" not in sys.modules
if _without:
    cast("dict[str, Any]", sys.modules)["pydicom"] = None  # its import fails, as if it were not installed
try:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
finally:
    if _without:
        del sys.modules["pydicom"]

__all__ = ["HeaderDataError", "ImageFileError", "nibabel", "voxels_of"]

REST_BYTES = 1 << 20
"""Bytes that are read at once after the voxels."""

MOST_REST = 256
"""Most reads after the voxels; a longer file was made to keep its reader busy."""


def voxels_of(volume: Any, path: Path) -> NDArray[Any]:
    """Return the voxels of a nibabel image (x, y, z, ...), scaled as its header says.

    A packed file is read to its end, because only there it says whether its bytes are the ones that were written;
    nibabel stops before. Raises ``OSError``, ``EOFError`` or ``zlib.error`` for a damaged file.
    """
    if not path.name.lower().endswith(".gz"):
        return np.asanyarray(volume.dataobj)
    stored = volume.dataobj
    layout = stored.shape, stored.dtype, stored.offset, stored.slope, stored.inter
    with gzip.open(path) as stream:
        voxels = np.asanyarray(nibabel.arrayproxy.ArrayProxy(stream, layout))
        for _ in range(MOST_REST):
            if not stream.read(REST_BYTES):
                return voxels
    raise OSError("too many bytes after its voxels")
