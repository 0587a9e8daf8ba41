"""Look series up in the index of the Imaging Data Commons, and check the free disk space."""

import contextlib
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lcsd.cohort.index import check_index, connect, default_index, listed_twice, readable_index
from lcsd.errors import BadInputError, WorkError

BYTES_PER_MB = 1_000_000  # the index counts 10^6 bytes
LOOKUP_THREADS = 2  # the query reads few columns: more threads cost memory and save no time

COLUMNS = ("SeriesInstanceUID", "PatientID", "Modality", "instanceCount", "series_size_MB", "series_aws_url")

URL_PATTERN = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9_-]{1,64})/\*")

_QUERY = f"""
SELECT {", ".join(COLUMNS)} FROM read_parquet($file)
WHERE SeriesInstanceUID IN (SELECT unnest($uids)) ORDER BY SeriesInstanceUID
"""  # noqa: S608 - the columns are the constant above


@dataclass(frozen=True)
class Entry:
    """A series as the index describes it."""

    uid: str
    # patient, modality: expected in every header of the series
    patient: str
    modality: str
    files: int  # number of objects
    size_bytes: int  # sum of their sizes
    # bucket, prefix: their place: ``s3://<bucket>/<prefix>/<object>``
    bucket: str
    prefix: str


def look_up(uids: Sequence[str], index: Path | None = None) -> dict[str, Entry]:
    """Return the entry of every UID that the index has, with one query.

    ``index`` is a Parquet file with the columns of the IDC's main index; None takes that of the package
    ``idc-index-data``. Raises ``BadInputError`` if it is missing, unreadable, lacks a column or lists a series twice.
    """
    if not uids:
        return {}
    path = index or default_index()
    with contextlib.closing(connect(LOOKUP_THREADS)) as connection:
        file = check_index(connection, path, COLUMNS, "fetch.index")
        with readable_index(path, "fetch.index"):
            rows = connection.execute(_QUERY, {"file": file, "uids": list(uids)}).fetchall()
    found: dict[str, Entry] = {}
    for row in rows:
        entry = _entry(row, path)
        if entry.uid in found:
            raise listed_twice(path, entry.uid)
        found[entry.uid] = entry
    return found


def _entry(row: tuple[object, ...], path: Path) -> Entry:
    uid, patient, modality, files, size_mb, url = row
    place = URL_PATTERN.fullmatch(str(url))
    if place is None or not isinstance(files, int) or not isinstance(size_mb, int | float):
        raise BadInputError(
            "the index has no usable row for the series",
            code="bad_index",
            file=path,
            field=f"series_aws_url, instanceCount, series_size_MB of {uid}",
            expected="s3://BUCKET/FOLDER/*, a count and a size",
            found=f"{url}, {files}, {size_mb}",
            remedy="give an index from idc-index-data",
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
    with contextlib.suppress(FileNotFoundError):
        for path in folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # renamed or removed in between
                total += path.stat().st_size
    return total


def check_space(needed_bytes: int, folder: Path, margin: float) -> None:
    """Raise ``WorkError`` (``disk_full``) unless ``margin`` times the bytes fit on the disk."""
    asked = int(needed_bytes * margin)
    free = shutil.disk_usage(folder).free
    if asked > free:
        raise WorkError(
            "the disk is too full for the download",
            code="disk_full",
            file=folder,
            expected=f"{asked / BYTES_PER_MB:,.1f} MB free (fetch.space_margin {margin:g})",
            found=f"{free / BYTES_PER_MB:,.1f} MB",
            remedy="free space, or fetch fewer series",
        )
