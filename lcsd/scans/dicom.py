"""Sort the DICOM files of a folder into series.

Headers are read without pixels, and only the elements that are used.
"""

import contextlib
import logging
import os
import struct
import warnings
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydicom.datadict import tag_for_keyword
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag

from lcsd.errors import BadInputError
from lcsd.io.files import require_file
from lcsd.scans.headers import FIELDS, PATIENT_FIELDS, PERSON_FIELDS, Values, plain_name

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
"""Enhanced and legacy converted enhanced CT: all slices in one file (DICOM PS3.3, A.38, A.70)."""

MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"
FIRST_RECORD = "OffsetOfTheFirstDirectoryRecordOfTheRootDirectoryEntity"
"""SOP class of a DICOMDIR, and the element that no other file has; media name this file as they like."""

PIXELS = "PixelData"

LOCALIZERS = frozenset({"LOCALIZER", "SCOUT", "TOPOGRAM"})
"""Words in ImageType of projections that plan a scan."""

READ_ELEMENTS = tuple(
    dict.fromkeys(
        [
            *("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "ImageType"),
            *("NumberOfFrames", "LossyImageCompression", "SamplesPerPixel", "PhotometricInterpretation"),
            *("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "ImagePositionPatient"),
            *("BitsAllocated", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", PIXELS),
            *("PixelPaddingValue", "PixelPaddingRangeLimit", "InstanceNumber", "SeriesNumber", FIRST_RECORD),
            *("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "AcquisitionDateTime", "ContentTime"),
            *("TemporalPositionIdentifier", "TemporalPositionIndex", "IrradiationEventUID"),
            *(*PATIENT_FIELDS, *PERSON_FIELDS),
            *(field.attribute for field in FIELDS),
        ]
    )
)
"""The only elements that are read."""

READ_TAGS = tuple(tag for name in READ_ELEMENTS if (tag := tag_for_keyword(name)) is not None)
PIXELS_TAG = 0x7FE00010

DEFER_BYTES = 1024  # longer values (the pixels) are skipped; their offset and length are kept

DEFLATED = "1.2.840.10008.1.2.1.99"

UNDEFINED_LENGTH = 0xFFFFFFFF  # length of compressed pixels, which come in fragments (DICOM PS3.5, A.4)

PREAMBLE_BYTES = 128
MAGIC = b"DICM"

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # a file with such a name that is not DICOM is a damaged slice, not a note

OTHER_SUFFIXES = frozenset(
    {".bat", ".csv", ".db", ".exe", ".htm", ".html", ".inf", ".ini", ".jpeg", ".jpg", ".js", ".json", ".log", ".md"}
    | {".pdf", ".png", ".txt", ".xml"}
)
"""A file with such a name is no slice, even if it is empty."""

LONGEST_FIRST_VALUE = 4096  # a file without preamble begins with a group length, a class or a character set: all short

FIRST_GROUPS = (0x0002, 0x0008)
LAST_FIRST_ELEMENT = 0x0018  # a data set begins in the group of file meta or identification, at its lowest elements

READ_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    OverflowError,
    NotImplementedError,
    RecursionError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged files."""


def raise_if_system(error: Exception) -> None:
    """Raise an error of the disk again: the file may be fine. Errors of pydicom have no errno."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


class SeriesChoiceError(BadInputError):
    """It is not clear which series to read; ``choices`` has a line for each, with its UID.

    A public index leads from a UID to the patient, so the message, which is stored, has none.
    """

    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Header:
    """The header of one DICOM file."""

    path: Path
    values: Values  # texts of each element of :data:`READ_ELEMENTS` that is present; None if unreadable
    syntax: Any | None  # transfer syntax UID; None if the file has none (then pixels are not compressed)
    pixel_bytes: int  # length of the pixel data, 0 without pixels; -1 if compressed in fragments
    frame: int | None = None  # index in a multi-frame file

    def texts(self, name: str) -> list[str]:
        """Return the values of an element in capitals; none if it is missing or broken."""
        return [text.upper() for text in self.values.get(name) or ()]

    def text(self, name: str) -> str:
        """Return the first value of an element in capitals; empty if it is missing or broken."""
        return next(iter(self.texts(name)), "")


@dataclass(frozen=True)
class Series:
    """The images of one CT series, unordered, and counts of the folder's other files."""

    uid: str
    folder: Path
    headers: list[Header]
    # Counts of files that were left out: ``localizers``, ``other_series`` (images), ``other_dicom`` (other
    # modalities, reports) and ``other_files``
    skipped: Mapping[str, int]


def read_folder(
    folder: Path,
    *,
    series_uid: str | None,
    min_slices: int,
    split: Callable[[Header], list[Header]] = lambda header: [header],
) -> Series:
    """Return the CT series of a folder and its subfolders, or of one file; links are followed.

    ``split`` returns a header per frame of a file. Files that are not DICOM, localizers and other modalities are
    skipped and counted. Of several series, those with fewer than ``min_slices`` images are skipped (dose reports,
    single images). Raises ``BadInputError`` if no CT or more than one series is left, and for a broken link or a
    damaged file.
    """
    skipped = dict.fromkeys(("localizers", "other_series", "other_dicom", "other_files"), 0)
    groups: dict[str, list[Header]] = defaultdict(list)
    files = _files(folder) if folder.is_dir() else [folder]
    for path in files:
        header = None if _is_hidden(path) else read_header(path)
        if header is None:
            skipped["other_files"] += 1
        elif not _is_ct(header):
            skipped["other_dicom"] += 1
        else:
            images = [frame for frame in split(header) if not LOCALIZERS & set(frame.texts("ImageType"))]
            skipped["localizers"] += not images
            if images and header.pixel_bytes == 0:
                raise truncated(path, "no pixels")
            groups[header.text("SeriesInstanceUID")].extend(images)
    if skipped["other_files"] == len(files):
        raise BadInputError(
            "no DICOM files in the folder",
            code="no_dicom",
            file=folder,
            found=f"{len(files)} other files",
            remedy="give the folder of the series",
        )
    groups = {uid: images for uid, images in groups.items() if images}
    _check_uids(groups)
    uid = _choose(groups, folder, series_uid=series_uid, min_slices=min_slices)
    skipped["other_series"] = sum(len(images) for images in groups.values()) - len(groups[uid])
    return Series(uid, folder, groups[uid], skipped)


def _files(folder: Path) -> list[Path]:
    """Return all regular files below a folder; each real folder is read once, even if links loop."""
    found: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=raise_if_system):
        status = Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        found.extend(Path(root, name) for name in names)
    for path in found:
        if not path.exists():
            raise BadInputError(
                "the target of the link is missing",
                code="broken_link",
                file=path,
                remedy="fetch the file that the link names, or remove the link",
            )
    return sorted(path for path in found if path.is_file())


def headers_of(source: Path) -> Iterator[Header]:
    """Yield the header of each DICOM file below a folder, or of the file itself."""
    files = _files(source) if source.is_dir() else [require_file(source)]
    return filter(None, (read_header(path) for path in files if not _is_hidden(path)))


def first_image(source: Path) -> Header | None:
    """Return the header of the first CT image below a folder, or of a file; None without one."""
    return next(filter(_is_ct, headers_of(source)), None)


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.upper() == "DICOMDIR"


def read_header(path: Path) -> Header | None:
    """Return a DICOM header, None for other files. Raises ``BadInputError`` (``truncated_file``) for a damaged file."""
    size = path.stat().st_size
    if size == 0:
        if path.suffix.lower() in OTHER_SUFFIXES:
            return None
        raise truncated(path, "0 bytes")
    with path.open("rb") as handle:
        start = handle.read(PREAMBLE_BYTES + len(MAGIC))
    bare = start[PREAMBLE_BYTES:] != MAGIC
    if bare and not _starts_data_set(start):
        if start.startswith(MAGIC) or path.suffix.lower() in DICOM_SUFFIXES:
            raise truncated(path, "it does not begin like a DICOM file")
        return None
    try:
        with quiet_pydicom(), path.open("rb") as handle:
            data = read_partial(
                handle, stop_when=_past_pixels(), defer_size=DEFER_BYTES, force=bare, specific_tags=list(READ_TAGS)
            )
            pixels: Any = data.get_item(PIXELS, keep_deferred=True) if PIXELS in data else None
            syntax = data.file_meta.get("TransferSyntaxUID")
            kind = data.file_meta.get("MediaStorageSOPClassUID")
            values = {name: texts_of(data, name) for name in READ_ELEMENTS if name in data}
    except READ_ERRORS as error:
        raise_if_system(error)
        raise truncated(path, "its header cannot be read") from error
    if kind == MEDIA_DIRECTORY or FIRST_RECORD in values:
        return Header(path, {"SOPClassUID": (MEDIA_DIRECTORY,)}, syntax, 0)
    if not {"SOPClassUID", "Modality", "Rows"} & set(values):
        if bare:
            return None
        raise truncated(path, "the header ends after its beginning")
    if kind and not values.get("SOPClassUID"):
        values["SOPClassUID"] = (str(kind),)
    length = 0 if pixels is None else _length(pixels, path, size, deflated=syntax == DEFLATED)
    return Header(path, values, syntax, length)


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep pydicom from printing invalid values: they may contain the patient's name."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def texts_of(data: Any, name: str) -> tuple[str, ...] | None:
    """Return the values of an element as texts; empty if it is, None if it cannot be read."""
    if name == PIXELS:
        return ()
    try:
        value = data.get(name)
    except READ_ERRORS:
        return None
    if value is None or value == "":
        return ()
    several = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    return tuple(str(part).strip() for part in (value if several else [value]))


def _past_pixels() -> Callable[[BaseTag, str | None, int], bool]:
    """Return a function that stops the reader after the pixels, so gigabytes of padding are not read."""
    last = -1

    def stop(tag: BaseTag, *_: object) -> bool:
        nonlocal last
        past = last >= PIXELS_TAG or tag <= last
        last = int(tag)
        return past

    return stop


def _length(pixels: Any, path: Path, size: int, *, deflated: bool) -> int:
    length = int(pixels.length)
    if length == UNDEFINED_LENGTH:
        return -1
    place = int(pixels.value_tell)
    if not deflated and place + length > size:
        raise truncated(path, f"{max(0, size - place)} of {length} bytes of pixels")
    return length


def _starts_data_set(start: bytes) -> bool:
    """Return whether bytes look like the first element of a data set, little endian."""
    if len(start) < 8:
        return False
    group, element, length = struct.unpack("<HHI", start[:8])
    explicit = start[4:6].isalpha() and start[4:6].isupper()
    plain = group in FIRST_GROUPS and element <= LAST_FIRST_ELEMENT
    return bool(plain and (explicit or length <= LONGEST_FIRST_VALUE))


def truncated(path: Path, found: str) -> BadInputError:
    """Return the error of a damaged file."""
    return BadInputError(
        "the DICOM file is incomplete or damaged",
        code="truncated_file",
        file=path,
        found=found,
        remedy="fetch the file again",
    )


def _is_ct(header: Header) -> bool:
    """Return whether a file is a CT image, not a report or raw data of a CT."""
    if header.text("Modality") not in ("", "CT"):
        return False
    return header.text("SOPClassUID") in (CT_IMAGE, *ENHANCED_CT) or "Rows" in header.values


def _check_uids(groups: Mapping[str, list[Header]]) -> None:
    """Refuse images without a series UID among others with one; de-identified scans have none at all."""
    if "" in groups and len(groups) > 1:
        raise BadInputError(
            "the image has no series UID",
            code="no_series_uid",
            file=groups[""][0].path,
            field="SeriesInstanceUID",
            expected="a UID, like other files of the folder",
            found="none",
            remedy="export the series again, or put it in a separate folder",
        )


def _choose(groups: Mapping[str, list[Header]], folder: Path, *, series_uid: str | None, min_slices: int) -> str:
    if not groups:
        raise BadInputError(
            "no CT images in the folder",
            code="no_ct",
            file=folder,
            expected="axial CT",
            found="only localizers or other modalities",
            remedy="give the folder of the series",
        )
    counts = ", ".join(str(len(images)) for _, images in sorted(groups.items()))
    if series_uid is not None:
        if series_uid not in groups:
            raise _unclear("the series is not in the folder", groups, folder, code="no_series", found=counts)
        return series_uid
    # If all series are short, the gate on the number of slices reports the count later.
    long = [uid for uid, images in groups.items() if len(images) >= min_slices]
    candidates = long or list(groups)
    if len(candidates) > 1:
        raise _unclear("several series in the folder", groups, folder, code="several_series", found=counts)
    return candidates[0]


def _unclear(
    what: str, groups: Mapping[str, list[Header]], folder: Path, *, code: str, found: str
) -> SeriesChoiceError:
    error = SeriesChoiceError(
        what,
        code=code,
        file=folder,
        field="series_uid",
        expected="one CT series",
        found=f"series of {found} images",
        remedy="give the folder of one series (with lcsd convert, or choose one by --set series_uid=UID)",
    )
    error.choices = tuple(
        f"series {uid}: {len(images)} images, "
        f"kernel {plain_name(images[0].values, 'ConvolutionKernel') or 'not named'}, "
        f"thickness {images[0].text('SliceThickness') or 'unknown'} mm"
        for uid, images in sorted(groups.items())
    )
    return error
