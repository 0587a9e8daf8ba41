"""Find the files of a dataset: in a folder, in zip archives, or in archives within a folder.

An archive is not trusted: a name may point outside the folder, an entry may be a link, and a few
kilobytes may unpack to terabytes. All of that is refused before anything is written.
"""

import errno
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path, PurePosixPath
from typing import TypeVar

from lcsd.errors import BadInputError
from lcsd.settings.imports import ImportSettings

Key = TypeVar("Key", bound=Hashable)

CHUNK_BYTES = 1 << 20
BYTES_PER_GIB = 1 << 30
NAME_BYTES = 255  # longest name of a file on common file systems
ENCRYPTED = 0x1  # bit of a zip entry's flags

_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, ValueError)


def _unsafe(archive: Path, name: str, why: str) -> BadInputError:
    return BadInputError(
        f"the archive is not safe to unpack ({why})",
        code="unsafe_archive",
        file=archive,
        field=repr(name[:200]),
        remedy="download it again from its publisher; do not unpack it yourself",
    )


def _broken(archive: Path, error: Exception) -> BadInputError:
    return BadInputError(
        f"not a readable zip archive ({' '.join(str(error).split())})",
        code="broken_archive",
        file=archive,
        remedy="download it again",
    )


def check_entries(archive: Path, entries: list[zipfile.ZipInfo], limits: ImportSettings) -> None:
    """Raise ``BadInputError`` (``unsafe_archive``) unless all entries may be unpacked."""
    if len(entries) > limits.max_files:
        raise _unsafe(archive, "", f"{len(entries)} entries, more than max_files")
    total = 0
    for entry in entries:
        name = entry.filename
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not name:
            raise _unsafe(archive, name, "a name that points outside the folder")
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
            raise _unsafe(archive, name, "a link or another special file")
        if any(len(os.fsencode(part)) > NAME_BYTES for part in path.parts):
            raise _unsafe(archive, name, "a name that is too long")
        total += entry.file_size
    if total > limits.max_gib * BYTES_PER_GIB:
        raise _unsafe(archive, "", f"{total / BYTES_PER_GIB:.1f} GiB unpacked, more than max_gib")
    files = {PurePosixPath(entry.filename) for entry in entries if not entry.is_dir()}
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if not files.isdisjoint((*path.parents, path) if entry.is_dir() else path.parents):
            raise _unsafe(archive, entry.filename, "a name of both a file and a folder")


def extract(archive: Path, to: Path, *, wanted: Callable[[str], bool], limits: ImportSettings) -> list[Path]:
    """Unpack the wanted files of a zip archive and return their paths.

    ``to`` is a folder, which is created; ``wanted`` is called with the name of each file, without folders. Raises
    ``BadInputError``: ``broken_archive``, ``encrypted_archive``, or ``unsafe_archive`` (a name that points outside the
    folder, is too long or repeated, or belongs to both a file and a folder; a link; too many files; too many bytes).
    """
    found: list[Path] = []
    try:
        with zipfile.ZipFile(archive) as content:
            entries = content.infolist()
            check_entries(archive, entries, limits)
            for entry in entries:
                path = to / PurePosixPath(entry.filename)
                if entry.is_dir() or not wanted(path.name):
                    continue
                if path in found:
                    raise _unsafe(archive, entry.filename, "a repeated entry")
                if entry.flag_bits & ENCRYPTED:
                    raise BadInputError(
                        "the archive needs a password",
                        code="encrypted_archive",
                        file=archive,
                        remedy="unpack it yourself and give the folder",
                    )
                _copy(content, entry, path, archive)
                found.append(path)
    except _BROKEN as error:
        raise _broken(archive, error) from error
    except OSError as error:
        # The error of a decompressor has no number; a wrong offset is an invalid argument.
        if error.errno in {None, errno.EINVAL}:
            raise _broken(archive, error) from error
        if error.errno == errno.ENAMETOOLONG:
            raise _unsafe(archive, "", "a name that is too long") from error
        raise
    return found


def _copy(content: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    # Never write more than the entry declares, whatever its stream holds.
    with content.open(entry) as source, path.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise _unsafe(archive, entry.filename, "more bytes than declared")
            target.write(chunk)


def _inside(source: Path) -> list[Path]:
    if source.is_dir():
        return [Path(top) / name for top, _, names in os.walk(source) for name in names]
    return [source]


def archives_in(source: Path) -> list[Path]:
    """Return the zip archives in a folder, sorted; or the source itself if it is an archive."""
    return sorted(path for path in _inside(source) if path.suffix.lower() == ".zip")


def dataset_files(source: Path, scratch: Path, *, wanted: Callable[[str], bool], limits: ImportSettings) -> list[Path]:
    """Return the wanted files of a dataset, sorted; archives are unpacked to ``scratch``.

    ``source`` is a zip archive, or a folder with files and zip archives at any depth. Raises ``BadInputError``
    if it is missing, and as :func:`extract`.
    """
    if not source.exists():
        raise BadInputError("file not found", code="missing_file", file=source)
    files = [path for path in _inside(source) if wanted(path.name)]
    for number, archive in enumerate(archives_in(source)):
        files += extract(archive, scratch / str(number), wanted=wanted, limits=limits)
    return sorted(files)


def add_once(held: dict[Key, Path], key: Key, file: Path) -> None:
    """Add a file of a case under its key; raise ``BadInputError`` (``duplicate_file``) if there is one already."""
    if key in held:
        raise BadInputError(
            "two files for one part of a case",
            code="duplicate_file",
            file=file,
            found=held[key],
            remedy="remove one of them",
        )
    held[key] = file


def check_complete(case: str, missing: Sequence[str], remedy: str) -> None:
    """Raise ``BadInputError`` (``incomplete_case``) if files of a case are missing."""
    if missing:
        raise BadInputError(
            "files of a case are missing",
            code="incomplete_case",
            field=case,
            found=f"no {', '.join(missing)}",
            remedy=remedy,
        )
