"""Read text tables of points that other programs write: plain columns, elastix, SWC, Slicer's table export."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.point_columns import (
    check_header_of_numbers,
    check_not_index,
    check_points_are_rows,
    coordinate_columns,
    declared_frame,
    declared_unit,
    is_swc,
)
from lcsd.io.tables import COMMENT_LINE, read_text
from lcsd.io.text_tables import TextTable, columns_of
from lcsd.names import TableFrame, Unit

ELASTIX: dict[str, TableFrame] = {"point": "lps", "index": "voxel"}
"""First word of an elastix point set: world coordinates, which are ITK's LPS mm, or indices of voxels from 0."""

OTHER_COMMENTS = re.compile(r"^[ \t]*(?://|%)", re.MULTILINE)
"""Comments of CloudCompare and of MATLAB."""

RADIUS = "radius"
"""Name of the column with the radius of a vessel."""

DEFINED, SELECTED = "defined", "selected"
"""Columns that 3D Slicer writes: 0 in the first one for a point without a position."""

COMMENT_TEXT = re.compile(r"#(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class PointTable:
    """A text table, not converted, and what it says about itself."""

    cells: TextTable  # all columns
    named: bool  # whether the columns have names
    columns: tuple[str | int, ...] | None  # those of x, y, z; None if the names do not tell
    frame: TableFrame | None  # by the names, the comments or the format; None if nothing says it
    unit: Unit | None
    radius: str | int | None = None  # column of the radius
    head: str = ""  # lines before the header and the rows: of the format, or the comment with the frame


def _pop_head(text: str, path: Path) -> tuple[str, str, TableFrame | None]:
    """Return the lines of a format before its rows, the text with blank lines instead, and the frame they name.

    They are ``point`` or ``index`` and a count (elastix), or a count alone (``.pts``).
    """
    lines = text.split("\n")
    rows = [number for number, line in enumerate(COMMENT_LINE.sub("", text).split("\n")) if line.strip()]
    words = [lines[row].strip() for row in rows[:2]]
    frame = ELASTIX.get(words[0].lower()) if words else None
    taken = rows[: 1 if frame is None else 2]
    count = words[len(taken) - 1] if len(words) >= len(taken) and words else ""
    if frame is None and not (count.isdecimal() and len(rows) > 1 and len(re.split(r"[\s,;]+", words[1])) > 1):
        return "", text, None
    if not count.isdecimal() or int(count) != len(rows) - len(taken):
        raise BadInputError(
            "the file does not hold as many points as it says",
            code="bad_count",
            file=path,
            field=f"line {taken[-1] + 1}",
            expected=f"{count!r} rows",
            found=len(rows) - len(taken),
            remedy="correct the number, or write the file again",
        )
    head = "".join(lines[row].strip() + "\n" for row in taken)
    for row in taken:
        lines[row] = ""
    return head, "\n".join(lines), frame


def _named_by_comment(text: str, cells: TextTable, path: Path) -> list[str] | None:
    """Return the names of the columns in the comment before the first row, as numpy and CloudCompare write them."""
    before = text.split("\n")[: cells.lines[0] - 1]
    comments = [line.strip().lstrip("#").strip() for line in before if line.strip().startswith("#")]
    names = [part for part in re.split(r"[\s,;]+", comments[-1]) if part] if comments else []
    fits = len(names) == cells.shape[1] and len({name.lower() for name in names}) == len(names)
    return names if fits and coordinate_columns(names, path) is not None else None


def read_point_table(path: Path, *, tree: bool = False, pairs: bool = False) -> PointTable:
    """Return a text table of points.

    ``tree`` if it must be an SWC tree (``bad_tree`` otherwise), ``pairs`` if six columns are points of two scans, whose
    first column may count up.

    Without a header, columns are numbered and x, y, z are the first three, except in an SWC tree. Raises
    ``BadInputError`` as :func:`lcsd.io.text_tables.read_columns`; for a first column that is an index
    (``index_column``), two sets of positions (``ambiguous_columns``), an unknown unit or frame (``bad_unit``,
    ``unknown_frame``, ``contradicting_frame``); and a count that is not that of the rows (``bad_count``).
    """
    text = OTHER_COMMENTS.sub("#", read_text(path))
    head, body, of_format = _pop_head(text, path)
    cells = columns_of(body, path)
    if isinstance(cells.columns[0], str):
        return _named(cells, [str(name) for name in cells.columns], text, path)
    values = _numbers(cells, path)
    if is_swc(values):
        frame = _declared(text, None, path)
        unit = _unit(text, None, path)
        return PointTable(cells, False, (2, 3, 4), frame, unit, radius=5, head=_comment(frame, None, unit))
    if tree:
        raise BadInputError(
            "not a tree in SWC",
            code="bad_tree",
            file=path,
            expected="node, type, x, y, z, radius, parent; every parent is a node or -1",
            found=f"{cells.shape[0]} rows of {cells.shape[1]} columns",
            remedy="name it .txt if it is a table of points",
        )
    names = _named_by_comment(body, cells, path)
    if names is not None:
        return _named(cells, names, text, path)
    if not (pairs and values.shape[1] == 6):
        check_not_index(values, path)
    check_header_of_numbers(values, path)
    check_points_are_rows(values, path)
    columns = (0, 1, 2) if values.shape[1] > 2 else None
    frame = _declared(text, of_format, path)
    unit = _unit(text, None, path)
    return PointTable(cells, False, columns, frame, unit, head=_comment(frame, of_format, unit) + head)


def _comment(frame: TableFrame | None, of_names: TableFrame | None, unit: Unit | None = None) -> str:
    """Return the comments that name a frame or a unit if neither the columns nor the format do."""
    space = "" if frame is None or of_names is not None else f"# SPACE={frame.upper()}\n"
    return space if unit is None else f"{space}# units: {unit}\n"


def _unit(text: str, of_names: Unit | None, path: Path) -> Unit | None:
    """Return the unit in comments or names; raise ``BadInputError`` (``bad_unit``) if they contradict."""
    comment = declared_unit("\n".join(COMMENT_TEXT.findall(text)), path)
    if None not in {comment, of_names} and comment != of_names:
        raise BadInputError(
            "comment and columns name different units",
            code="bad_unit",
            file=path,
            expected=of_names,
            found=comment,
            remedy="correct the comment or the header",
        )
    return of_names or comment


def _named(cells: TextTable, names: list[str], text: str, path: Path) -> PointTable:
    found = coordinate_columns(names, path)
    of_names, unit = (None, None) if found is None else (found.frame, found.unit)
    frame = _declared(text, of_names, path)
    stated = _unit(text, unit, path)
    radius = next((name for name in names if name.lower() == RADIUS), None)
    return PointTable(
        _placed(cells.named(names), path),
        True,
        None if found is None else found.columns,
        frame,
        stated,
        radius=radius,
        head=_comment(frame, of_names, stated if unit is None else None),
    )


def _placed(cells: TextTable, path: Path) -> TextTable:
    """Return the rows of points that were placed: 3D Slicer's tables have the origin for those that were not."""
    if DEFINED not in cells.columns or SELECTED not in cells.columns:
        return cells
    placed = cells.only([cell.strip() != "0" for cell in cells.column(DEFINED)])
    if not placed.rows:
        raise BadInputError("no point of the table was placed", code="empty_table", file=path, field=DEFINED)
    return placed


def _numbers(cells: TextTable, path: Path) -> NDArray[np.float64]:
    """Return columns of numbers; NaN in a column with other text, which no check concerns."""
    columns = [*cells.columns]
    values = np.full(cells.shape, np.nan)
    for position, column in enumerate(columns):
        try:
            values[:, position] = cells.numbers([column], path)[:, 0]
        except BadInputError:
            continue
    return values


def _declared(text: str, stated: TableFrame | None, path: Path) -> TableFrame | None:
    """Return the frame in comments or names; raise ``BadInputError`` if they contradict."""
    comment = declared_frame("\n".join(COMMENT_TEXT.findall(text)), path)
    if comment is not None and stated is not None and comment != stated:
        raise BadInputError(
            "comment and columns name different frames",
            code="contradicting_frame",
            file=path,
            expected=f"{stated}, as the columns",
            found=comment,
            remedy="correct the comment or the header",
        )
    return stated or comment
