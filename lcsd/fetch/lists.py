"""Collect the series to fetch from options, TCIA manifests, text lists and our own tables.

A TCIA manifest (NBIA Data Retriever, ``.tcia``) has lines ``key=value``, then the line
``ListOfSeriesToDownload=``, then one SeriesInstanceUID per line.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.tables import read_entries, read_rows
from lcsd.names import UID_LENGTH, is_uid

TCIA_MARKER = "ListOfSeriesToDownload="
TABLE_SEPARATORS = {".tsv": "\t", ".csv": ","}
UID_COLUMNS = ("fixed_series", "moving_series", "SeriesInstanceUID")
SOURCE_COLUMNS = ("fixed_source", "moving_source", "fixed_mask", "moving_mask")
"""Columns of a pairs manifest; a source that is not a UID is a path and needs no download."""

SAMPLED_COLUMN = "sampled"

Found = Iterator[tuple[int, str]]  # line and text of each UID


def check_uid(text: str, *, file: Path | None = None, field: str = "UID") -> str:
    """Return ``text`` if it is a DICOM UID; raise ``BadInputError`` otherwise."""
    if not is_uid(text):
        raise BadInputError(
            "not a SeriesInstanceUID",
            code="bad_identifier",
            file=file,
            field=field,
            expected=f"numbers between '.', at most {UID_LENGTH} characters",
            found=repr(text[: 2 * UID_LENGTH]),
            remedy="correct it",
        )
    return text


def collect(given: Sequence[str], lists: Sequence[Path], *, sampled: bool = False) -> list[str]:
    """Return every series UID once, in the order of its first appearance.

    ``lists`` are ``.tcia`` manifests, ``.tsv`` or ``.csv`` tables (with ``sampled``: only rows with a value in the
    column of this name); any other file is a text with one UID per line (blank lines and ``#`` lines are skipped).
    Raises ``BadInputError`` if a list is unreadable or has no UID or no known column, or if a UID is invalid.
    """
    found = [check_uid(text.strip()) for text in given]
    for path in lists:
        found += read_list(path, sampled=sampled)
    return list(dict.fromkeys(found))


def read_list(path: Path, *, sampled: bool = False) -> list[str]:
    """Return the UIDs of one list; see :func:`collect`."""
    separator = TABLE_SEPARATORS.get(path.suffix.lower())
    if separator is None and sampled:
        raise _no_column(path, [SAMPLED_COLUMN], "text")
    rows = _plain_rows(path) if separator is None else _table_rows(path, separator, sampled=sampled)
    uids = [check_uid(uid, file=path, field=f"line {line}") for line, uid in rows]
    if not uids:
        raise BadInputError(
            "the list has no series",
            code="empty_table",
            file=path,
            expected="SeriesInstanceUIDs" + (" in sampled rows" if sampled else ""),
            remedy="give another list",
        )
    return uids


def _plain_rows(path: Path) -> Found:
    """Yield the UIDs of a text list, or those after the marker of a TCIA manifest."""
    entries = read_entries(path)
    markers = [number for number, (_, text) in enumerate(entries) if text == TCIA_MARKER]
    if path.suffix.lower() == ".tcia" and not markers:
        raise BadInputError(
            "not a TCIA manifest",
            code="bad_list",
            file=path,
            expected=f"a line {TCIA_MARKER}",
            found="none",
            remedy="export the manifest again",
        )
    yield from entries[markers[0] + 1 if markers else 0 :]


def _table_rows(path: Path, separator: str, *, sampled: bool) -> Found:
    rows = read_rows(path, separator=separator)
    columns = [*rows[0]] if rows else []
    named = [name for name in columns if name in (*UID_COLUMNS, *SOURCE_COLUMNS)]
    if rows and not named:
        raise _no_column(path, [*UID_COLUMNS, *SOURCE_COLUMNS], ", ".join(columns))
    if rows and sampled and SAMPLED_COLUMN not in columns:
        raise _no_column(path, [SAMPLED_COLUMN], ", ".join(columns))
    for row in rows:
        if sampled and not row[SAMPLED_COLUMN].strip():
            continue
        for name in named:
            cell = row[name].strip()
            if name in UID_COLUMNS or is_uid(cell):
                yield row.line, cell


def _no_column(path: Path, expected: Sequence[str], found: str) -> BadInputError:
    return BadInputError(
        "the table has no column of series",
        code="missing_column",
        file=path,
        expected=f"one of {', '.join(expected)}",
        found=found,
        remedy="give a table from lcsd cohort, a pairs manifest, or a list with one UID per line",
    )
