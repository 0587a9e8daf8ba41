"""Gates on single CT images, and on what the images of a series must share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
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
FEWEST_BITS = 8  # bits of a CT image: 16 allocated, at least 12 stored by the standard, 8 in old exports

BYTES_PER_PIXEL = BITS_ALLOCATED // 8

PLACING = frozenset({"ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"})
"""Elements that give the slice its place and size."""

PIXEL_ELEMENTS = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit")
"""Elements that follow from each other, from the length of the pixels, or from what a CT image is."""

SHARED = (
    ("PatientID", "mixed_patient", "patients"),
    ("StudyInstanceUID", "mixed_study", "studies"),
    ("FrameOfReferenceUID", "mixed_frame", "frames of reference"),
    ("ConvolutionKernel", "mixed_kernel", "reconstruction kernels"),
    ("SliceThickness", "mixed_thickness", "slice thicknesses"),
    ("KVP", "mixed_voltage", "tube voltages"),
)
"""Elements that must be equal in all images of a series: name, reason code, word for messages."""

MAY_LACK = frozenset({"SliceThickness", "KVP"})
"""Shared elements that an image may lack: they tell nothing about its place or its owner."""


@dataclass(frozen=True)
class Stored:
    """How the pixels of an image are stored."""

    bits: int  # BitsStored
    signed: bool | None  # None if the header does not say: then no value may have its highest bit set
    slope: float
    intercept: float  # HU = slope x stored value + intercept
    padding: tuple[float, float] | None  # lowest and highest HU of pixels outside the field of view
    whole: bool  # whether the header has all elements that describe pixels


@dataclass(frozen=True)
class Slice:
    """One checked CT image."""

    header: Header
    rows: int
    columns: int
    orientation: NDArray[np.float64]  # direction cosines along a row and along a column, LPS, shape (6,)
    position: NDArray[np.float64]  # LPS mm of the centre of the first pixel, shape (3,)
    pixel_spacing: tuple[float, float]  # distance of rows and distance of columns, mm
    gantry_tilt: float  # degrees
    stored: Stored

    @property
    def path(self) -> Path:
        """File of the image."""
        return self.header.path


def refused(
    path: Path,
    what: str,
    *,
    code: str,
    field: str,
    expected: object,
    found: object,
    remedy: str = "export the series again",
) -> BadInputError:
    """Return the error of an image whose header or pixels cannot be used."""
    return BadInputError(what, code=code, file=path, field=field, expected=expected, found=found, remedy=remedy)


def unsupported_syntax(path: Path, syntax: Any, *, expected: str) -> BadInputError:
    """Return the error of pixels in a transfer syntax that cannot be decoded here."""
    return refused(
        path,
        "the compression of the pixels is not supported",
        code="unsupported_transfer_syntax",
        field="TransferSyntaxUID",
        expected=expected,
        found=getattr(syntax, "name", None) or "none",
        remedy="convert it, for example with gdcmconv --raw",
    )


def stack_grid(
    size_xyz: tuple[int, int, int],
    *,
    pixel_spacing: Sequence[float],
    step: float,
    first: NDArray[np.float64],
    axes: Sequence[NDArray[np.float64]],
) -> Grid:
    """Return the grid of slices in a regular stack.

    ``pixel_spacing`` is the distance of rows (along y), then of columns (along x), ``step`` that of slices, mm.
    ``first`` is the position of the first voxel, LPS mm, shape (3,). ``axes`` are unit vectors along a row,
    along a column, and normal to the slices, LPS.
    """
    return Grid(
        size=size_xyz,
        spacing=(float(pixel_spacing[1]), float(pixel_spacing[0]), step),
        origin=(float(first[0]), float(first[1]), float(first[2])),
        direction=tuple(float(v) for v in np.stack(axes, axis=1).ravel()),
    )


def check_shared(headers: Sequence[Header]) -> None:
    """Refuse images of two patients, studies, frames or kernels under one series UID.

    The message holds no values: they may identify the patient.
    """
    for name, code, words in SHARED:
        first = headers[0].texts(name)
        for header in headers[1:]:
            texts = header.texts(name)
            if name in MAY_LACK and not (texts and first):
                continue
            if not (_same(texts, first) if name in MAY_LACK else texts == first):
                raise refused(
                    header.path,
                    f"images of several {words} under one series UID",
                    code=code,
                    field=name,
                    expected=f"as in {headers[0].path.name}",
                    found="another value",
                    remedy="sort the files and give one series",
                )


def _same(texts: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether values are equal, as texts or as numbers."""
    if texts == others:
        return True
    try:
        return len(texts) == len(others) and bool(
            np.allclose([float(text) for text in texts], [float(text) for text in others], rtol=1e-3)
        )
    except ValueError:
        return False


def read_slice(header: Header, settings: ConvertSettings) -> Slice:
    """Return one image of the series, a file or a frame, after all gates on it.

    Raises ``BadInputError`` if it is not an original CT image in HU, its pixels are missing, lossy
    or cannot be decoded here, or its header does not place it.
    """
    _check_kind(header, settings)
    _check_syntax(header)
    rows, columns = _integer(header, "Rows"), _integer(header, "Columns")
    bits = _check_pixels(header, rows * columns * BYTES_PER_PIXEL)
    _check_rescale(header)
    spacing = _numbers(header, "PixelSpacing", 2)
    if not (spacing > 0).all():
        raise _bad(header.path, "PixelSpacing", "two positive lengths", spacing.tolist())
    tilt = header.text("GantryDetectorTilt")
    return Slice(
        header=header,
        rows=rows,
        columns=columns,
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        position=_numbers(header, "ImagePositionPatient", 3),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        gantry_tilt=_finite(tilt, "GantryDetectorTilt", header.path) if tilt else 0.0,
        stored=_stored(header, bits),
    )


def _stored(header: Header, bits: int) -> Stored:
    sign = header.text("PixelRepresentation")
    slope, intercept = float(header.text("RescaleSlope")), float(header.text("RescaleIntercept"))
    ends = [text for name in ("PixelPaddingValue", "PixelPaddingRangeLimit") for text in header.texts(name)[:1]]
    padding = None
    if ends:
        # Exporters write the bits of a negative value as a positive one, and the reverse.
        values = [int(_finite(text, "PixelPaddingValue", header.path)) % (1 << BITS_ALLOCATED) for text in ends]
        half = 1 << (BITS_ALLOCATED - 1)
        values = [value - 2 * half if sign == "1" and value >= half else value for value in values]
        padding = min(values) * slope + intercept, max(values) * slope + intercept
    whole = all(header.text(name) for name in (*PIXEL_ELEMENTS, "PixelRepresentation"))
    return Stored(bits, None if not sign else sign == "1", slope, intercept, padding, whole)


def check_frames(headers: Sequence[Header]) -> None:
    """Refuse multi-frame files that are not split into frames, for lack of functional groups."""
    for header in headers:
        frames = header.text("NumberOfFrames")
        if header.frame is None and (header.text("SOPClassUID") in ENHANCED_CT or frames not in ("", "1")):
            raise refused(
                header.path,
                "the file has several frames, and no functional groups that place each of them",
                code="multiframe",
                field="NumberOfFrames, PerFrameFunctionalGroupsSequence",
                expected=f"groups of {frames or 'all'} frames",
                found="none, or another number",
                remedy="export the scan as single-frame CT images or as NIfTI",
            )


def _check_kind(header: Header, settings: ConvertSettings) -> None:
    """Refuse screen captures, and images computed from others."""
    kind = header.text("SOPClassUID")
    capture = kind not in (CT_IMAGE, *ENHANCED_CT, "")
    derived = header.texts("ImageType")[:1] == ["DERIVED"]
    if capture or (derived and not settings.accept_derived):
        raise refused(
            header.path,
            "not an original CT image",
            code="derived_image",
            field="SOPClassUID" if capture else "ImageType",
            expected="CT image storage, ORIGINAL",
            found="a capture or another kind of image" if capture else "DERIVED",
            remedy="give the original axial series" + ("" if capture else ", or --set accept_derived=true"),
        )


def _check_syntax(header: Header) -> None:
    """Refuse pixels that are lossy or not decodable here."""
    syntax = header.syntax
    if str(syntax) in LOSSY_SYNTAXES or header.text("LossyImageCompression") == "01":
        raise refused(
            header.path,
            "the pixels were compressed with loss",
            code="lossy_compression",
            field="TransferSyntaxUID, LossyImageCompression",
            expected="lossless",
            found=getattr(syntax, "name", None) or "lossy",
            remedy="export the original series without compression",
        )
    unknown = syntax is None and header.pixel_bytes < 0
    if unknown or (syntax is not None and str(syntax) not in READABLE_SYNTAXES):
        raise unsupported_syntax(header.path, syntax, expected="uncompressed or a lossless compression")


def _check_pixels(header: Header, wanted: int) -> int:
    """Return BitsStored; refuse pixels that are not one grey value of 16 bits each, or not ``wanted`` bytes.

    A missing element takes the value that follows from the others.
    """
    exact = header.pixel_bytes in (wanted, wanted + wanted % 2)
    allocated = _integer(header, "BitsAllocated", default=BITS_ALLOCATED if exact else None)
    high = _integer(header, "HighBit", least=0, default=-1)
    stored = _integer(header, "BitsStored", default=high + 1 if high >= 0 else allocated)
    good = {
        "SamplesPerPixel": _integer(header, "SamplesPerPixel", default=1 if exact else None) == 1,
        # Readers invert the values of MONOCHROME1.
        "PhotometricInterpretation": (header.text("PhotometricInterpretation") or "MONOCHROME2") == "MONOCHROME2",
        "BitsAllocated": allocated == BITS_ALLOCATED,
        "BitsStored": FEWEST_BITS <= stored <= allocated,
        "HighBit": high in (-1, stored - 1),
        "PixelRepresentation": _integer(header, "PixelRepresentation", least=0, default=0) in (0, 1),
    }
    expected, found = "one MONOCHROME2 sample, 16 bits allocated, HighBit = BitsStored - 1", "another value"
    broken = next((name for name, as_in_ct in good.items() if not as_in_ct), None)
    length = header.pixel_bytes
    if broken is None and 0 <= length < wanted:
        raise truncated(header.path, f"{length} of {wanted} bytes of pixels")
    if broken is None and length > wanted:
        broken, expected, found = "PixelData", f"{wanted} bytes", f"{length} bytes"
    if broken is not None:
        raise refused(
            header.path,
            "the pixels are not stored like those of a CT image",
            code="bad_pixel_format",
            field=broken,
            expected=expected,
            found=found,
        )
    return stored


def _check_rescale(header: Header) -> None:
    """Refuse stored values that slope and intercept do not turn into HU."""
    for name in ("RescaleSlope", "RescaleIntercept"):
        text = header.text(name)
        if not text:
            what = "the header does not say how values become HU"
            raise refused(header.path, what, code="no_rescale", field=name, expected="a number", found="none")
        if _finite(text, name, header.path) <= 0 and name == "RescaleSlope":
            raise _bad(header.path, name, "a positive number", text)
    if header.text("RescaleType") not in ("", "HU"):
        raise refused(
            header.path,
            "the values are not Hounsfield units",
            code="rescale_type",
            field="RescaleType",
            expected="HU",
            found="another unit",
            remedy="give the series in HU, not a material or effective-Z map",
        )


def _integer(header: Header, name: str, *, least: int = 1, default: int | None = None) -> int:
    if default is not None and header.values.get(name, ()) == ():
        return default
    value = float(_numbers(header, name, 1)[0])
    if value < least or value != int(value):
        raise _bad(header.path, name, f"a whole number of at least {least}", f"{value:g}")
    return int(value)


def _numbers(header: Header, name: str, count: int) -> NDArray[np.float64]:
    texts = header.values.get(name, ())
    if texts is not None and not texts:
        places = name in PLACING
        what = "the header lacks what places the slice" if places else "the header lacks an element of its pixels"
        raise refused(
            header.path,
            what,
            code="missing_geometry" if places else "missing_element",
            field=name,
            expected="a value",
            found="none",
        )
    if texts is None or len(texts) != count:
        found = "unreadable values" if texts is None else f"{len(texts)} values"
        raise _bad(header.path, name, f"{count} finite numbers", found)
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
    what = "the header's geometry or scale is broken"
    return refused(path, what, code="bad_geometry", field=name, expected=expected, found=found)
