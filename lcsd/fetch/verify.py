"""Check downloaded files: size and MD5 against the bucket, headers against the index."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.tag import Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.fetch.plan import Entry
from lcsd.fetch.transfer import RemoteObject
from lcsd.io.files import sha256, write_text

PIXEL_TAGS = (Tag(0x7FE0, 0x0008), Tag(0x7FE0, 0x0009), Tag(0x7FE0, 0x0010))
"""Float, double float and integer pixel data."""

ITEM, SEQUENCE_END = Tag(0xFFFE, 0xE000), Tag(0xFFFE, 0xE0DD)
UNDEFINED_LENGTH = 0xFFFFFFFF  # length of compressed pixels: items up to a delimiter (DICOM PS3.5, annex A.4)

TAG_BYTES, LENGTH_BYTES, VR_BYTES = 4, 4, 4
"""Bytes of an element with explicit VR: tag, length, VR with two reserved bytes."""

IDENTIFYING = ("SOPInstanceUID", "SeriesInstanceUID", "PatientID", "Modality")

SIZE_TOLERANCE_BYTES = 5_000  # some releases of the index round series_size_MB to two decimals

REMEDY = "leave the series out, or report it to the Imaging Data Commons"


class Damage(Exception):  # noqa: N818 - carries an error to raise once retries are used up
    """A damaged or wrong file by its name, and the error that describes it."""

    def __init__(self, name: str, error: LcsdError) -> None:
        super().__init__(error.message)
        self.name = name
        self.error = error


def whole_files(folder: Path, objects: Sequence[RemoteObject]) -> set[str]:
    """Return the names of the objects whose files are complete: size, and MD5 if known."""
    return {part.name for part in objects if _is_whole(folder / part.name, part)}


def _is_whole(path: Path, part: RemoteObject) -> bool:
    if not path.is_file() or path.is_symlink() or path.stat().st_size != part.size:
        return False
    if part.md5 is None:
        return True
    with path.open("rb") as handle:
        digest = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False))
    return digest.hexdigest() == part.md5


def verify_series(folder: Path, entry: Entry, objects: Sequence[RemoteObject]) -> dict[str, str]:
    """Return the SHA-256 of every file by name, if all files match the index.

    Files are synced to the disk. Raises :class:`Damage` for the first file that does not match:
    ``transfer_incomplete`` (differs from the bucket), ``truncated_object``, ``wrong_series`` or
    ``duplicate_instance``; ``BadInputError`` (``size_mismatch``) if index and series disagree on the size.
    """
    hashes: dict[str, str] = {}
    instances: dict[str, str] = {}
    for part in objects:
        path = folder / part.name
        if not _is_whole(path, part):
            error: LcsdError = WorkError(
                "the downloaded file differs from the bucket's",
                code="transfer_incomplete",
                file=_place(entry, part.name),
                expected=f"{part.size} bytes with the bucket's checksum",
                remedy="check the network and run the command again",
            )
            raise Damage(part.name, error)
        instance = _check_header(path, part.name, entry)
        if instance in instances:
            error = BadInputError(
                "two files hold the same image",
                code="duplicate_instance",
                file=_place(entry, part.name),
                field="SOPInstanceUID",
                expected="one file per image",
                found=f"also in {instances[instance]}",
                remedy=REMEDY,
            )
            raise Damage(part.name, error)
        instances[instance] = part.name
        hashes[part.name] = sha256(path)
        with path.open("rb") as handle:
            os.fsync(handle.fileno())
    total = sum(part.size for part in objects)
    if abs(total - entry.size_bytes) > SIZE_TOLERANCE_BYTES:
        raise BadInputError(
            "index and series disagree on the size",
            code="size_mismatch",
            file=_place(entry, ""),
            field="series_size_MB",
            expected=f"{entry.size_bytes} bytes",
            found=total,
            remedy="get a current idc-index-data, or leave the series out",
        )
    return hashes


def _place(entry: Entry, name: str) -> str:
    return f"s3://{entry.bucket}/{entry.prefix}/{name}"


def _check_header(path: Path, name: str, entry: Entry) -> str:
    """Return the SOPInstanceUID of a file if it is complete and belongs to the series."""
    place = _place(entry, name)
    try:
        found, cut = _read_header(path)
    except (OSError, MemoryError):
        raise
    except Exception as error:
        # pydicom raises errors of any class for a damaged header; those of the disk are handled above.
        raise Damage(name, _truncated(place, "the header cannot be read")) from error
    if cut:
        raise Damage(name, _truncated(place, "the pixels are cut off"))
    if not found["SOPInstanceUID"]:
        # pydicom silently accepts a file that ends within its first elements.
        raise Damage(name, _truncated(place, "no SOPInstanceUID"))
    wanted = {"SeriesInstanceUID": entry.uid, "PatientID": entry.patient, "Modality": entry.modality}
    for field, expected in wanted.items():
        if found[field] != expected:
            # The patient's identifier stays out of every message.
            raise Damage(
                name, BadInputError(f"{field} differs from the index", code="wrong_series", file=place, remedy=REMEDY)
            )
    return found["SOPInstanceUID"]


def _read_header(path: Path) -> tuple[dict[str, str], bool]:
    """Return the identifying attributes of a file, and whether its pixels are cut off."""
    with path.open("rb") as handle, warnings.catch_warnings():
        # pydicom warns about values outside the standard; the checks here are enough.
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(handle, stop_before_pixels=True)
        cut = _is_cut(handle, header, path.stat().st_size)
        return {name: str(header.get(name) or "").strip() for name in IDENTIFYING}, cut


def _truncated(place: str, found: str) -> BadInputError:
    return BadInputError("incomplete DICOM file", code="truncated_object", file=place, found=found, remedy=REMEDY)


def _is_cut(handle: BinaryIO, header: pydicom.FileDataset, size: int) -> bool:
    """Return whether an image ends before its pixels do; ``handle`` is at their tag."""
    syntax = header.file_meta.TransferSyntaxUID
    kind = UID(str(header.get("SOPClassUID", ""))).name
    is_image = "Rows" in header or "Image Storage" in kind
    if not is_image or syntax == DeflatedExplicitVRLittleEndian:
        # A deflated data set unpacks only if it is complete.
        return False
    order = "little" if syntax.is_little_endian else "big"
    if _read_tag(handle, order) not in PIXEL_TAGS:
        return True
    if not syntax.is_implicit_VR:
        handle.seek(VR_BYTES, os.SEEK_CUR)
    length = _read_number(handle, LENGTH_BYTES, order)
    if length != UNDEFINED_LENGTH:
        return handle.tell() + length > size
    while (tag := _read_tag(handle, order)) == ITEM:
        handle.seek(_read_number(handle, LENGTH_BYTES, order), os.SEEK_CUR)
    return tag != SEQUENCE_END or handle.tell() + LENGTH_BYTES > size


def _read_tag(handle: BinaryIO, order: str) -> int:
    group = _read_number(handle, TAG_BYTES // 2, order)
    return group << 16 | _read_number(handle, TAG_BYTES // 2, order)


def _read_number(handle: BinaryIO, count: int, order: str) -> int:
    # After the end of the file there are no bytes: that reads as 0, which is no pixel tag.
    return int.from_bytes(handle.read(count), "little" if order == "little" else "big")


def write_checksums(path: Path, folder: str, hashes: dict[str, str]) -> None:
    """Write hashes for ``sha256sum -c`` in the folder of ``path``."""
    write_text(path, "".join(f"{hashes[name]}  {folder}/{name}\n" for name in sorted(hashes)))


def read_checksums(path: Path, folder: str) -> dict[str, str]:
    """Return the hash of each file by name; empty if the file of checksums is missing or damaged."""
    found = {}
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    for line in lines:
        digest, _, place = line.partition("  ")
        parent, _, name = place.rpartition("/")
        if parent != folder or not name or not digest:
            return {}
        found[name] = digest
    return found


def damaged_files(folder: Path, hashes: dict[str, str]) -> list[str]:
    """Return the names of files that are missing or have changed since they arrived."""
    return [
        name
        for name, digest in sorted(hashes.items())
        if not (folder / name).is_file() or sha256(folder / name) != digest
    ]
