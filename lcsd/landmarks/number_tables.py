"""Tables of numbers: DIR-Lab's text, Learn2Reg's and Lung250M's CSV, and what else has columns."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.files import atomic_path, require_file
from lcsd.io.points import PAIR_COLUMNS, check_columns

LABEL_COLUMNS = ("id", "label")


@dataclass(frozen=True)
class NumberTable:
    """Numbers as they stand in a file.

    Parameters
    ----------
    numbers
        Shape (N, 3), one scan, or (N, 6), fixed then moving; float64, finite.
    labels
        One per row, or None.
    named
        Whether a header names the columns, so that their order is known.
    """

    numbers: NDArray[np.float64]
    labels: tuple[str, ...] | None = None
    named: bool = False


def _cells(line: str) -> list[str]:
    if "," in line:
        return [cell.strip() for cell in next(csv.reader([line], strict=True))]
    return line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _columns(header: Sequence[str], path: Path) -> tuple[list[int], int | None]:
    """Return where coordinates and label stand, by the names of a header."""
    names = [name.lower() for name in header]
    wanted = PAIR_COLUMNS if any(name in names for name in PAIR_COLUMNS) else ("x", "y", "z")
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BadInputError(
            "columns are missing",
            code="missing_column",
            file=path,
            field=", ".join(missing),
            expected=f"{','.join(PAIR_COLUMNS)} or x,y,z",
            found=",".join(header),
        )
    check_columns(names, path)
    label = next((names.index(name) for name in LABEL_COLUMNS if name in names), None)
    return [names.index(name) for name in wanted], label


def read_number_table(path: Path) -> NumberTable:
    """Return the coordinates of a table, separated by commas or white space.

    A header names the columns (``x,y,z`` or ours; ``id`` or ``label``); without one there are
    three columns, or six for both scans. Lines that begin with ``#`` are comments.

    Raises
    ------
    BadInputError
        Missing or broken file, missing column, rows of another length, a cell that is not a
        finite number, no row.
    """
    try:
        text = require_file(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError("not a text file", code="broken_landmarks", file=path) from error
    try:
        lines = [
            (number, _cells(line))
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
    except csv.Error as error:
        raise BadInputError(f"not a table of numbers ({error})", code="broken_landmarks", file=path) from error
    if not lines:
        raise BadInputError("no points in the table", code="empty_table", file=path)
    label: int | None = None
    first = lines[0][1]
    named = any(re.search("[A-Za-z]", cell) and not _is_number(cell) for cell in first)
    if named:
        where, label = _columns(first, path)
        lines = lines[1:]
    elif len(first) in {3, 6}:
        where = list(range(len(first)))
    else:
        raise BadInputError(
            "columns cannot be told apart",
            code="missing_column",
            file=path,
            field=f"line {lines[0][0]}",
            expected="3 or 6 numbers, or a header with x,y,z",
            found=f"{len(first)} columns",
        )
    if not lines:
        raise BadInputError("no points in the table", code="empty_table", file=path)
    width = len(first)
    rows = [_row(cells, where, width, path, number) for number, cells in lines]
    labels = None if label is None else tuple(cells[label] for _, cells in lines)
    return NumberTable(np.array(rows, dtype=np.float64), labels, named)


def _row(cells: Sequence[str], where: Sequence[int], width: int, path: Path, line: int) -> list[float]:
    if len(cells) != width:
        raise BadInputError(
            "the row has another number of cells than the first",
            code="bad_row",
            file=path,
            field=f"line {line}",
            expected=width,
            found=len(cells),
        )
    values = [float(cells[n]) if _is_number(cells[n]) else float("nan") for n in where]
    if not np.isfinite(values).all():
        raise BadInputError(
            "not a finite number",
            code="bad_number",
            file=path,
            field=f"line {line}",
            found=", ".join(cells[n] for n in where),
        )
    return values


def write_number_table(path: Path, numbers: NDArray[np.float64], *, separator: str, header: Sequence[str] = ()) -> None:
    """Write numbers (N, C) with 4 decimals."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        if header:
            handle.write(separator.join(header) + "\n")
        for row in numbers:
            handle.write(separator.join(f"{value + 0.0:.4f}" for value in row) + "\n")
