"""Read the sampled candidates of a cohort: the pairs of series to screen.

Planning imports it, so it loads nothing heavy.
"""

from dataclasses import dataclass, fields
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.tables import Row, read_cases
from lcsd.names import is_series_uid

ROLES = ("train", "test_pool")


@dataclass(frozen=True)
class Candidate:
    """A sampled row of ``candidates.tsv``."""

    case: str
    patient_id: str  # patient in the index; never published
    sampled: str  # purpose of the sample: one of ``ROLES``
    fixed_time: str
    moving_time: str
    # Series UIDs of baseline and follow-up, and of their published segmentations (or empty)
    fixed_series: str
    moving_series: str
    fixed_segmentation: str
    moving_segmentation: str


COLUMNS = tuple(field.name for field in fields(Candidate))
OPTIONAL_UIDS = ("fixed_segmentation", "moving_segmentation")
UIDS = ("fixed_series", "moving_series", *OPTIONAL_UIDS)


def read_candidates(path: Path) -> dict[str, Candidate]:
    """Return the sampled candidates by case, in the order of the table.

    Raises ``BadInputError`` as :func:`lcsd.io.tables.read_cases`, and for an invalid cell (``bad_candidates``) or no
    sampled row (``empty_table``).
    """
    rows = [row for row in read_cases(path, COLUMNS) if row["sampled"]]
    if not rows:
        raise BadInputError(
            "the table has no sampled candidate",
            code="empty_table",
            file=path,
            field="sampled",
            expected=" or ".join(ROLES),
            remedy="run lcsd cohort with a sample",
        )
    for row in rows:
        _check(row, path)
    return {row["case"]: Candidate(**{name: row[name] for name in COLUMNS}) for row in rows}


def _check(row: Row, path: Path) -> None:
    """Refuse cells that must not become part of a path or command."""
    bad = {} if row["sampled"] in ROLES else {"sampled": " or ".join(ROLES)}
    for name in UIDS:
        if not is_series_uid(row[name]) and not (name in OPTIONAL_UIDS and row[name] == ""):
            bad[name] = "a series UID"
    for column, expected in bad.items():
        raise BadInputError(
            "invalid cell",
            code="bad_candidates",
            file=path,
            field=f"line {row.line}, column {column}",
            expected=expected,
            found=repr(row[column]),
            remedy="run lcsd cohort again",
        )
