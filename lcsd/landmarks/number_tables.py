"""Read and write tables of numbers: DIR-Lab's text, Learn2Reg's and Lung250M's CSV, and similar ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.files import atomic_path
from lcsd.io.point_tables import PointTable, read_point_table
from lcsd.io.points import PAIR_COLUMNS
from lcsd.io.tables import check_columns
from lcsd.names import TableFrame

LABEL_COLUMNS = ("id", "label")
MM_PER = {"mm": 1.0, "m": 1000.0}


@dataclass(frozen=True)
class NumberTable:
    """Numbers of a file, not interpreted except for a unit that the names of the columns state."""

    numbers: NDArray[np.float64]  # shape (N, 3), one scan, or (N, 6), fixed then moving; finite
    labels: tuple[str, ...] | None = None  # one per row, or None
    named: bool = False  # whether a header gives the order of the columns
    frame: TableFrame | None = None  # if the file itself says it


def read_number_table(path: Path) -> NumberTable:
    """Return the coordinates of a table, separated by commas, semicolons or white space, or of an elastix point set.

    A header has ``x,y,z`` (or ``r,a,s``, see :func:`lcsd.io.point_columns.coordinate_columns`) or our columns, and
    perhaps ``id`` or ``label``. Without a header there are three columns, or six for both scans. Raises
    ``BadInputError`` as :func:`lcsd.io.point_tables.read_point_table` and
    :meth:`lcsd.io.text_tables.TextTable.numbers`, and ``missing_column``.
    """
    table = read_point_table(path, pairs=True)
    columns = _columns(table, path)
    values = table.cells.numbers(columns, path)
    lower = {str(name).lower(): name for name in table.cells.columns}
    label = next((lower[name] for name in LABEL_COLUMNS if name in lower), None) if table.named else None
    labels = None if label is None else tuple(table.cells.column(label))
    return NumberTable(values * MM_PER[table.unit or "mm"], labels, table.named, table.frame)


def _columns(table: PointTable, path: Path) -> Sequence[str | int]:
    """Return the columns of a table that hold positions, of one scan or of both."""
    names = [*table.cells.columns]
    if table.named:
        lower = {str(name).lower(): name for name in names}
        if table.columns is not None and not lower.keys() & {*PAIR_COLUMNS}:
            return table.columns
        required = PAIR_COLUMNS if lower.keys() & {*PAIR_COLUMNS} else ("x", "y", "z")
        check_columns([*lower], path, required=required)
        return [lower[name] for name in required]
    if len(names) not in {3, 6}:
        raise BadInputError(
            "the table has no header, and its columns cannot be told apart",
            code="missing_column",
            file=path,
            field=f"line {table.cells.lines[0]}",
            expected="3 or 6 numbers, or a header with x,y,z",
            found=f"{len(names)} columns",
        )
    return names


def write_number_table(path: Path, numbers: NDArray[np.float64], *, separator: str, header: Sequence[str] = ()) -> None:
    """Write numbers (N, C) with 4 decimals."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        if header:
            handle.write(separator.join(header) + "\n")
        for row in numbers:
            handle.write(separator.join(f"{value + 0.0:.4f}" for value in row) + "\n")
