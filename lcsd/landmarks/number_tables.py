"""Read and write tables of numbers: DIR-Lab's text, Learn2Reg's and Lung250M's CSV, and similar ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.files import atomic_path
from lcsd.io.points import PAIR_COLUMNS
from lcsd.io.tables import check_columns, convert, numbers, read_columns

LABEL_COLUMNS = ("id", "label")


@dataclass(frozen=True)
class NumberTable:
    """Numbers of a file, not interpreted."""

    numbers: NDArray[np.float64]  # shape (N, 3), one scan, or (N, 6), fixed then moving; finite
    labels: tuple[str, ...] | None = None  # one per row, or None
    named: bool = False  # whether a header gives the order of the columns


def read_number_table(path: Path) -> NumberTable:
    """Return the coordinates of a table, separated by commas or white space.

    A header has ``x,y,z`` or our columns, and perhaps ``id`` or ``label``. Without a header there are three columns, or
    six for both scans. Raises ``BadInputError`` as :func:`lcsd.io.tables.read_columns` and
    :func:`lcsd.io.tables.convert`, and ``missing_column``.
    """
    table = read_columns(path)
    label: str | None = None
    named = isinstance(table.columns[0], str)
    columns: Sequence[str | int] = [*table.columns]
    if named:
        table.columns = table.columns.str.lower()
        columns = PAIR_COLUMNS if table.columns.isin(PAIR_COLUMNS).any() else ("x", "y", "z")
        check_columns([*table.columns], path, required=columns)
        label = next((name for name in LABEL_COLUMNS if name in table), None)
    elif len(columns) not in {3, 6}:
        raise BadInputError(
            "the table has no header, and its columns cannot be told apart",
            code="missing_column",
            file=path,
            field=f"line {table.index[0]}",
            expected="3 or 6 numbers, or a header with x,y,z",
            found=f"{len(columns)} columns",
        )
    values = numbers(convert(table, dict.fromkeys(columns, "float64"), path), columns)
    return NumberTable(values, None if label is None else tuple(table[label]), named)


def write_number_table(path: Path, numbers: NDArray[np.float64], *, separator: str, header: Sequence[str] = ()) -> None:
    """Write numbers (N, C) with 4 decimals."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        if header:
            handle.write(separator.join(header) + "\n")
        for row in numbers:
            handle.write(separator.join(f"{value + 0.0:.4f}" for value in row) + "\n")
