"""nibabel, imported without pydicom.

nibabel imports pydicom, and with it decoders and a client for HTTP, for DICOM headers inside NIfTI files, which lcsd
never reads: a third of the time that a command takes to start.
"""

import sys
from typing import Any, cast

_known = "pydicom" in sys.modules
if not _known:
    cast("dict[str, Any]", sys.modules)["pydicom"] = None  # its import fails, as if it were not installed
try:
    import nibabel
    from nibabel.filebasedimages import ImageFileError
    from nibabel.spatialimages import HeaderDataError
finally:
    if not _known:
        del sys.modules["pydicom"]

__all__ = ["HeaderDataError", "ImageFileError", "nibabel"]
