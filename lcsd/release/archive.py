"""Checksums of a release and its archive; equal folders give equal archives."""

import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.files import require_file, write_text

LINE_PATTERN = re.compile(r"([0-9a-f]{64})  ([^\n/][^\n]*)")
"""A line of ``sha256sum``: hash, two spaces, path inside the folder."""

ZIP_DATE = (1980, 1, 1, 0, 0, 0)
"""The earliest date of the format, for all members."""

PACKED_SUFFIXES = (".gz", ".npz", ".vtp")
"""Compressed files, which are stored without further compression."""

UNIX = 3
FILE_MODE = 0o100644 << 16
"""System and permissions of all members, the same on every machine."""


def write_checksums(path: Path, hashes: Mapping[str, str]) -> None:
    """Write SHA-256 hashes by path inside the folder of ``path``, in the format of ``sha256sum -c``."""
    write_text(path, "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes)))


def read_checksums(path: Path) -> dict[str, str]:
    """Return SHA-256 hashes by path inside the folder of ``path``.

    Raises ``BadInputError``, which names the line, if the file is missing or truncated, or a line is not valid.
    """
    content = require_file(path).read_bytes()
    hashes: dict[str, str] = {}
    lines = content.split(b"\n")
    for number, raw in enumerate(lines[:-1], 1):
        match = LINE_PATTERN.fullmatch(raw.decode("utf-8", errors="replace"))
        if match is None or match[2] in hashes or ".." in match[2].split("/"):
            raise BadInputError(
                "not a checksum line",
                code="bad_checksums",
                file=path,
                field=f"line {number}",
                expected="64 hexadecimal digits, two spaces and a unique path",
                remedy="download the release again",
            )
        hashes[match[2]] = match[1]
    if lines[-1] or not hashes:
        raise BadInputError(
            "the list of checksums is truncated", code="truncated_file", file=path, remedy="download the release again"
        )
    return hashes


def write_archive(path: Path, folder: Path, files: Iterable[str], *, root: str | None) -> None:
    """Write files of a folder as a zip, with fixed order and dates; below the folder ``root`` unless it is None."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name if root is None else f"{root}/{name}", ZIP_DATE)
            member.create_system = UNIX
            packed = name.endswith(PACKED_SUFFIXES)
            member.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            member.external_attr = FILE_MODE
            member.file_size = (folder / name).stat().st_size
            with (folder / name).open("rb") as source, archive.open(member, "w") as target:
                shutil.copyfileobj(source, target)
