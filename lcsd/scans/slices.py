"""The gates on single CT images and on what the images of a series must share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.scans.dicom import CT_IMAGE, ENHANCED_CT, Header, truncated
from lcsd.settings.convert import ConvertSettings

READABLE_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2",  # implicit little endian
        "1.2.840.10008.1.2.1",  # explicit little endian
        "1.2.840.10008.1.2.1.99",  # deflated
        "1.2.840.10008.1.2.2",  # explicit big endian
        "1.2.840.10008.1.2.4.57",  # JPEG lossless
        "1.2.840.10008.1.2.4.70",  # JPEG lossless, first-order prediction
        "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
        "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
        "1.2.840.10008.1.2.5",  # run length
    }
)
"""Lossless transfer syntaxes that GDCM decodes (DICOM PS3.5, section 10)."""

LOSSY_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # JPEG baseline
        "1.2.840.10008.1.2.4.51",  # JPEG extended
        "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
        "1.2.840.10008.1.2.4.91",  # JPEG 2000, lossy allowed
        "1.2.840.10008.1.2.4.203",  # high-throughput JPEG 2000, lossy allowed
    }
)
"""Transfer syntaxes that may have changed the values (DICOM PS3.5, section 10)."""

BITS_ALLOCATED = 16
FEWEST_BITS = 8
"""Bits of a CT image: 16 allocated, at least 12 stored by the standard, 8 in old exports."""

BYTES_PER_PIXEL = BITS_ALLOCATED // 8

SHARED = (
    ("PatientID", "mixed_patient", "patients"),
    ("StudyInstanceUID", "mixed_study", "studies"),
    ("FrameOfReferenceUID", "mixed_frame", "frames of reference"),
    ("ConvolutionKernel", "mixed_kernel", "reconstruction kernels"),
)
"""Elements that are equal in all images of one series, with the reason code and a word for them."""


@dataclass(frozen=True)
class Slice:
    """One checked CT image.

    Parameters
    ----------
    orientation
        Direction cosines along a row and along a column, LPS, shape (6,).
    position
        LPS mm of the centre of the first pixel, shape (3,).
    pixel_spacing
        Distance of rows and distance of columns, mm.
    gantry_tilt
        Degrees.
    """

    path: Path
    rows: int
    columns: int
    orientation: NDArray[np.float64]
    position: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    gantry_tilt: float


def check_shared(headers: Sequence[Header]) -> None:
    """Refuse images of two patients, studies, frames or kernels under one series UID.

    Values are not told: they may identify the patient.
    """
    for name, code, words in SHARED:
        first = headers[0].texts(name)
        for header in headers[1:]:
            if header.texts(name) != first:
                raise BadInputError(
                    f"images of several {words} under one series UID",
                    code=code,
                    file=header.path,
                    field=name,
                    expected=f"as in {headers[0].path.name}",
                    found="another value",
                    remedy="sort the files and give one series",
                )


def read_slice(header: Header, settings: ConvertSettings) -> Slice:
    """Return one image of the series after the gates on it.

    Raises
    ------
    BadInputError
        The image is not an original single-frame CT image in HU, its pixels are absent, lossy or
        not decodable here, or its header does not place it.
    """
    path = header.path
    _check_kind(header, settings)
    _check_syntax(header)
    rows, columns = _integer(header, "Rows"), _integer(header, "Columns")
    _check_pixels(header, rows * columns * BYTES_PER_PIXEL)
    _check_rescale(header)
    spacing = _numbers(header, "PixelSpacing", 2)
    if not (spacing > 0).all():
        raise _bad(path, "PixelSpacing", "two positive lengths", spacing.tolist())
    tilt = header.text("GantryDetectorTilt")
    return Slice(
        path=path,
        rows=rows,
        columns=columns,
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        position=_numbers(header, "ImagePositionPatient", 3),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        gantry_tilt=_finite(tilt, "GantryDetectorTilt", path) if tilt else 0.0,
    )


def _check_kind(header: Header, settings: ConvertSettings) -> None:
    """Refuse all slices in one file, screen captures, and images computed from others."""
    path = header.path
    kind = header.text("SOPClassUID")
    frames = header.text("NumberOfFrames") or "1"
    if kind in ENHANCED_CT or frames != "1":
        raise BadInputError(
            "multi-frame DICOM is not supported",
            code="multiframe",
            file=path,
            field="NumberOfFrames",
            expected="one slice per file",
            found=f"{frames} frames",
            remedy="export the scan as single-frame CT images or as NIfTI",
        )
    capture = kind not in (CT_IMAGE, "")
    derived = header.texts("ImageType")[:1] == ["DERIVED"]
    if capture or (derived and not settings.accept_derived):
        raise BadInputError(
            "not an original CT image",
            code="derived_image",
            file=path,
            field="SOPClassUID" if capture else "ImageType",
            expected="CT image storage, ORIGINAL",
            found="a capture or another kind of image" if capture else "DERIVED",
            remedy="give the original axial series" + ("" if capture else ", or allow it by --set accept_derived=true"),
        )


def _check_syntax(header: Header) -> None:
    """Refuse pixels that are lossy or not decodable here."""
    syntax = header.syntax
    if str(syntax) in LOSSY_SYNTAXES or header.text("LossyImageCompression") == "01":
        raise BadInputError(
            "the pixels went through lossy compression",
            code="lossy_compression",
            file=header.path,
            field="TransferSyntaxUID, LossyImageCompression",
            expected="lossless",
            found=getattr(syntax, "name", None) or "lossy",
            remedy="export the series without compression; lost values do not come back",
        )
    unknown = syntax is None and header.pixel_bytes < 0
    if unknown or (syntax is not None and str(syntax) not in READABLE_SYNTAXES):
        raise BadInputError(
            "the pixels are compressed in a way that is not supported",
            code="unsupported_transfer_syntax",
            file=header.path,
            field="TransferSyntaxUID",
            expected="uncompressed or a lossless compression",
            found=getattr(syntax, "name", None) or "none",
            remedy="convert the series, for example with gdcmconv --raw",
        )


def _check_pixels(header: Header, wanted: int) -> None:
    """Refuse what is not one grey value of 16 bits per pixel, all of them there."""
    path = header.path
    allocated = _integer(header, "BitsAllocated")
    stored = _integer(header, "BitsStored")
    found = {
        "SamplesPerPixel": _integer(header, "SamplesPerPixel") == 1,
        # Readers turn the values of MONOCHROME1 around.
        "PhotometricInterpretation": header.text("PhotometricInterpretation") == "MONOCHROME2",
        "BitsAllocated": allocated == BITS_ALLOCATED,
        "BitsStored": FEWEST_BITS <= stored <= allocated,
        "HighBit": _integer(header, "HighBit", least=0) == stored - 1,
        "PixelRepresentation": _integer(header, "PixelRepresentation", least=0) in (0, 1),
    }
    for name, good in found.items():
        if not good:
            raise BadInputError(
                "pixels are not stored as those of a CT image",
                code="bad_pixel_format",
                file=path,
                field=name,
                expected="one MONOCHROME2 sample, 16 bits allocated, HighBit = BitsStored - 1",
                found="another value",
                remedy="export the series again",
            )
    length = header.pixel_bytes
    compressed = length < 0
    if not compressed and length < wanted:
        raise truncated(path, f"{length} of {wanted} bytes of pixels")
    if not compressed and length > wanted:
        raise BadInputError(
            "more pixels than rows and columns hold",
            code="bad_pixel_format",
            file=path,
            field="PixelData",
            expected=f"{wanted} bytes",
            found=f"{length} bytes",
            remedy="export the series again",
        )


def _check_rescale(header: Header) -> None:
    """Refuse stored values that do not become HU by slope and intercept."""
    path = header.path
    for name in ("RescaleSlope", "RescaleIntercept"):
        text = header.text(name)
        if not text:
            raise BadInputError(
                "the header does not say how values become HU",
                code="no_rescale",
                file=path,
                field=name,
                expected="a number",
                found="none",
                remedy="export the series again",
            )
        if _finite(text, name, path) <= 0 and name == "RescaleSlope":
            raise _bad(path, name, "a positive number", text)
    unit = header.text("RescaleType") or "HU"
    if unit != "HU":
        raise BadInputError(
            "the values are not Hounsfield units",
            code="rescale_type",
            file=path,
            field="RescaleType",
            expected="HU",
            found="another unit",
            remedy="give the series in HU, not a material or effective-Z map",
        )


def _integer(header: Header, name: str, *, least: int = 1) -> int:
    value = float(_numbers(header, name, 1)[0])
    if value < least or value != int(value):
        raise _bad(header.path, name, f"a whole number of at least {least}", f"{value:g}")
    return int(value)


def _numbers(header: Header, name: str, count: int) -> NDArray[np.float64]:
    texts = header.values.get(name, ())
    if texts is None:
        raise _bad(header.path, name, f"{count} finite numbers", "something else")
    if not texts:
        raise _missing(header.path, name)
    if len(texts) != count:
        raise _bad(header.path, name, f"{count} finite numbers", f"{len(texts)} values")
    return np.array([_finite(text, name, header.path) for text in texts])


def _finite(text: str, name: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _bad(path, name, "a finite number", text[:16])
    return value


def _bad(path: Path, name: str, expected: str, found: object) -> BadInputError:
    return BadInputError(
        "the header's geometry or scale is broken",
        code="bad_geometry",
        file=path,
        field=name,
        expected=expected,
        found=found,
        remedy="export the series again",
    )


def _missing(path: Path, name: str) -> BadInputError:
    return BadInputError(
        "the header lacks what places the slice",
        code="missing_geometry",
        file=path,
        field=name,
        expected="a value",
        found="none",
        remedy="export the series again",
    )
