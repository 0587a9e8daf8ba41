"""Read landmarks of a pair of scans in any known format into LPS mm, and write them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.files import require_file
from lcsd.io.point_tables import read_point_table
from lcsd.io.points import PAIR_COLUMNS, PointPairs, read_point_pairs, write_point_pairs
from lcsd.landmarks.lists import Paired, PointList, check_unique, pair_lists
from lcsd.landmarks.number_tables import read_number_table, write_number_table
from lcsd.landmarks.slicer import read_fcsv, read_markups, write_fcsv, write_markups
from lcsd.names import SCANS, Axes, FormatName, PairBy, TableFrame
from lcsd.readings.numbering import Numbering

ENDINGS: dict[str, FormatName] = {".mrk.json": "slicer", ".fcsv": "fcsv"}
"""Endings that only one format uses."""

TEXT_ENDINGS = (".csv", ".tsv", ".txt", ".pts")
"""Endings of tables, which state their frame or do not."""


@dataclass(frozen=True)
class TableFormat:
    """A table of numbers that does not state their meaning."""

    numbering: Numbering
    per_scan: bool  # whether each scan has its own file; otherwise one file has six columns
    separator: str = ","  # for writing
    named: bool = False  # whether to write names of the columns


TABLES: dict[str, TableFormat] = {
    "dirlab": TableFormat(Numbering("voxel", 1), True, "\t"),
    "learn2reg": TableFormat(Numbering("voxel"), True),
    "lung250m": TableFormat(Numbering("voxel"), False, named=True),
    "generic": TableFormat(Numbering("lps"), False, named=True),
}


class Grids(NamedTuple):
    """Grids of both scans; None if unknown."""

    fixed: Grid | None = None
    moving: Grid | None = None


@dataclass(frozen=True)
class Given:
    """The user's replacement for a format's convention; None keeps it."""

    frame: TableFrame | None = None
    base: int | None = None
    axes: Axes | None = None

    def numbering(
        self, format_name: str, *, file: Path, named: bool = False, stated: TableFrame | None = None
    ) -> Numbering:
        """Return the meaning of the numbers in a format; ``stated`` is the frame that the file itself names.

        Raises ``BadInputError`` (``unused_option``) for an index of the first voxel for millimetres, or an order for
        columns with names (``named``), and ``contradicting_frame`` if the file names another frame.
        """
        replaced = {
            name: value
            for name, value in (("frame", self.frame), ("base", self.base), ("axes", self.axes))
            if value is not None
        }
        if stated is not None and self.frame is None and format_name == "generic":
            replaced["frame"] = stated
        found: Numbering = replace(TABLES[format_name].numbering, **replaced)  # type: ignore[arg-type]
        if stated not in {None, found.frame}:
            raise BadInputError(
                "the file itself names another frame",
                code="contradicting_frame",
                file=file,
                field="frame",
                expected=stated,
                found=found.frame,
                remedy="leave out --frame and give --from generic, or correct the file",
            )
        if self.axes is not None and named:
            raise BadInputError(
                "the names of the columns already give their order",
                code="unused_option",
                file=file,
                field="axes",
                remedy="leave it out, or correct the header",
            )
        if self.base is not None and found.frame != "voxel":
            raise BadInputError(
                "only voxel indices have a first index",
                code="unused_option",
                file=file,
                field="base",
                expected="the frame voxel",
                found=found.frame,
            )
        return found


NOTHING_GIVEN = Given()


def _stated_format(path: Path) -> FormatName | None:
    """Return the format of a file by its ending, our header, or the frame that a table names; None if it says none."""
    name = path.name.lower()
    for ending, found in ENDINGS.items():
        if name.endswith(ending):
            return found
    if not name.endswith(TEXT_ENDINGS):
        return None
    if name.endswith(".csv"):
        with require_file(path).open(encoding="utf-8-sig", errors="replace") as handle:
            header = {*re.split(r"[\s,]+", handle.readline().strip())}
        if header & set(PAIR_COLUMNS):
            return "lcsd"
    return None if read_point_table(path, pairs=True).frame is None else "generic"


def _unknown_format(path: Path, remedy: str) -> BadInputError:
    return BadInputError(
        "the file does not say in which format or frame its points are",
        code="unknown_format",
        file=path,
        expected=f"{', '.join(ENDINGS)}, a .csv with our header, or a table with r,a,s or l,p,s",
        remedy=remedy,
    )


def format_of(path: Path, *, reading: bool) -> FormatName:
    """Return the format of a file by its ending or, for reading, by what it says itself.

    Raises ``BadInputError`` (``unknown_format``), and as :func:`lcsd.io.point_tables.read_point_table`.
    """
    if reading:
        stated = _stated_format(path)
    else:
        written: dict[str, FormatName] = {**ENDINGS, ".csv": "lcsd"}
        stated = next((written[ending] for ending in written if path.name.lower().endswith(ending)), None)
    if stated is None:
        raise _unknown_format(path, f"give {'--from' if reading else '--to'} lcsd, slicer, fcsv, {', '.join(TABLES)}")
    return stated


def read_stated(files: Sequence[Path]) -> Paired:
    """Return landmarks in LPS mm from one file for both scans or one per scan, which say what their numbers mean.

    They are our CSV, Slicer's markups, point sets of elastix, and tables that name their frame. Raises
    ``BadInputError`` for a file that does not (``unknown_format``), voxels (``voxel_landmarks``), and as
    :func:`read_landmarks`.
    """
    formats: list[FormatName] = []
    for file in files:
        found = _stated_format(file)
        if found is None:
            raise _unknown_format(file, "convert it with lcsd landmarks convert --from FORMAT")
        formats.append(found)
        if found == "generic" and read_point_table(file, pairs=True).frame == "voxel":
            raise BadInputError(
                "the landmarks are voxel indices",
                code="voxel_landmarks",
                file=file,
                expected="mm",
                found="voxels",
                remedy="convert them with lcsd landmarks convert --fixed-image IMAGE --moving-image IMAGE",
            )
    if len(files) == 1:
        return read_landmarks(files, formats[0])
    fixed, moving = (_read_one(file, found, None, NOTHING_GIVEN) for file, found in zip(files, formats, strict=True))
    return pair_lists(fixed, moving, files=(files[0], files[1]))


def _check_both_stated(files: Sequence[Path]) -> None:
    """Refuse two tables of which one names its frame and the other does not (``missing_frame``)."""
    stated = [read_point_table(file, pairs=True).frame for file in files]
    if (stated[0] is None) != (stated[1] is None):
        silent, other = (0, 1) if stated[0] is None else (1, 0)
        raise BadInputError(
            "one table names its frame, the other does not",
            code="missing_frame",
            file=files[silent],
            expected=f"a frame, as {files[other].name} names {stated[other]}",
            remedy="name its columns r,a,s or l,p,s",
        )


def read_landmarks(
    files: Sequence[Path],
    format_name: FormatName,
    *,
    grids: Grids = Grids(),  # noqa: B008
    given: Given = NOTHING_GIVEN,
    by: PairBy = "label",
) -> Paired:
    """Return landmarks from one file for both scans, or from one file per scan (fixed, moving).

    ``grids`` are needed for voxel indices; without a moving grid, both scans use the fixed one. ``given`` replaces a
    table's convention. ``by`` is as in :func:`lcsd.landmarks.lists.pair_lists`. Raises ``BadInputError`` for an invalid
    file, a missing column or grid, numbers that are not finite, or lists that do not pair.
    """
    if len(files) == 1:
        both = _read_both(files[0], format_name, grids, given)
        if isinstance(both, Paired):
            check_unique(both.pairs.ids or (), file=files[0])
            return both
        return pair_lists(*both, by=by, files=(files[0], None))
    if format_name == "lcsd":
        raise BadInputError(
            "a landmark CSV holds both scans",
            code="too_many_files",
            file=files[1],
            expected="one file",
            found=len(files),
        )
    if format_name == "generic" and given.frame is None:
        _check_both_stated(files)
    fixed = _read_one(files[0], format_name, grids.fixed, given)
    moving = _read_one(files[1], format_name, grids.moving or grids.fixed, given)
    return pair_lists(fixed, moving, by=by, files=(files[0], files[1]))


def _read_both(file: Path, format_name: FormatName, grids: Grids, given: Given) -> Paired | tuple[PointList, PointList]:
    if format_name == "lcsd":
        pairs = read_point_pairs(file)
        return Paired(pairs, ("",) * len(pairs), ())
    if format_name == "slicer":
        lists = read_markups(file)
        if len(lists) == 2:
            return lists[0], lists[1]
        raise _one_scan(file, f"{len(lists)} markups")
    if format_name == "fcsv":
        raise _one_scan(file, "an .fcsv file of one list")
    table = read_number_table(file)
    if table.numbers.shape[1] != 6:
        raise _one_scan(file, "three columns")
    numbering = given.numbering(format_name, file=file, named=table.named, stated=table.frame)
    pairs = PointPairs(
        numbering.to_lps(table.numbers[:, :3], grids.fixed, file=file),
        numbering.to_lps(table.numbers[:, 3:], grids.moving or grids.fixed, file=file),
        ids=table.labels,
    )
    return Paired(pairs, ("",) * len(pairs), ())


def _one_scan(file: Path, found: str) -> BadInputError:
    return BadInputError(
        "the file has points of one scan only",
        code="missing_list",
        file=file,
        expected="two lists, fixed and moving",
        found=found,
        remedy="also give the file of the moving scan",
    )


def _read_one(file: Path, format_name: FormatName, grid: Grid | None, given: Given) -> PointList:
    if format_name == "slicer":
        lists = read_markups(file)
        if len(lists) == 1:
            return lists[0]
        raise BadInputError(
            "the file has several lists",
            code="several_lists",
            file=file,
            expected="one markup in each of two files",
            found=f"{len(lists)} markups",
        )
    if format_name == "fcsv":
        return read_fcsv(file)
    table = read_number_table(file)
    if table.numbers.shape[1] != 3:
        raise BadInputError(
            "the file has points of both scans",
            code="too_many_files",
            file=file,
            expected="three columns in each of two files",
            found="six columns",
        )
    numbering = given.numbering(format_name, file=file, named=table.named, stated=table.frame)
    # Slicer names the table's file after the list, whose name begins its own labels.
    return PointList(numbering.to_lps(table.numbers, grid, file=file), table.labels, name=file.stem)


def write_landmarks(
    files: Sequence[Path],
    format_name: FormatName,
    pairs: PointPairs,
    *,
    grids: Grids = Grids(),  # noqa: B008 - it is frozen
    given: Given = NOTHING_GIVEN,
    notes: tuple[str, ...] | None = None,
) -> None:
    """Write landmarks to one file for both scans, or to one file per scan.

    Voxel indices are not rounded. ``lcsd``, ``slicer`` and ``fcsv`` keep ids; ``lcsd`` keeps weight and origin. Raises
    ``BadInputError`` for too few or many files for the format, or voxels without a grid.
    """
    per_scan = format_name == "fcsv" or (format_name in TABLES and TABLES[format_name].per_scan)
    if (per_scan and len(files) == 1) or (format_name in {"lcsd", "lung250m"} and len(files) == 2):
        raise BadInputError(
            f"the format {format_name} needs {'one file per scan' if per_scan else 'one file'}",
            code="missing_output" if per_scan else "too_many_files",
            file=files[0],
            field="--moving-out",
            remedy="give --moving-out" if per_scan else "do not give --moving-out",
        )
    if format_name == "lcsd":
        write_point_pairs(files[0], pairs)
        return
    if format_name in TABLES:
        _write_tables(files, format_name, pairs, grids, given)
        return
    ids = pairs.ids or tuple(str(n + 1) for n in range(len(pairs)))
    lists = [
        PointList(points, ids, notes, name=name) for name, points in (("fixed", pairs.fixed), ("moving", pairs.moving))
    ]
    if format_name == "fcsv":
        for file, part in zip(files, lists, strict=True):
            write_fcsv(file, part)
    elif len(files) == 1:
        write_markups(files[0], lists)
    else:
        for file, part in zip(files, lists, strict=True):
            write_markups(file, [part])


def _write_tables(files: Sequence[Path], format_name: str, pairs: PointPairs, grids: Grids, given: Given) -> None:
    form, numbering = TABLES[format_name], given.numbering(format_name, file=files[0])
    fixed = numbering.from_lps(pairs.fixed, grids.fixed, file=files[0])
    moving = numbering.from_lps(pairs.moving, grids.moving or grids.fixed, file=files[-1])
    if len(files) == 1:
        both = np.concatenate([fixed, moving], axis=1)
        header = tuple(f"{scan}_{axis}" for scan in SCANS for axis in numbering.axes)
        # Our column names mean LPS mm; only Lung250M uses them for voxels.
        if format_name == "generic" and numbering.frame != "lps":
            header = ()
        write_number_table(files[0], both, separator=form.separator, header=header)
        return
    header = tuple(numbering.axes) if form.named else ()
    for file, numbers in zip(files, (fixed, moving), strict=True):
        write_number_table(file, numbers, separator=form.separator, header=header)
