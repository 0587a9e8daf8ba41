"""Reading tables (TSV) with a row per case."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.files import from_cell, require_file
from lcsd.names import CASE_PATTERN


def as_number(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


Row = dict[str, str]


def read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a TSV file.

    Raises
    ------
    BadInputError
        File missing or no table, one of ``columns`` missing, a row with another number of cells.
    """
    with require_file(path).open(newline="", encoding="utf-8-sig") as handle:
        reader = csv.DictReader(handle, delimiter="\t", strict=True)
        try:
            header = tuple(reader.fieldnames or ())
            rows = list(reader)
        except (csv.Error, UnicodeDecodeError) as error:
            raise BadInputError(f"not a readable table ({error})", code="bad_table", file=path) from error
    missing = [name for name in columns if name not in header]
    if missing:
        raise BadInputError(
            "columns are missing",
            code="missing_column",
            file=path,
            field=", ".join(missing),
            found=", ".join(header),
            remedy="give a table as lcsd writes it",
        )
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise BadInputError(
                "the row has another number of cells than the header",
                code="bad_row",
                file=path,
                field=f"row {number}",
                remedy="separate the cells by single tabs",
            )
    return [{name: from_cell(cell) for name, cell in row.items()} for row in rows]


def read_table(path: Path, columns: Sequence[str]) -> list[Row]:
    """Return the rows of a TSV file with a unique, legal ``case`` in each.

    Raises
    ------
    BadInputError
        As :func:`read_rows`; an illegal name or the same name twice.
    """
    rows = read_rows(path, ("case", *columns))
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        name = row["case"]
        if not CASE_PATTERN.fullmatch(name) or name.lower() in seen:
            raise BadInputError(
                "not a case name of its own",
                code="bad_case",
                file=path,
                field=f"row {number}",
                expected="a name of letters, digits, _ and - that no other row has",
                found=repr(name),
                remedy="correct the cell",
            )
        seen.add(name.lower())
    return rows
