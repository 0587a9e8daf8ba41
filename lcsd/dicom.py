"""The DICOM files of a folder, sorted into series, with the headers that place their slices."""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from lcsd.errors import BadInputError

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

PREAMBLE_BYTES = 128
MAGIC = b"DICM"
BITS_PER_BYTE = 8


@dataclass(frozen=True)
class Slice:
    """Header of one CT image.

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


@dataclass(frozen=True)
class Series:
    """The slices of one CT series, unordered."""

    uid: str
    folder: Path
    slices: list[Slice]


def read_folder(folder: Path, *, series_uid: str | None, min_slices: int) -> Series:
    """Return the CT series of a folder and its subfolders.

    Files that are not DICOM, localizers and other modalities are left out. Of several series,
    those below ``min_slices`` are left out too (dose reports, single images).

    Raises
    ------
    BadInputError
        No DICOM, no CT, several series, a broken file, an unsupported transfer syntax, or a
        header without geometry.
    """
    headers = _headers(folder)
    if not headers:
        raise BadInputError(
            "no DICOM files in the folder", code="no_dicom", file=folder,
            remedy="give the folder that holds the series",
        )  # fmt: skip
    groups: dict[str, list[tuple[Path, Any]]] = defaultdict(list)
    for path, header in headers:
        if _is_ct(header) and not _is_localizer(header):
            groups[str(header.get("SeriesInstanceUID", ""))].append((path, header))
    uid = _choose(groups, folder, series_uid=series_uid, min_slices=min_slices)
    return Series(uid, folder, [_slice(path, header) for path, header in groups[uid]])


def _headers(folder: Path) -> list[tuple[Path, Any]]:
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name.startswith(".") or path.name.upper() == "DICOMDIR":
            continue
        header = _header(path)
        if header is not None:
            found.append((path, header))
    return found


def _header(path: Path) -> Any | None:
    """Return the header of a DICOM file; None if it is another kind of file."""
    if path.stat().st_size == 0:
        raise BadInputError(
            "file is empty", code="truncated_file", file=path, remedy="fetch the file again"
        )
    with path.open("rb") as handle:
        if handle.read(PREAMBLE_BYTES + len(MAGIC))[PREAMBLE_BYTES:] != MAGIC:
            return None
    try:
        with warnings.catch_warnings():
            # pydicom warns about values outside the standard; those that matter are gated.
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            pixels = len(dataset.PixelData) if "PixelData" in dataset else None
    except (InvalidDicomError, EOFError, OSError, ValueError, KeyError, AttributeError) as error:
        raise _truncated(path, "its header cannot be read") from error
    if _is_ct(dataset):
        _check_pixels(path, dataset, pixels)
    for name in ("PixelData", "WaveformData"):
        if name in dataset:
            del dataset[name]
    return dataset


def _truncated(path: Path, found: str) -> BadInputError:
    return BadInputError(
        "not a whole DICOM file", code="truncated_file", file=path, found=found,
        remedy="fetch the file again",
    )  # fmt: skip


def _check_pixels(path: Path, dataset: Any, pixels: int | None) -> None:
    """Refuse a CT image whose pixels are absent, short, or not decodable here."""
    syntax = dataset.file_meta.get("TransferSyntaxUID") if hasattr(dataset, "file_meta") else None
    if syntax is None or str(syntax) not in READABLE_SYNTAXES:
        raise BadInputError(
            "the pixels are compressed in a way that is not supported",
            code="unsupported_transfer_syntax", file=path, field="TransferSyntaxUID",
            expected="uncompressed or a lossless compression",
            found=getattr(syntax, "name", None) or "none",
            remedy="convert the series, for example with gdcmconv --raw",
        )  # fmt: skip
    if pixels is None:
        raise _truncated(path, "no pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise BadInputError(
            "multi-frame DICOM is not supported", code="multiframe", file=path,
            field="NumberOfFrames", expected=1, found=frames,
            remedy="export the scan as single-frame CT images or as NIfTI",
        )  # fmt: skip
    if not syntax.is_compressed:
        wanted = _integer(dataset, "Rows", path) * _integer(dataset, "Columns", path)
        wanted *= _integer(dataset, "BitsAllocated", path) // BITS_PER_BYTE
        if pixels < wanted:
            raise _truncated(path, f"{pixels} of {wanted} bytes of pixels")


def _is_ct(header: Any) -> bool:
    return str(header.get("Modality", "CT")) == "CT"


def _is_localizer(header: Any) -> bool:
    return "LOCALIZER" in [str(value).upper() for value in header.get("ImageType") or []]


def _choose(
    groups: dict[str, list[tuple[Path, Any]]],
    folder: Path,
    *,
    series_uid: str | None,
    min_slices: int,
) -> str:
    """Return the UID of the one series to read."""
    listed = "; ".join(
        f"{uid or '(no UID)'} ({len(files)} images, {files[0][1].get('SeriesDescription', '')})"
        for uid, files in sorted(groups.items())
    )
    if series_uid is not None:
        if series_uid not in groups:
            raise BadInputError(
                "the series is not in the folder", code="no_series", file=folder,
                field="series_uid", expected=series_uid, found=listed or "no CT series",
            )  # fmt: skip
        return series_uid
    if not groups:
        raise BadInputError(
            "no CT images in the folder", code="no_ct", file=folder,
            expected="axial CT", found="only localizers or other modalities",
        )  # fmt: skip
    # A folder with short series only is judged by the number of slices later, with its count.
    long = [uid for uid, files in groups.items() if len(files) >= min_slices]
    candidates = long or list(groups)
    if len(candidates) > 1:
        raise BadInputError(
            "several series in the folder", code="several_series", file=folder,
            expected="one CT series", found=listed,
            remedy="give the series' own folder (lcsd convert: or name it by --set series_uid=UID)",
        )  # fmt: skip
    return candidates[0]


def _slice(path: Path, header: Any) -> Slice:
    spacing = _numbers(header, "PixelSpacing", 2, path)
    return Slice(
        path=path,
        rows=_integer(header, "Rows", path),
        columns=_integer(header, "Columns", path),
        orientation=_numbers(header, "ImageOrientationPatient", 6, path),
        position=_numbers(header, "ImagePositionPatient", 3, path),
        pixel_spacing=(float(spacing[0]), float(spacing[1])),
        gantry_tilt=float(header.get("GantryDetectorTilt") or 0.0),
    )


def _integer(header: Any, name: str, path: Path) -> int:
    value = header.get(name)
    if value is None:
        raise _missing(path, name)
    return int(value)


def _numbers(header: Any, name: str, count: int, path: Path) -> NDArray[np.float64]:
    value = header.get(name)
    if value is None or len(value) != count:
        raise _missing(path, name)
    return np.array([float(part) for part in value])


def _missing(path: Path, name: str) -> BadInputError:
    return BadInputError(
        "the header does not say where the slice lies", code="missing_geometry", file=path,
        field=name, expected="a value", found="none", remedy="export the series again",
    )  # fmt: skip
