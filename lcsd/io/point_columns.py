"""Which columns of a text table hold positions, and what the table itself says about its frame and unit."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.names import CloudFrame, TableFrame, Unit

TRIOS: dict[str, TableFrame | None] = {"xyz": None, "ras": "ras", "lps": "lps", "ijk": "voxel", "012": None}
"""Letters of three columns, and the frame that they name: Slicer's tables say r, a, s; ParaView's Points:0."""

UNITS: dict[str, Unit | None] = {"mm": "mm", "m": "m", "um": None, "µm": None, "cm": None, "nm": None}
"""Units in names of columns; None: one that no option takes."""

SPACES: dict[str, TableFrame] = {
    **dict.fromkeys(("lps", "world"), "lps"),
    "ras": "ras",
    **dict.fromkeys(("voxel", "voxels", "vox", "index", "px", "pixel", "pixels"), "voxel"),
}
"""Words in names of columns that name a frame; our world is LPS."""

FILLERS = frozenset(
    (
        *("pos", "position", "point", "points", "coord", "coords", "coordinate", "coordinates"),
        *("location", "vertex", "center", "centre", "centroid"),
    )
)
"""Words in names of columns that say nothing about the frame."""

DECLARED = re.compile(r"(?i)\b(space|coordinate[ _]?system|frame)\s*[=: ]\s*['\"]?([a-z]{3}|[01])\b(?!\s*[=:])")
"""How programs write the frame into a header or comment: SPACE=RAS, # CoordinateSystem = LPS."""

BARE = re.compile(r"(?<!from )(?<!not )\b(LPS|RAS)\b")
"""The name of a frame in a comment, unless it is where the numbers came from."""

LONG_NAMES = (("left-posterior-superior", "LPS"), ("right-anterior-superior", "RAS"))

NAMED_FRAMES: dict[str, CloudFrame] = {"lps": "lps", "ras": "ras"}
NUMBERED_FRAMES: dict[str, CloudFrame] = {"1": "lps", "0": "ras"}
ORIENTATION = re.compile(r"(?i)(?=.*[rl])(?=.*[ap])(?=.*[is])[rlapis]{3}")
"""A word of three letters that names an orientation, such as LPS, RAS or LAI."""

WORDS = {
    **dict.fromkeys(("millimeter", "millimeters", "millimetre", "millimetres"), "mm"),
    **dict.fromkeys(("meter", "meters", "metre", "metres"), "m"),
    **dict.fromkeys(("centimeter", "centimeters", "centimetre", "centimetres"), "cm"),
    **dict.fromkeys(("micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres", "μm"), "um"),
    **dict.fromkeys(("nanometer", "nanometers", "nanometre", "nanometres"), "nm"),
    **dict.fromkeys(("inch", "inches"), "in"),
}
"""Names of units in words."""

UNIT = re.compile(
    r"(?i)\bunits?\b['\"]?(?: of length)?\s*(?:[:=]|is|are|in)?\s*['\"(]?(?:1\s+)?"
    rf"({'|'.join(sorted((*UNITS, *WORDS), key=len, reverse=True))}|in|ft|feet)\b"
)
"""How comments name the unit: units: mm, unit = um."""

NUMBER = r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)"
SCALE = re.compile(rf"(?im)^\s*scale[\s:=]+{NUMBER}[\s,]+{NUMBER}[\s,]+{NUMBER}\s*$")
"""A factor for each axis in a comment of an SWC file."""

FEW_ROWS, MANY_ROWS = 3, 10
"""Rows from which whole numbers that count up, and whole numbers that only rise or stay, cannot be positions."""


HOMOGENEOUS, MANY_COLUMNS = 4, 10
"""Rows of homogeneous coordinates, and columns that no cloud of so few points has."""


class Coordinates(NamedTuple):
    """Three columns that hold positions, in the order x, y, z, and what their names say."""

    columns: tuple[str, str, str]
    frame: TableFrame | None
    unit: Unit | None


def _words(name: str) -> list[str]:
    split = re.sub(r"(?<=[a-z])(?=[XYZ]\b)", " ", name)
    return [word for word in re.split(r"[^0-9a-zµ]+", split.lower()) if word]


def _axis(name: str, trio: str) -> tuple[str, tuple[str, ...]] | None:
    """Return the axis letter in a name and its other words, if all of them are known."""
    words = _words(name)
    letters = [word for word in words if len(word) == 1 and word in trio]
    if len(letters) != 1:
        return None
    words.remove(letters[0])
    if not all(word in UNITS or word in SPACES or word in FILLERS for word in words):
        return None
    bare_digit = trio == "012" and not FILLERS.intersection(words)
    return None if bare_digit else (letters[0], tuple(words))


def coordinate_columns(names: Sequence[str], path: Path) -> Coordinates | None:
    """Return the three columns of a header that hold positions; None if there are none.

    Names are ``x``, ``r`` (R, A, S), ``l`` (L, P, S) or ``i`` (voxels), in any case, with or without a unit, a frame or
    a word such as ``position``: ``x_mm``, ``X [mm]``, ``PositionX``, ``Points:0``. Millimetres win over voxels. Raises
    ``BadInputError`` (``ambiguous_columns``) for two sets of positions, ``bad_unit`` for a unit other than mm or m.
    """
    found: dict[tuple[str, tuple[str, ...]], dict[str, str]] = {}
    for name in names:
        for trio in TRIOS:
            if (axis := _axis(name, trio)) is not None:
                found.setdefault((trio, axis[1]), {})[axis[0]] = name
    complete = [
        _coordinates(trio, words, columns, path) for (trio, words), columns in found.items() if len(columns) == 3
    ]
    in_space = [one for one in complete if one.frame != "voxel"] or complete
    if len(in_space) > 1:
        raise BadInputError(
            "two sets of columns hold positions",
            code="ambiguous_columns",
            file=path,
            field="header",
            expected="one set, such as x,y,z",
            found=" and ".join(",".join(one.columns) for one in in_space),
            remedy="keep one of them",
        )
    return in_space[0] if in_space else None


def _coordinates(trio: str, words: Sequence[str], columns: dict[str, str], path: Path) -> Coordinates:
    spaces = {SPACES[word] for word in words if word in SPACES} | {TRIOS[trio]} - {None}
    units = [word for word in words if word in UNITS]
    if len(spaces) > 1 or any(UNITS[unit] is None for unit in units):
        raise BadInputError(
            "the unit or frame of the columns is not known",
            code="bad_unit",
            file=path,
            field=",".join(columns.values()),
            expected="mm or m, in one frame",
            remedy="convert the columns to mm and name them x,y,z",
        )
    first, second, third = (columns[letter] for letter in trio)
    frame = spaces.pop() if spaces else None
    return Coordinates((first, second, third), frame, UNITS[units[0]] if units else None)


def declared_frame(text: str, path: Path) -> CloudFrame | None:
    """Return the frame that a header or comment names, such as SPACE=RAS, or in words; None if it names none.

    Raises ``BadInputError`` (``unknown_frame``) for an orientation other than LPS and RAS, or for two of them.
    """
    for long, short in LONG_NAMES:
        text = re.sub(long, short, text, flags=re.IGNORECASE)
    named = set()
    for key, value in DECLARED.findall(text):
        word = value.lower()
        if word in NUMBERED_FRAMES:
            if key.lower().startswith("coordinate"):
                named.add(NUMBERED_FRAMES[word])
        elif ORIENTATION.fullmatch(word):
            named.add(NAMED_FRAMES.get(word, word.upper()))
    bare = {NAMED_FRAMES[word.lower()] for word in BARE.findall(text)}
    if not named or (named < bare):  # a comment that tells of both frames names none
        return bare.pop() if len(bare) == 1 else None
    frame = named.pop()
    if named or frame not in NAMED_FRAMES:
        raise BadInputError(
            "the file names a frame that is neither LPS nor RAS",
            code="unknown_frame",
            file=path,
            expected="LPS or RAS",
            found=", ".join(sorted({frame, *named})),
            remedy="save it in LPS",
        )
    return NAMED_FRAMES[frame]


def declared_unit(text: str, path: Path) -> Unit | None:
    """Return the unit that comments name, such as ``units: mm``; None if they name none.

    Raises ``BadInputError`` (``bad_unit``) for a unit other than mm or m, for two of them, and for a factor, as SWC
    files have one (``SCALE 0.5 0.5 2``).
    """
    named = {WORDS.get(word.lower(), word.lower()) for word in UNIT.findall(text)}
    scaled = [found for found in SCALE.findall(text) if any(float(factor) != 1 for factor in found)]
    if not named and not scaled:
        return None
    unit = UNITS.get(next(iter(named))) if len(named) == 1 else None
    if unit is None or scaled:
        raise BadInputError(
            "the comments name a unit or a scale that is not known here",
            code="bad_unit",
            file=path,
            expected="mm or m",
            found=", ".join(sorted(named) + [" ".join(found) for found in scaled]),
            remedy="convert the numbers to mm and correct the comment",
        )
    return unit


def check_not_index(numbers: NDArray[np.float64], path: Path) -> None:
    """Refuse a table without a header whose first column (of four or more) counts rows instead of holding x.

    ``numbers`` are the columns (N, C). Raises ``BadInputError`` (``index_column``).
    """
    if numbers.shape[1] < 4 or len(numbers) < FEW_ROWS:
        return
    first = numbers[:, 0]
    whole = bool((first == np.rint(first)).all())
    counts = whole and bool((np.sort(first) == first.min() + np.arange(len(first))).all())
    steps = np.diff(first)
    named = len(first) >= MANY_ROWS and whole and bool((steps > 0).all() or (steps == 0).all())
    if counts or named:
        raise BadInputError(
            "the first column looks like an index or a label, not like x",
            code="index_column",
            file=path,
            field="column 1",
            expected="x, y, z first, or a header",
            found=f"whole numbers {first[0]:g}, {first[1]:g}, {first[2]:g}, ...",
            remedy="add a header line such as index,x,y,z,... or remove the column",
        )


def check_header_of_numbers(numbers: NDArray[np.float64], path: Path) -> None:
    """Refuse a table whose first row numbers its columns (0, 1, 2, ...), as pandas writes it.

    ``numbers`` are the columns (N, C). Raises ``BadInputError`` (``index_column``).
    """
    rest = numbers[1:]
    if len(rest) < FEW_ROWS or not (numbers[0] == np.arange(numbers.shape[1])).all():
        return
    if (rest != np.rint(rest)).any(axis=1).mean() > 0.5:
        raise BadInputError(
            "the first row numbers the columns and is no point",
            code="index_column",
            file=path,
            field="row 1",
            expected="a header such as x,y,z",
            found=",".join(f"{value:g}" for value in numbers[0]),
            remedy="replace or remove the row",
        )


def check_points_are_rows(numbers: NDArray[np.float64], path: Path) -> None:
    """Refuse a table without a header that has a row for each of x, y, z and a column for each point, or all in a row.

    ``numbers`` are the columns (N, C). Raises ``BadInputError`` (``transposed_points``).
    """
    rows, columns = numbers.shape
    if rows <= HOMOGENEOUS and columns >= MANY_COLUMNS and (rows == 1 or rows >= FEW_ROWS):
        raise BadInputError(
            "the points seem to be columns, not rows",
            code="transposed_points",
            file=path,
            expected="a row for each point",
            found=f"{rows} rows of {columns} numbers",
            remedy="exchange rows and columns, or name the columns x,y,z",
        )


def is_swc(numbers: NDArray[np.float64]) -> bool:
    """Return whether columns (N, 7) are a tree in SWC: node, type, x, y, z, radius, parent (-1: root).

    Nodes are unique whole numbers, and every parent is another node. Source: Cannon et al., J. Neuroscience Methods 84
    (1998) 49.
    """
    if numbers.shape[1] != 7:
        return False
    node, kind, radius, parent = numbers[:, 0], numbers[:, 1], numbers[:, 5], numbers[:, 6]
    whole = all(bool((part == np.rint(part)).all()) for part in (node, kind, parent))
    unique = len(np.unique(node)) == len(node)
    known = bool((np.isin(parent, node) | (parent == -1)).all()) and bool((parent != node).all())
    return whole and unique and known and bool((parent == -1).any()) and bool((node >= 0).all() and (radius >= 0).all())
