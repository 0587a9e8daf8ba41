"""Numbers as people and programs write them: commas, separators of thousands, other signs; each with its remedy."""

import re
from collections.abc import Sequence
from pathlib import Path

from lcsd.errors import BadInputError

POINTS_IN_NUMBERS = "write numbers with a point: 1.5 for 1,5"
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")

CUT_CELLS = 6
"""Cells of three numbers, each cut into two by its comma."""

THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:[,.'\s]\d{3})+(?:[.,]\d*)?")
"""A number with a separator between its thousands, such as 1,100.25."""

LIKE_NUMBER = re.compile(r"[+\-\u2212\u2013]?\d[\d.,'\s]*(?:[eEdD][+\-\u2212]?\d+)?")
"""A number as other programs write it: with another minus, or Fortran's D before the exponent."""

PLAIN_NUMBERS = (
    "write numbers such as -1100.25 and 1.5e-3: no separators of thousands, a plain minus, E before the exponent"
)


def remedy_of(cell: str) -> str | None:
    """Return how to write a cell that is no number; None for other text."""
    if THOUSANDS.fullmatch(cell):
        return PLAIN_NUMBERS
    if DECIMAL_COMMA.fullmatch(cell):
        return POINTS_IN_NUMBERS
    return PLAIN_NUMBERS if LIKE_NUMBER.fullmatch(cell) else None


def check_points_in_numbers(rows: Sequence[tuple[int, list[str]]], separator: str, path: Path) -> None:
    """Refuse numbers with decimal commas: whole cells, or cells that their commas cut into two.

    Cut numbers show by what stands after the comma: only digits, among them some that no whole number begins with.
    """
    line, first = rows[0]
    whole = any(DECIMAL_COMMA.fullmatch(cell.strip()) for cell in first)
    if separator == "," and len(first) >= CUT_CELLS and len(first) % 2 == 0:
        after = [cell.strip() for _, cells in rows for cell in cells[1::2]]
        before = [cell.strip() for _, cells in rows for cell in cells[::2]]
        whole |= all(map(str.isdecimal, after)) and (
            any(len(cell) > 1 and cell.startswith("0") for cell in after) or "-0" in before
        )
        _check_thousands(line, first, before, after, path)
    if whole:
        raise BadInputError(
            "numbers have a comma in place of the point",
            code="bad_number",
            file=path,
            field=f"line {line}",
            expected="numbers such as 1.5",
            found=repr(separator.join(first)[:60]),
            remedy=POINTS_IN_NUMBERS,
        )


def _check_thousands(line: int, first: list[str], before: list[str], after: list[str], path: Path) -> None:
    """Refuse cells that are the parts of numbers such as 1,100.25, each cut into two by its comma."""
    fractions = "." in "".join(after)
    if not fractions or not all(re.fullmatch(r"[+-]?\d{1,3}", cell) for cell in before):
        return
    if all(re.fullmatch(r"\d{3}(\.\d*)?", cell) for cell in after):
        raise BadInputError(
            "numbers have commas between their thousands",
            code="bad_number",
            file=path,
            field=f"line {line}",
            found=repr(",".join(first)[:60]),
            remedy=PLAIN_NUMBERS,
        )


def check_no_numbers(line: int, cells: Sequence[str], path: Path) -> None:
    """Refuse a first row of numbers that are written in another way: it is no header."""
    if all(LIKE_NUMBER.fullmatch(cell.strip()) for cell in cells):
        raise BadInputError(
            "not numbers that can be read",
            code="bad_number",
            file=path,
            field=f"line {line}",
            found=repr(" ".join(cells)[:60]),
            remedy=PLAIN_NUMBERS,
        )
