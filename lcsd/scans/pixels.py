"""Decode the pixels of slices and turn them into HU."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from lcsd.io.itk import itk_path, warnings_of_itk
from lcsd.scans.dicom import READ_ERRORS, quiet_pydicom, raise_if_system, truncated
from lcsd.scans.slices import BITS_ALLOCATED, Slice, refused

HU_LOWEST = -1024  # air in 12-bit CT; scanners pad outside the field of view with lower values (-2000, -3024)

AIR_HU = (-1200.0, -500.0)  # lung and air; padding lies below, soft tissue above


def planes(slices: Sequence[Slice]) -> Iterator[NDArray[np.float32]]:
    """Yield the pixels (y, x) in HU; each slice has its own slope and intercept.

    Padding outside the field of view becomes air if its value would be tissue. Raises ``BadInputError``
    (``truncated_file``, ``ambiguous_sign``) for pixels that cannot be decoded.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    opened: tuple[Path, Any] | None = None
    for part in slices:
        try:
            if part.stored.whole and part.header.frame is None:
                reader.SetFileName(itk_path(part.path))
                with warnings_of_itk():  # about private tags; the gates check what matters
                    plane = sitk.GetArrayFromImage(reader.Execute()).reshape(part.rows, part.columns)
            else:
                if opened is None or opened[0] != part.path:
                    opened = part.path, _opened(part)
                plane = _rescaled(opened[1], part)
        except (RuntimeError, *READ_ERRORS) as error:
            raise_if_system(error)  # type: ignore[arg-type]
            # ITK reports a failing disk and a damaged file alike; reading the file tells them apart.
            part.path.read_bytes()
            raise truncated(part.path, "its pixels cannot be decoded") from error
        yield _without_padding(plane, part)


def _opened(part: Slice) -> Any:
    """Return the data set of a file, completed by the elements that its header lacks."""
    with quiet_pydicom():
        data: Any = pydicom.dcmread(part.path, force=True)
    usual = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": BITS_ALLOCATED}
    usual |= {"BitsStored": part.stored.bits, "HighBit": part.stored.bits - 1, "PixelRepresentation": 0}
    for name, value in usual.items():
        if data.get(name) in (None, ""):
            setattr(data, name, value)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit = data.original_encoding[0]
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return data


def _rescaled(data: Any, part: Slice) -> NDArray[np.float32]:
    with quiet_pydicom():
        pixels = pixel_array(data, index=part.header.frame or 0, raw=True)
    stored, sign = part.stored, 1 << (part.stored.bits - 1)
    # Bits above BitsStored are not part of the value.
    values = pixels.reshape(part.rows, part.columns).astype(np.int32) & ((sign << 1) - 1)
    high = (values & sign) != 0
    if stored.signed is None and high.any():
        raise refused(
            part.path,
            "the header does not say whether pixels are signed",
            code="ambiguous_sign",
            field="PixelRepresentation",
            expected="0 or 1, as values have their highest bit set",
            found="none",
        )
    if stored.signed:
        values -= high * (sign << 1)
    return (values * stored.slope + stored.intercept).astype(np.float32)


def _without_padding(plane: NDArray[np.float32], part: Slice) -> NDArray[np.float32]:
    """Return a plane whose padding is air, where its value is not: only padding that reaches the edge.

    Headers name values as padding that the body has, too, such as 0 HU.
    """
    if part.stored.padding is None or part.stored.padding[1] <= AIR_HU[1]:
        return plane
    from scipy.ndimage import label

    low, high = part.stored.padding
    regions, _ = label((plane >= low) & (plane <= high))
    edges = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    return np.where(np.isin(regions, edges[edges > 0]), np.float32(HU_LOWEST), plane)
