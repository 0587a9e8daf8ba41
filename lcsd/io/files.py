"""Read and write text files, hash files, and replace every output atomically.

Light at import: planning needs it.
"""

import contextlib
import csv
import errno
import fcntl
import glob
import hashlib
import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from lcsd.errors import BadInputError, unwritable
from lcsd.io.orphans import refuse_if_orphaned

HASH_CHUNK_BYTES = 1 << 20

DETACHING = frozenset({".mhd", ".mha", ".nhdr", ".nrrd"})
"""Suffixes of headers that may name another file for their voxels."""

DATA_FILE = re.compile(rb"^(?:ElementDataFile\s*=|data ?file:)[ \t]*([^\r\n]+)", re.MULTILINE)
HEADER_BYTES = 1 << 16
"""A text header of a volume or cloud must end within this many bytes."""

FORMULA_SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20"
"""First characters of a formula in a spreadsheet, full-width forms included."""

BLANKS = " \t\r\n"
"""Characters that some spreadsheets skip at the start of a cell."""

TEXT_SIGN = "'"
"""Marks a cell as text in a spreadsheet."""

NOT_FOUND = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EBADF, errno.ENAMETOOLONG, errno.EACCES, errno.EPERM}
)
"""Errors of a path without a file that this user can read; any other error is a fault of the disk."""

TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp\..+", re.DOTALL)

_written: ContextVar[list[Path] | None] = ContextVar("written", default=None)


def user_folder(variable: str, fallback: str) -> Path:
    """Return lcsd's folder below the folder that an XDG variable names, or below ``fallback`` at home."""
    return Path(os.environ.get(variable) or Path.home() / fallback) / "lcsd"


def temporary_path(path: Path) -> Path:
    """Return a new hidden path next to ``path`` to write to, with the suffixes of ``path``."""
    return path.with_name(f".{secrets.token_hex(6)}.tmp.{path.name}")


def is_temporary(path: Path) -> bool:
    """Return whether a file is being written, or is a leftover of a killed writer."""
    return TEMPORARY.fullmatch(path.name) is not None


def leftovers_of(path: Path) -> Iterator[Path]:
    """Yield the temporary files of all writers of ``path``, running or killed."""
    return path.parent.glob(f".*.tmp.{glob.escape(path.name)}")


@contextlib.contextmanager
def written_files() -> Iterator[list[Path]]:
    """Yield a list that collects the path of every file that this thread writes in the block."""
    paths: list[Path] = []
    before = _written.set(paths)
    try:
        yield paths
    finally:
        _written.reset(before)


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Remove leftovers of killed writers of ``path``, and protect our temporary file from other writers.

    Writers share a lock on the folder, which the system releases however they end. Only a process that
    holds it alone may remove temporary files: no other process can still be writing them. On a file
    system without locks, leftovers stay.
    """
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for leftover in leftovers_of(path):
                leftover.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds.

    The temporary name keeps all suffixes, because writers choose the format by them. After an error the temporary file
    is removed and ``path`` is as before. If several processes write the same file, the last one wins, and the file is
    always complete.

    Raises ``WorkError`` if the folder cannot be written, the disk is full, or the build that started this job has ended
    (a new build may have made the file since).
    """
    path = Path(path)
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _writing(path):
            yield temporary
            # Without the sync a power cut could leave an empty file under the final name.
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            refuse_if_orphaned(path)
            temporary.replace(path)
        paths = _written.get()
        if paths is not None:
            paths.append(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # there may be nothing, not even the folder
            temporary.unlink(missing_ok=True)


def check_written_gzip(path: Path, size: int) -> None:
    """Raise ``OSError`` unless the gzip file that a library wrote is complete: ``size`` bytes unpacked.

    The last four bytes of a gzip file are that size modulo 2^32 (RFC 1952).
    """
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - 4))
        end = handle.read()
    if int.from_bytes(end, "little") != size % (1 << 32):
        raise not_whole()


def check_written_text(path: Path) -> None:
    """Raise ``OSError`` unless the text file that a library wrote ends with a line break."""
    if not path.read_bytes().endswith(b"\n"):
        raise not_whole()


def not_whole() -> OSError:
    """Return the error for a file that a library left incomplete."""
    return OSError(errno.ENOSPC, "the file is incomplete (no space left?)")


def require_file(path: Path) -> Path:
    """Return ``path`` if it leads to a non-empty file; raise ``BadInputError`` otherwise.

    The ``OSError`` of a failing disk passes through: it is no fault of the input.
    """
    path = Path(path)
    try:
        status = path.stat()
    except OSError as error:
        if error.errno not in NOT_FOUND:
            raise
        raise BadInputError(
            "file not found",
            code="missing_file",
            file=path,
            found=None if error.errno == errno.ENOENT else error.strerror,
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise BadInputError("not a regular file", code="not_a_file", file=path)
    if status.st_size == 0:
        raise BadInputError("file is empty", code="truncated_file", file=path)
    return path


def require_folder(path: Path, expected: str, *, field: str | None = None, remedy: str | None = None) -> Path:
    """Return ``path`` if it is a folder; raise ``BadInputError`` otherwise (``missing_folder``, ``not_a_folder``)."""
    if path.is_dir():
        return path
    there = path.exists()
    raise BadInputError(
        "not a folder" if there else "folder not found",
        code="not_a_folder" if there else "missing_folder",
        file=path,
        field=field,
        expected=expected,
        remedy=remedy,
    )


def detached_data(path: Path) -> Path | None:
    """Return the file that a header (.mhd, .nhdr, any .mha or .nrrd) names for its voxels; None if it holds them.

    Raises ``BadInputError`` (``several_data_files``) for a list or a pattern of files.
    """
    if path.suffix.lower() not in DETACHING:
        return None
    with path.open("rb") as handle:
        found = DATA_FILE.search(handle.read(HEADER_BYTES).split(b"\n\n")[0].split(b"\r\n\r\n")[0])
    name = os.fsdecode(found[1].strip()) if found else "LOCAL"
    if name.upper() == "LOCAL":
        return None
    if "%" in name or name.upper().startswith("LIST"):
        raise BadInputError(
            "the voxels are in several files",
            code="several_data_files",
            file=path,
            expected="one data file",
            found=name[:60],
            remedy="write the volume to one file",
        )
    return path.parent / name


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file (with the data file of a detached header), or of a folder's names and contents."""
    digest = hashlib.sha256()
    data = None if path.is_dir() else detached_data(path)
    parts = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path, *([data] if data else [])]
    for part in parts:
        if path.is_dir():
            # Names are bytes, which need not be UTF-8.
            digest.update(os.fsencode(part.relative_to(path)) + b"\0")
        with part.open("rb") as handle:
            while chunk := handle.read(HASH_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(content: Mapping[str, Any]) -> str:
    """Return the text that :func:`write_json` writes; NaN is refused."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with sorted keys, so that equal content gives equal bytes; NaN is refused."""
    write_text(path, json_text(content))


def _finite(text: str) -> float:
    """Return a JSON number; raise ``ValueError`` for NaN, Infinity and numbers too large for a float."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"not a finite number: {text}")
    return value


def read_json(path: Path) -> dict[str, Any]:
    """Return the object (a mapping) in a JSON file.

    Raises ``BadInputError`` if the file is missing, is not JSON (which has no NaN and no Infinity), or holds no object.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8")
        content = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not valid JSON ({error})", code="bad_json", file=path) from error
    if not isinstance(content, dict):
        raise BadInputError(
            "not a JSON object", code="bad_json", file=path, expected="an object", found=type(content).__name__
        )
    return content


def as_cell(value: object) -> object:
    """Return a value that is safe in a table: a text that starts like a formula gets a ``'`` in front.

    Spreadsheets would run such a cell, and texts come from users and headers. Numbers do not change. A
    carriage return becomes a blank, because it ends the row for some readers. :func:`from_cell` undoes it.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", " ")
    if not text.lstrip(TEXT_SIGN + BLANKS).startswith(tuple(FORMULA_SIGNS)):
        return text
    try:
        float(text)
    except ValueError:
        return TEXT_SIGN + text
    # A spreadsheet may read a number with blanks around it as text, and then as a formula.
    return text if text == text.strip() else TEXT_SIGN + text


def from_cell(cell: str) -> str:
    """Return the text from which :func:`as_cell` made a cell."""
    if not cell.startswith(TEXT_SIGN):
        return cell
    inner = cell.removeprefix(TEXT_SIGN)
    return inner if as_cell(inner) == cell else cell


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as TSV (suffix ``.tsv``) or CSV, with the given columns; no cell is a formula (:func:`as_cell`)."""
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, columns, delimiter=delimiter, lineterminator="\n", restval="")
        writer.writeheader()
        writer.writerows({name: as_cell(cell) for name, cell in row.items()} for row in rows)
