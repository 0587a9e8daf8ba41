"""Load the index of the Imaging Data Commons as one typed table of CT series.

A series description of NLST is a list of fields between commas::

    time, kind, maker, model, kernel, field of view, thickness, tube voltage, load, current, pitch

in millimetres and kilovolts. A field is ``null``, ``na`` or ``unkn`` if it is unknown, and a field of view
above 999 mm may contain a comma (``1,024``).
"""

import contextlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from lcsd.errors import BadInputError
from lcsd.io.files import require_file
from lcsd.settings.cohort import CohortSettings

Connection = duckdb.DuckDBPyConnection

MEMORY_LIMIT = "1500MB"  # for duckdb; the whole command stays below 2 GiB. The real index needs a fifth of this.

INDEX_PACKAGE = "idc_index_data"
INDEX_FILE = "idc_index.parquet"

SEGMENTATION_RESULT = "totalsegmentator_ct_segmentations"
"""TotalSegmentator's segmentations of NLST, published by the IDC (doi 10.5281/zenodo.13900142)."""

SEGMENTATION_PATTERN = r"(?i)^\s*TotalSegmentator\s*(?:\(([^)]*)\))?\s*Segmentation of Series\s+([0-9]+)\s*$"
"""How a segmentation's description names its version and the SeriesNumber of its CT."""

COLUMNS = {
    "index": (
        "collection_id",
        "analysis_result_id",
        "PatientID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "SeriesNumber",
        "StudyDate",
        "Modality",
        "Manufacturer",
        "SeriesDescription",
        "instanceCount",
        "series_size_MB",
        "series_aws_url",
    ),
    "volume_geometry_index": ("SeriesInstanceUID", "regularly_spaced_3d_volume"),
    "ct_index": ("SeriesInstanceUID", "ConvolutionKernel", "SliceThickness", "GantryDetectorTilt"),
}
"""Columns read from each file, by the name of its setting."""

_MACROS = """
-- Text without blanks at its ends; NULL for words that mean unknown.
CREATE MACRO known(t) AS CASE
    WHEN lower(trim(t)) IN ('', 'null', 'na', 'n/a', 'nan', 'none', 'unk', 'unkn', 'unknown')
    THEN NULL
    ELSE regexp_replace(trim(t), '\\s+', ' ', 'g') END;
-- A number that may carry its unit; NULL for anything else.
CREATE MACRO number(t) AS try_cast(nullif(regexp_extract(
    trim(t), '^([0-9]+\\.?[0-9]*|\\.[0-9]+)\\s*[A-Za-z]*$', 1), '') AS DOUBLE);
-- 0 and values from 'limit' on are placeholders (999 and 400.2 mm of thickness occur).
CREATE MACRO between_zero_and(v, most) AS CASE WHEN v > 0 AND v < most THEN v END;
CREATE MACRO maker_code(t) AS CASE
    WHEN upper(t) LIKE 'GE%' THEN 'GE' WHEN upper(t) LIKE 'SE%' OR upper(t) LIKE 'SI%' THEN 'SE'
    WHEN upper(t) LIKE 'PH%' THEN 'PH' WHEN upper(t) LIKE 'TO%' THEN 'TO' ELSE upper(t) END;
-- Fields count from the left up to the kernel and from the right after the field of view, so a comma
-- inside the field of view does no harm.
CREATE MACRO field(f, k) AS f[k];
CREATE MACRO after_view(f, k) AS f[CASE WHEN len(f) > 11 THEN len(f) - 11 + k ELSE k END];
"""

_PARSE = """
CREATE TABLE parsed AS
SELECT uid, patient, study, number, description, slices, size_mb, url,
    coalesce(
        try_cast(regexp_extract(trim(f[1]), '^[Tt]?([0-2])$', 1) AS INTEGER),
        try_cast(regexp_extract(study_date, '^(1999|2000|2001)', 1) AS INTEGER) - 1999
    ) AS time,
    CASE WHEN regexp_full_match(upper(trim(f[2])), '[A-Z]{2,3}') THEN known(upper(trim(f[2]))) END
        AS kind,
    maker_code(coalesce(known(f[3]), known(manufacturer))) AS maker,
    known(f[4]) AS model,
    known(f[5]) AS kernel,
    between_zero_and(number(CASE WHEN len(f) > 11
        THEN array_to_string(list_slice(f, 6, len(f) - 5), '') ELSE f[6] END), 2000) AS view_mm,
    between_zero_and(number(after_view(f, 7)), 50) AS thickness_mm,
    between_zero_and(number(after_view(f, 8)), 1000) AS voltage_kv,
    number(after_view(f, 9)) AS load,
    number(after_view(f, 10)) AS current,
    between_zero_and(number(after_view(f, 11)), 100) AS pitch
FROM (
    SELECT *, string_split(regexp_replace(coalesce(description, ''), '[,\\s]+$', ''), ',') AS f
    FROM raw
)
"""

_RAW = """
CREATE TABLE raw AS
SELECT SeriesInstanceUID::VARCHAR AS uid, PatientID::VARCHAR AS patient,
    StudyInstanceUID::VARCHAR AS study, try_cast(SeriesNumber AS BIGINT) AS number,
    SeriesDescription::VARCHAR AS description, StudyDate::VARCHAR AS study_date,
    Manufacturer::VARCHAR AS manufacturer, instanceCount::BIGINT AS slices,
    series_size_MB::DOUBLE AS size_mb, series_aws_url::VARCHAR AS url
FROM read_parquet($file)
WHERE collection_id = $collection AND Modality = 'CT'
    AND (NOT $some_patients OR PatientID IN (SELECT id FROM own_patients))
    AND (NOT $some_series OR SeriesInstanceUID IN (SELECT id FROM own_series))
"""

# A segmentation names its CT by study and number only. If several scans of a study share the number,
# it is ambiguous and left out. Localizers (kind ends in L) are not segmented.
_SEGMENTATIONS = """
CREATE TABLE segmentations AS
WITH listed AS (
    SELECT StudyInstanceUID::VARCHAR AS study, SeriesInstanceUID::VARCHAR AS uid, Modality AS kind,
        try_cast(SeriesNumber AS BIGINT) AS number,
        analysis_result_id = $result AS published,
        regexp_extract(SeriesDescription::VARCHAR, $pattern, ['version', 'series']) AS named,
        regexp_matches(SeriesDescription::VARCHAR, '^[^,]*,[^,]*[Ll]\\s*,') AS localizer
    FROM read_parquet($file)
    WHERE collection_id = $collection AND Modality IN ('CT', 'SEG')
        AND (NOT $some_patients OR PatientID IN (SELECT id FROM own_patients))
), scans AS (
    SELECT study, number FROM listed WHERE kind = 'CT' AND NOT coalesce(localizer, false)
    GROUP BY study, number HAVING count(*) = 1
), masks AS (
    SELECT study, uid, try_cast(named.series AS BIGINT) AS number,
        try_cast(regexp_extract_all(named.version, '[0-9]+') AS BIGINT[]) AS version
    FROM listed WHERE kind = 'SEG' AND published
)
SELECT study, number, uid AS segmentation FROM masks JOIN scans USING (study, number)
QUALIFY row_number() OVER (
    PARTITION BY study, number ORDER BY version DESC NULLS LAST, uid DESC) = 1
"""

_JOIN = """
CREATE TABLE series AS
SELECT p.* EXCLUDE (kernel, thickness_mm),
    coalesce(p.kernel, known(c.kernel)) AS kernel,
    coalesce(p.thickness_mm, between_zero_and(c.thickness_mm, 50)) AS thickness_mm,
    c.tilt_deg, g.regular, s.segmentation
FROM parsed p LEFT JOIN ct c USING (uid) LEFT JOIN geometry g USING (uid)
    LEFT JOIN segmentations s USING (study, number)
"""


@dataclass(frozen=True)
class Wanted:
    """The user's choice of patients and series; empty means all."""

    patients: tuple[str, ...] = ()
    series: tuple[str, ...] = ()


def default_index() -> Path:
    """Return the main index inside the package ``idc-index-data``, without importing it."""
    found = importlib.util.find_spec(INDEX_PACKAGE)
    places = list(found.submodule_search_locations or []) if found else []
    for place in places:
        path = Path(place) / INDEX_FILE
        if path.is_file():
            return path
    raise BadInputError(
        "the index of the Imaging Data Commons is not installed",
        code="missing_index",
        field="cohort.index",
        expected=f"{INDEX_FILE} of the package idc-index-data",
        remedy="run pip install idc-index-data, or name a file by --set index=FILE",
    )


def connect(threads: int) -> Connection:
    """Return an empty database in memory, which never writes to the disk."""
    connection = duckdb.connect(config={"threads": threads, "memory_limit": MEMORY_LIMIT, "temp_directory": ""})
    connection.execute(_MACROS)
    return connection


def first_row(connection: Connection, query: str, values: object = None) -> tuple[Any, ...] | None:
    """Return the first row of a query, or None; reads all, since an unread rest blocks newer versions of duckdb."""
    rows = connection.execute(query, values).fetchall()
    return rows[0] if rows else None


def check_index(connection: Connection, path: Path, columns: Sequence[str], field: str) -> str:
    """Return the path for ``read_parquet``, without wildcards, if the file is parquet with these columns.

    ``field`` names the file's setting in errors. duckdb reads pages late, so a truncated file may
    pass here: run queries under :func:`readable_index`, too.
    """
    require_file(path)
    literal = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(path))
    with readable_index(path, field):
        present = set(connection.read_parquet(literal).columns)
    missing = [column for column in columns if column not in present]
    if missing:
        raise BadInputError(
            "columns are missing",
            code="missing_column",
            file=path,
            field=field,
            expected=", ".join(columns),
            found=f"no {', '.join(missing)}",
            remedy="give the file of a current idc-index-data",
        )
    return literal


@contextlib.contextmanager
def readable_index(path: Path, field: str) -> Iterator[None]:
    """Raise ``BadInputError`` (``bad_index``) if duckdb cannot read the file in the block."""
    try:
        yield
    except duckdb.Error as error:
        raise BadInputError(
            f"not a readable parquet file ({str(error).splitlines()[0]})",
            code="bad_index",
            file=path,
            field=field,
            expected="a parquet file of the IDC index",
            remedy="get the file again",
        ) from error


def listed_twice(path: Path, uid: str) -> BadInputError:
    """Return the error for an index with two rows of one series."""
    return BadInputError(
        "a series is listed twice",
        code="duplicate_series",
        file=path,
        field="SeriesInstanceUID",
        expected="one row per series",
        found=uid,
        remedy="give an index from idc-index-data",
    )


def _fill_ids(connection: Connection, table: str, ids: Sequence[str]) -> None:
    connection.execute(f"CREATE TABLE {table} (id VARCHAR)")
    if ids:
        rows = f"INSERT INTO {table} SELECT DISTINCT unnest($ids)"
        connection.execute(rows, {"ids": list(ids)})


def _load_main(connection: Connection, path: Path, settings: CohortSettings, wanted: Wanted) -> None:
    listed = {
        "file": check_index(connection, path, COLUMNS["index"], "cohort.index"),
        "collection": settings.collection,
        "some_patients": bool(wanted.patients),
    }
    with readable_index(path, "cohort.index"):
        connection.execute(_RAW, {**listed, "some_series": bool(wanted.series)})
        named = {"result": SEGMENTATION_RESULT, "pattern": SEGMENTATION_PATTERN}
        connection.execute(_SEGMENTATIONS, {**listed, **named})
    doubled = first_row(connection, "SELECT uid FROM raw GROUP BY uid HAVING count(*) > 1 ORDER BY uid LIMIT 1")
    if doubled:
        raise listed_twice(path, doubled[0])


def _load_optional(connection: Connection, settings: CohortSettings) -> None:
    connection.execute("CREATE TABLE geometry (uid VARCHAR, regular BOOLEAN)")
    connection.execute("CREATE TABLE ct (uid VARCHAR, kernel VARCHAR, thickness_mm DOUBLE, tilt_deg DOUBLE)")
    fills = {
        "volume_geometry_index": "INSERT INTO geometry SELECT SeriesInstanceUID, "
        "bool_and(regularly_spaced_3d_volume::BOOLEAN) FROM read_parquet($file) "
        "WHERE SeriesInstanceUID IN (SELECT uid FROM raw) GROUP BY 1",
        "ct_index": "INSERT INTO ct SELECT SeriesInstanceUID, min(ConvolutionKernel::VARCHAR), "
        "max(SliceThickness::DOUBLE), max(abs(GantryDetectorTilt::DOUBLE)) "
        "FROM read_parquet($file) WHERE SeriesInstanceUID IN (SELECT uid FROM raw) GROUP BY 1",
    }
    for name, fill in fills.items():
        path = getattr(settings, name)
        if path is not None:
            file = check_index(connection, path, COLUMNS[name], f"cohort.{name}")
            with readable_index(path, f"cohort.{name}"):
                connection.execute(fill, {"file": file})


def load_series(connection: Connection, path: Path, settings: CohortSettings, wanted: Wanted) -> None:
    """Create the table ``series``: one typed row per CT series of the collection.

    Columns: uid, patient, description, slices (images), size_mb (10^6 bytes), url, time (0, 1, 2; from the description
    or the study date), kind, maker (GE, SE, PH, TO or as written), model, kernel, view_mm, thickness_mm, voltage_kv,
    load, current (as written; makers use different quantities), pitch, tilt_deg, regular, segmentation (series UID of
    the newest published segmentation). Unknown values are NULL; tilt and regularity are NULL without their files.

    Raises ``BadInputError`` if a file is missing, is not parquet, lacks a column, lists a series twice or has no CT
    series of the collection, or if the user asked for a series that it lacks.
    """
    _fill_ids(connection, "own_patients", wanted.patients)
    _fill_ids(connection, "own_series", wanted.series)
    _load_main(connection, path, settings, wanted)
    _load_optional(connection, settings)
    connection.execute(_PARSE)
    connection.execute(_JOIN)
    absent = first_row(connection, "SELECT min(id), count(*) FROM own_series WHERE id NOT IN (SELECT uid FROM raw)")
    if absent and absent[1]:
        raise BadInputError(
            "the index lacks some of the given series",
            code="unknown_series",
            file=path,
            field="SeriesInstanceUID",
            expected=f"CT series of collection {settings.collection}"
            + (" and of the given patients" if wanted.patients else ""),
            found=f"{absent[1]} unknown series, the first {absent[0]}",
            remedy="correct the list",
        )
    empty = first_row(connection, "SELECT count(*) = 0 FROM raw")
    if empty and empty[0] and not wanted.patients:
        raise BadInputError(
            "no CT series of the collection",
            code="empty_table",
            file=path,
            field="cohort.collection",
            expected="series with Modality CT",
            found=settings.collection,
            remedy="correct the collection or the index",
        )
