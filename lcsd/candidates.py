"""The sampled candidates of a cohort: pairs of series from which screening selects.

Imported while the Snakefile is read, so it loads nothing heavy.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.files import require_file
from lcsd.pairs import check_case_name
from lcsd.sources import is_series_uid

ROLES = ("train", "test_pool")


@dataclass(frozen=True)
class Candidate:
    """A row of ``candidates.tsv`` that was sampled.

    Parameters
    ----------
    case
        Name of the case.
    patient_id
        Patient in the index; never published.
    sampled
        What it was sampled for: one of ``ROLES``.
    fixed_time, moving_time
        Time points.
    fixed_series, moving_series
        Series UIDs of baseline and follow-up.
    fixed_segmentation, moving_segmentation
        Series UIDs of their published segmentations, or empty.
    """

    case: str
    patient_id: str
    sampled: str
    fixed_time: str
    moving_time: str
    fixed_series: str
    moving_series: str
    fixed_segmentation: str
    moving_segmentation: str


COLUMNS = tuple(field.name for field in fields(Candidate))
OPTIONAL_UIDS = ("fixed_segmentation", "moving_segmentation")
UIDS = ("fixed_series", "moving_series", *OPTIONAL_UIDS)


def read_candidates(path: Path) -> dict[str, Candidate]:
    """Return the sampled candidates by case, in the order of the table.

    Raises
    ------
    BadInputError
        If the file is missing, a column is missing, a cell is not what its column holds, a case is
        there twice, or no row was sampled; names line and column.
    """
    found: dict[str, Candidate] = {}
    with require_file(path).open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle, delimiter="\t")
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise BadInputError(
                "columns are missing", code="missing_column", file=path, field=", ".join(missing),
                expected="the table that lcsd cohort writes", remedy="run lcsd cohort again",
            )  # fmt: skip
        for row in reader:
            if not row["sampled"]:
                continue
            _check(row, path=path, line=reader.line_num)
            if row["case"] in found:
                raise _bad_cell(path, reader.line_num, "case", row["case"], "a case of its own")
            found[row["case"]] = Candidate(**{name: row[name] or "" for name in COLUMNS})
    if not found:
        raise BadInputError(
            "no candidate was sampled", code="empty_table", file=path, field="sampled",
            expected=" or ".join(ROLES), remedy="run lcsd cohort with cohort.train above 0",
        )  # fmt: skip
    return found


def _check(row: dict[str, str], *, path: Path, line: int) -> None:
    """Refuse cells that must not become paths or parts of commands."""
    if row["sampled"] not in ROLES:
        raise _bad_cell(path, line, "sampled", row["sampled"], " or ".join(ROLES))
    try:
        check_case_name(row["case"] or "")
    except ValueError as error:
        raise _bad_cell(path, line, "case", row["case"], str(error)) from error
    for name in UIDS:
        cell = row[name] or ""
        if not is_series_uid(cell) and not (name in OPTIONAL_UIDS and cell == ""):
            raise _bad_cell(path, line, name, cell, "a series UID")


def _bad_cell(path: Path, line: int, column: str, found: str, expected: str) -> BadInputError:
    return BadInputError(
        "bad cell", code="bad_candidates", file=path, field=f"line {line}, column {column}",
        expected=expected, found=repr(found), remedy="run lcsd cohort again",
    )  # fmt: skip
