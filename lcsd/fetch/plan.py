"""What the index of the Imaging Data Commons says about series, and whether the disk has room."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from lcsd.cohort.index import connect, default_index, literal_path
from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import require_file

BYTES_PER_MB = 1_000_000
"""The index counts 10^6 bytes."""

LOOKUP_THREADS = 2
"""The look-up reads few columns; more threads save no time and cost memory."""

COLUMNS = ("SeriesInstanceUID", "PatientID", "Modality", "instanceCount", "series_size_MB", "series_aws_url")

URL_PATTERN = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9_-]{1,64})/\*")

_QUERY = f"""
SELECT {", ".join(COLUMNS)} FROM read_parquet($file)
WHERE SeriesInstanceUID IN (SELECT unnest($uids)) ORDER BY SeriesInstanceUID
"""  # noqa: S608 - the columns are the constant above


@dataclass(frozen=True)
class Entry:
    """A series as the index describes it.

    Parameters
    ----------
    patient, modality
        What every header of the series must say.
    files
        Number of objects.
    size_bytes
        Sum of their sizes.
    bucket, prefix
        Where they lie: ``s3://<bucket>/<prefix>/<object>``.
    """

    uid: str
    patient: str
    modality: str
    files: int
    size_bytes: int
    bucket: str
    prefix: str


def look_up(uids: Sequence[str], index: Path | None = None) -> dict[str, Entry]:
    """Return the entry of every UID that the index has; one query, however many there are.

    Parameters
    ----------
    index
        Parquet file with the columns of the IDC's main index; None takes that of the package
        ``idc-index-data``.

    Raises
    ------
    BadInputError
        The index is missing, unreadable, lacks a column or lists a series twice.
    """
    if not uids:
        return {}
    path = require_file(index) if index is not None else default_index()
    connection = connect(LOOKUP_THREADS)
    try:
        file = literal_path(path)
        present = set(connection.read_parquet(file).columns)
        missing = [name for name in COLUMNS if name not in present]
        if missing:
            raise BadInputError(
                "columns are missing",
                code="missing_column",
                file=path,
                field="fetch.index",
                expected=", ".join(COLUMNS),
                found=f"no {', '.join(missing)}",
                remedy="give the main index of a current idc-index-data",
            )
        rows = connection.execute(_QUERY, {"file": file, "uids": list(uids)}).fetchall()
    except duckdb.Error as error:
        raise BadInputError(
            f"not a readable parquet file ({str(error).splitlines()[0]})",
            code="bad_index",
            file=path,
            field="fetch.index",
            expected="a parquet file of the IDC index",
            remedy="get the file again",
        ) from error
    finally:
        connection.close()
    found: dict[str, Entry] = {}
    for row in rows:
        entry = _entry(row, path)
        if entry.uid in found:
            raise BadInputError(
                "a series is listed twice",
                code="duplicate_series",
                file=path,
                field="SeriesInstanceUID",
                expected="one row per series",
                found=entry.uid,
                remedy="give an index as idc-index-data has it",
            )
        found[entry.uid] = entry
    return found


def _entry(row: tuple[object, ...], path: Path) -> Entry:
    uid, patient, modality, files, size_mb, url = row
    place = URL_PATTERN.fullmatch(str(url))
    if place is None or not isinstance(files, int) or not isinstance(size_mb, int | float):
        raise BadInputError(
            "the index has no usable row of the series",
            code="bad_index",
            file=path,
            field=f"series_aws_url, instanceCount, series_size_MB of {uid}",
            expected="s3://BUCKET/FOLDER/*, a count and a size",
            found=f"{url}, {files}, {size_mb}",
            remedy="give the index of idc-index-data",
        )
    return Entry(
        str(uid),
        str(patient or "").strip(),
        str(modality or ""),
        files,
        round(size_mb * BYTES_PER_MB),
        place[1],
        place[2],
    )


def folder_bytes(folder: Path) -> int:
    """Return the size of the files in a folder, 0 if there is none."""
    total = 0
    try:
        for path in folder.iterdir():
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # renamed or removed in between
                continue
    except FileNotFoundError:
        return total
    return total


def check_space(needed_bytes: int, folder: Path, margin: float) -> None:
    """Raise ``WorkError`` (``disk_full``) unless ``margin`` times the bytes fit on the disk."""
    asked = int(needed_bytes * margin)
    free = shutil.disk_usage(folder).free
    if asked > free:
        raise WorkError(
            "the disk has not enough room for the download",
            code="disk_full",
            file=folder,
            expected=f"{asked / BYTES_PER_MB:,.1f} MB free (fetch.space_margin {margin:g})",
            found=f"{free / BYTES_PER_MB:,.1f} MB",
            remedy="free space, or fetch fewer series",
        )
