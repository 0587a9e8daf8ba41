"""Read tables: rows of text for planning, typed pandas frames for everything else.

One strict parser on the csv module serves both, so every table has the same errors. Planning reads the manifest and
the tables of cases with the parser alone: importing pandas takes longer than everything that planning imports.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lcsd.errors import BadInputError, suggestion
from lcsd.io.files import from_cell, require_file
from lcsd.io.number_text import remedy_of
from lcsd.names import CASE_PATTERN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

DType = Literal["float64", "Float64", "UInt64"]
"""pandas' names: a finite number; a finite number or an empty cell (NA); a count or an empty cell (NA)."""

Cells = list[tuple[int, list[str]]]
"""The line where each row begins, and its cells."""

SEPARATORS = {"\t": "separate the cells by single tabs", ",": "use commas between cells and points in numbers"}
ANY_SPACE = " "
"""Separator of cells between which there is any white space."""

COMMENT_LINE = re.compile(r"^[ \t]*(?:#.*)?$", re.MULTILINE)
COMMENT = re.compile(r"[ \t]#.*$", re.MULTILINE)


class Row(dict[str, str]):
    """The cells of a row by column, and the line of the file where the row begins."""

    def __init__(self, line: int, cells: Mapping[str, str]) -> None:
        super().__init__(cells)
        self.line = line


def as_number(value: object) -> float | None:
    """Return a finite number, or None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def read_text(path: Path) -> str:
    r"""Return the text of a UTF-8 file without its byte order mark; line ends become ``\n``.

    Raises ``BadInputError`` for a missing or empty file (:func:`lcsd.io.files.require_file`), and for another encoding
    or a NUL byte (``bad_table``).
    """
    content = require_file(path).read_bytes()
    text, bad, found = "", content.find(b"\0"), "a NUL byte"
    if bad < 0:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            bad, found = error.start, error.reason
    if bad >= 0:
        line = content.count(b"\n", 0, bad) + 1
        raise BadInputError(
            "not a text file in UTF-8",
            code="bad_table",
            file=path,
            field=f"line {line}",
            found=found,
            remedy="save it as text in UTF-8",
        )
    return text.replace("\r\n", "\n").replace("\r", "\n")


def split_rows(text: str, separator: str, path: Path) -> Cells:
    """Return the rows of a text; blank lines are left out.

    Raises ``BadInputError`` (``bad_table``) with the line of an open quotation mark or a cell that is too long.
    """
    if separator == ANY_SPACE:
        return [(line, row.split()) for line, row in enumerate(text.split("\n"), 1) if row.strip()]
    reader = csv.reader(io.StringIO(text), delimiter=separator, strict=True)
    rows: Cells = []
    line = 1
    try:
        for cells in reader:
            if cells:
                rows.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        raise BadInputError(
            f"not a readable table ({error})",
            code="bad_table",
            file=path,
            field=f"line {line}",
            remedy="correct the quotation marks",
        ) from error
    return rows


def check_columns(
    columns: Sequence[str], path: Path, *, required: Sequence[str] = (), known: Collection[str] | None = None
) -> None:
    """Raise ``BadInputError`` for a missing, a repeated or (if ``known`` is given) an unknown column."""
    wrong = (
        ([name for name in required if name not in columns], "columns are missing", "missing_column"),
        (sorted({n for n in columns if n and columns.count(n) > 1}), "columns are repeated", "duplicate_column"),
        ([n for n in columns if known is not None and n not in known], "columns are unknown", "unknown_column"),
    )
    for names, what, code in wrong:
        if not names:
            continue
        others = set(known or required) - set(columns) if code == "unknown_column" else columns
        raise BadInputError(
            what,
            code=code,
            file=path,
            field=", ".join(names),
            expected=", ".join(required) or None,
            found=", ".join(columns) or "no column",
            remedy=suggestion(names[0], others) or "correct the header",
        )


def check_widths(rows: Cells, width: int, separator: str, path: Path) -> None:
    """Refuse a row with more or fewer cells than the first."""
    for line, cells in rows:
        if len(cells) != width:
            raise BadInputError(
                "the row has more or fewer cells than the first row",
                code="bad_row",
                file=path,
                field=f"line {line}",
                expected=width,
                found=len(cells),
                remedy=SEPARATORS.get(
                    separator,
                    "separate the cells of all rows by blanks or commas; columns of fixed width may run together",
                ),
            )


def _table(
    path: Path, separator: str, required: Sequence[str], known: Collection[str] | None = None
) -> tuple[list[str], Cells]:
    """Return the header and the rows of a table."""
    rows = split_rows(read_text(path), separator, path)
    if not rows:
        raise BadInputError("the table is blank", code="bad_table", file=path, expected="a header and rows")
    columns = rows.pop(0)[1]
    if len(columns) == 1 < len(required) and {*required} <= {*re.split(r"[,;\s|]+", columns[0])}:
        raise BadInputError(
            "the cells are separated by other characters",
            code="missing_column",
            file=path,
            field="line 1",
            found=columns[0][:40],
            remedy=SEPARATORS[separator],
        )
    check_columns(columns, path, required=required, known=known)
    check_widths(rows, len(columns), separator, path)
    return columns, [(line, [*map(from_cell, cells)]) for line, cells in rows]


def read_rows(
    path: Path, required: Sequence[str] = (), *, separator: str = "\t", known: Collection[str] | None = None
) -> list[Row]:
    """Return the rows of a table with a header, as text. Loads neither numpy nor pandas.

    The table must have the columns ``required`` and may have those in ``known``; None allows any.

    Raises ``BadInputError`` as :func:`read_text` and :func:`split_rows`, and for no header (``bad_table``), a column
    that is missing, repeated or unknown (``missing_column``, ``duplicate_column``, ``unknown_column``), and a row with
    more or fewer cells than the header (``bad_row``).
    """
    columns, rows = _table(path, separator, required, known)
    return [Row(line, dict(zip(columns, cells, strict=True))) for line, cells in rows]


def read_cases(path: Path, required: Sequence[str] = ()) -> list[Row]:
    """Return the rows of a TSV table with a unique, valid ``case`` in each.

    Raises ``BadInputError`` as :func:`read_rows`, and ``bad_case``.
    """
    rows = read_rows(path, [*dict.fromkeys(("case", *required))])
    check_cases(((row.line, row["case"]) for row in rows), path)
    return rows


def check_cases(names: Iterable[tuple[Any, str]], path: Path) -> None:
    """Raise ``BadInputError`` (``bad_case``) unless the names, each after its line, are valid and unique."""
    seen: dict[str, int] = {}
    for line, name in names:
        # File systems that ignore case would merge the folders of 'a' and 'A'.
        other = seen.setdefault(name.lower(), line)
        if not CASE_PATTERN.fullmatch(name) or other != line:
            raise BadInputError(
                "not a valid case name" if other == line else f"the case is also on line {other}",
                code="bad_case",
                file=path,
                field=f"line {line}, column case",
                expected="a unique name of letters, digits, _ and -",
                found=repr(name),
                remedy="correct the cell",
            )


def _finite(cell: str) -> float:
    value = float(cell)
    if not math.isfinite(value) or "_" in cell:  # Python reads 1_5 as 15
        raise ValueError(cell)
    return value


def _count(cell: str) -> int:
    if not cell.isdecimal():
        raise ValueError(cell)
    return int(cell)


PARSERS: dict[DType, tuple[Callable[[str], float], str]] = {
    "float64": (_finite, "a finite number"),
    "Float64": (_finite, "a finite number or nothing"),
    "UInt64": (_count, "a count or nothing"),
}


def all_numbers(cells: list[str]) -> "NDArray[np.float64] | None":
    """Return cells as finite numbers; None if a cell is no number; the first is then named."""
    import numpy as np

    try:
        found = np.fromiter(map(float, cells), np.float64, len(cells))
    except ValueError:
        return None
    return found if np.isfinite(found).all() and "_" not in "".join(cells) else None


def convert(frame: "pd.DataFrame", dtypes: Mapping[Any, DType], path: Path) -> "pd.DataFrame":
    """Return a frame of text, indexed by line, with the columns of ``dtypes`` that it has converted.

    Raises ``BadInputError`` (``bad_number``) with line and column of a cell that is not a number as its dtype asks.
    """
    import pandas as pd

    frame = frame.copy()
    for column in frame.columns.intersection(list(dtypes)):
        cells = frame[column].tolist()
        whole = all_numbers(cells) if dtypes[column] == "float64" else None
        if whole is not None:
            frame[column] = whole
        else:
            frame[column] = pd.array(parsed(frame.index, cells, dtypes[column], column, path), dtype=dtypes[column])
    return frame


def parsed(
    lines: Iterable[int], cells: Sequence[str], dtype: DType, column: str | int, path: Path
) -> list[float | None]:
    """Return the numbers in the cells of a column, None for an empty one that may be.

    Raises ``BadInputError`` (``bad_number``) with the line of a cell that is not a number as its dtype asks.
    """
    parse, expected = PARSERS[dtype]
    values: list[float | None] = []
    for line, cell in zip(lines, cells, strict=True):
        try:
            values.append(None if dtype != "float64" and not cell.strip() else parse(cell))
        except ValueError as error:
            raise BadInputError(
                "not a number",
                code="bad_number",
                file=path,
                field=f"line {line}, column {column if isinstance(column, str) else column + 1}",
                expected=expected,
                found=repr(cell),
                remedy=remedy_of(cell.strip()),
            ) from error
    return values


def read_table(
    path: Path, required: Sequence[str], dtypes: Mapping[str, DType], *, separator: str = ",", allow_empty: bool = False
) -> "pd.DataFrame":
    """Return a table with a header as a pandas frame, indexed by the line of each row.

    Columns other than ``required`` are kept. ``dtypes`` are those of the columns that hold numbers, required or not;
    all others stay text. Raises ``BadInputError`` as :func:`read_rows` and :func:`convert`, and for no row
    (``empty_table``) unless ``allow_empty``.
    """
    columns, rows = _table(path, separator, required)
    if not rows and not allow_empty:
        raise BadInputError("the table has no rows", code="empty_table", file=path)
    return convert(frame_of(columns, rows), dtypes, path)


def numbers(table: "pd.DataFrame", columns: Sequence[str | int]) -> "NDArray[np.float64]":
    """Return columns of a table as an array (rows, columns), C order, writable; NaN where a cell is empty."""
    import numpy as np

    return np.array(table[[*columns]].to_numpy(np.float64, na_value=np.nan), order="C")


def frame_of(columns: Sequence[str | int], rows: Cells) -> "pd.DataFrame":
    """Return rows of text as a frame, indexed by the line of each."""
    import pandas as pd

    lines = pd.Index([line for line, _ in rows], name="line", dtype="int64")
    return pd.DataFrame([cells for _, cells in rows], index=lines, columns=[*columns], dtype=object)


def read_entries(path: Path) -> list[tuple[int, str]]:
    """Return line and text of each entry of a list, one a line, without blank lines and ``#`` lines.

    Errors as :func:`read_text`.
    """
    lines = enumerate(COMMENT_LINE.sub("", read_text(path)).split("\n"), 1)
    return [(number, line.strip()) for number, line in lines if line.strip()]
