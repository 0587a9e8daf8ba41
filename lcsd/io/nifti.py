"""nibabel, which commands import without pydicom.

nibabel imports pydicom, and with it decoders and a client for HTTP, for DICOM headers inside NIfTI files, which lcsd
never reads: a third of the time that a command takes to start. Programs that import lcsd get nibabel as it is.
"""

import sys
from typing import Any, cast

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

__all__ = ["HeaderDataError", "ImageFileError", "nibabel"]
