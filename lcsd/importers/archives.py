"""Files of a dataset: in a folder, in zip archives, or in archives within a folder.

An archive is foreign input: a name may point out of the folder, an entry may be a link, and a few
kilobytes may unpack to terabytes. All of that is refused before a byte is written.
"""

import errno
import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from lcsd.errors import BadInputError
from lcsd.settings.imports import ImportSettings

CHUNK_BYTES = 1 << 20
BYTES_PER_GIB = 1 << 30
NAME_BYTES = 255
"""Length of a file's name that file systems take."""

ENCRYPTED = 0x1
"""Bit of a zip entry's flags."""

_BROKEN = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, NotImplementedError, ValueError)


def _unsafe(archive: Path, name: str, why: str) -> BadInputError:
    return BadInputError(
        f"the archive is not safe to unpack ({why})",
        code="unsafe_archive",
        file=archive,
        field=repr(name[:200]),
        remedy="get it again from its publisher; unpack nothing of it",
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
            raise _unsafe(archive, name, "a name that leads out of the folder")
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
            raise _unsafe(archive, entry.filename, "a file that is a folder, too")


def extract(archive: Path, to: Path, *, wanted: Callable[[str], bool], limits: ImportSettings) -> list[Path]:
    """Unpack the wanted files of a zip archive and return where they are.

    Parameters
    ----------
    to
        Folder, which is made.
    wanted
        Called with the name of a file, without folders.

    Raises
    ------
    BadInputError
        ``broken_archive``, ``encrypted_archive``, or ``unsafe_archive``: a name that leads out
        of the folder or is too long, a link, a file that is a folder, too, too many files, too
        many bytes.
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
                    raise _unsafe(archive, entry.filename, "an entry twice")
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
        # A decompressor's own has no number; a wrong offset is an invalid argument.
        if error.errno in {None, errno.EINVAL}:
            raise _broken(archive, error) from error
        if error.errno == errno.ENAMETOOLONG:
            raise _unsafe(archive, "", "a name that is too long") from error
        raise
    return found


def _copy(content: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, archive: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    left = entry.file_size
    # Never more than the entry says, whatever its stream holds.
    with content.open(entry) as source, path.open("xb") as target:
        while chunk := source.read(CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise _unsafe(archive, entry.filename, "more bytes than it says")
            target.write(chunk)


def _inside(source: Path) -> list[Path]:
    if source.is_dir():
        return [Path(top) / name for top, _, names in os.walk(source) for name in names]
    return [source]


def archives_in(source: Path) -> list[Path]:
    """Return the zip archives of a folder, or a file that is one, sorted."""
    return sorted(path for path in _inside(source) if path.suffix.lower() == ".zip")


def dataset_files(source: Path, scratch: Path, *, wanted: Callable[[str], bool], limits: ImportSettings) -> list[Path]:
    """Return the wanted files of a dataset, sorted; archives are unpacked to ``scratch``.

    Parameters
    ----------
    source
        A zip archive, or a folder that holds files and zip archives at any depth.

    Raises
    ------
    BadInputError
        If the source is missing, or as :func:`extract`.
    """
    if not source.exists():
        raise BadInputError("file not found", code="missing_file", file=source)
    files = [path for path in _inside(source) if wanted(path.name)]
    for number, archive in enumerate(archives_in(source)):
        files += extract(archive, scratch / str(number), wanted=wanted, limits=limits)
    return sorted(files)
