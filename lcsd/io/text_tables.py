"""Tables of other programs as text, without pandas: its import takes longer than reading most tables."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.number_text import DECIMAL_COMMA, check_no_numbers, check_points_in_numbers
from lcsd.io.tables import (
    ANY_SPACE,
    COMMENT,
    COMMENT_LINE,
    all_numbers,
    check_columns,
    check_widths,
    frame_of,
    parsed,
    read_text,
    split_rows,
)

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR_LINE = re.compile(r'\s*"?sep=(.)"?[ \t]*(?=\n)', re.IGNORECASE)
"""First line with which Excel is told the separator."""


@dataclass(frozen=True)
class TextTable:
    """The cells of a table as text; columns have names or numbers from 0."""

    columns: tuple[str | int, ...]
    lines: tuple[int, ...]  # of the file where each row begins
    rows: tuple[tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return len(self.rows), len(self.columns)

    def column(self, name: str | int) -> list[str]:
        """Return the cells of a column."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]

    def numbers(self, columns: Sequence[str | int], path: Path) -> NDArray[np.float64]:
        """Return columns as an array (rows, columns), C order.

        Raises ``BadInputError`` (``bad_number``) with line and column of a cell that is no finite number.
        """
        values = np.empty((len(self.rows), len(columns)))
        for at, name in enumerate(columns):
            cells = self.column(name)
            whole = all_numbers(cells)
            values[:, at] = parsed(self.lines, cells, "float64", name, path) if whole is None else whole
        return values

    def named(self, names: Sequence[str]) -> "TextTable":
        """Return the table with other names of its columns."""
        return replace(self, columns=tuple(names))

    def only(self, keep: Sequence[bool]) -> "TextTable":
        """Return the rows to keep."""
        rows = [number for number, kept in enumerate(keep) if kept]
        return replace(self, lines=tuple(self.lines[n] for n in rows), rows=tuple(self.rows[n] for n in rows))

    def with_column(self, name: str | int, cells: Sequence[str]) -> "TextTable":
        """Return the table with other cells in a column."""
        at = self.columns.index(name)
        rows = zip(self.rows, cells, strict=True)
        return replace(self, rows=tuple((*row[:at], cell, *row[at + 1 :]) for row, cell in rows))

    def write(self, handle: TextIO, *, separator: str, header: bool) -> None:
        """Write the rows, cells in quotation marks where they need some."""
        writer = csv.writer(handle, delimiter=separator, lineterminator="\n")
        if header:
            writer.writerow(self.columns)
        writer.writerows(self.rows)

    def frame(self) -> "pd.DataFrame":
        """Return the table as a pandas frame, indexed by line."""
        return frame_of(self.columns, [*zip(self.lines, map(list, self.rows), strict=True)])


def read_columns(path: Path) -> "pd.DataFrame":
    """Return a table of another program as a frame of text, indexed by the line of each row.

    Cells are separated by what a first line ``sep=;`` names, by semicolons or commas if the first row has one, by tabs
    if a header has one, otherwise by white space; ``#`` begins a comment. The first row is a header if none of its
    cells is a number; otherwise columns are numbered from 0.

    Raises ``BadInputError`` as :func:`read_text` and :func:`split_rows`, and for a row with more or fewer cells than
    the first (``bad_row``), a column that is repeated, in any case of letters (``duplicate_column``), or no row
    (``empty_table``).
    """
    return columns_of(read_text(path), path).frame()


def columns_of(content: str, path: Path) -> TextTable:
    """Return the table in a text, as :func:`read_columns`; ``path`` is for errors."""
    named = SEPARATOR_LINE.match(content)
    text = COMMENT_LINE.sub("", content[named.end() :] if named else content)
    separator = named[1] if named else _separator(text.lstrip("\n").partition("\n")[0])
    text = "\n" * content.count("\n", 0, named.end() if named else 0) + text
    rows = split_rows(COMMENT.sub("", text) if separator == ANY_SPACE else text, separator, path)
    columns: Sequence[str | int] = ()
    if rows:
        check_points_in_numbers(rows, separator, path)
        check_widths(rows, len(rows[0][1]), separator, path)
        columns = range(len(rows[0][1]))
        if not any(_is_number(cell) for cell in rows[0][1]):
            check_no_numbers(*rows[0], path)
            columns = names = [cell.strip() for cell in rows.pop(0)[1]]
            check_columns([name.lower() for name in names], path)
    if not rows:
        raise BadInputError("the table has no rows", code="empty_table", file=path)
    lines, texts = zip(*((line, tuple(cell.strip() for cell in cells)) for line, cells in rows), strict=True)
    return TextTable(tuple(columns), lines, texts)


def _separator(first: str) -> str:
    """Return the separator of a table of another program by its first row."""
    words = first.split()
    if len(words) > 1 and all(map(DECIMAL_COMMA.fullmatch, words)):
        return ANY_SPACE
    for separator in ";,":
        if separator in first:
            return separator
    # Cells of a table with a header may be empty or have blanks; numbers alone may be separated by anything.
    is_header = not any(_is_number(cell) for cell in first.split())
    return "\t" if "\t" in first.strip() and is_header else ANY_SPACE


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
