"""Read and write markups of 3D Slicer: ``.mrk.json`` and the older ``.fcsv``.

Both state the frame of their points. Sources: Slicer's documentation of markups files and its
schema ``markups-schema-v1.0.3.json``.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import flip_lps_ras
from lcsd.io.files import atomic_path, read_json, write_text
from lcsd.io.tables import COMMENT_LINE, Cells, check_columns, read_text, split_rows
from lcsd.landmarks.lists import SHOWN_LENGTH, PointList

SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
TO_LPS = {"LPS": 1, "RAS": -1, "1": 1, "0": -1}
"""Sign of x and y by the name of a frame; fcsv files up to version 4.10 use numbers as names."""

MM_PER = {"mm": 1.0, "um": 1e-3}
FCSV_COLUMNS = ("id", "x", "y", "z", "ow", "ox", "oy", "oz", "vis", "sel", "lock", "label", "desc", "associatedNodeID")
FCSV_STATUS_COLUMN = 14
"""Since version 5, an unnamed column states whether a point has a position."""

FCSV_DEFINED = "2"


def _broken(path: Path, what: str, *, field: str | None = None, **more: object) -> BadInputError:
    return BadInputError(what, code="broken_landmarks", file=path, field=field, **more)  # type: ignore[arg-type]


def _position(values: Any, *, path: Path, field: str) -> list[float]:
    good = isinstance(values, list) and len(values) == 3
    # A bool is an int in Python, and an int may be larger than any float.
    kept = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)] if good else []
    try:
        numbers = [float(v) for v in kept]
    except OverflowError:
        numbers = []
    if len(numbers) != 3 or not np.isfinite(numbers).all():
        raise BadInputError(
            "not a position",
            code="bad_number",
            file=path,
            field=field,
            expected="three finite numbers",
            found=str(values)[:SHOWN_LENGTH],
        )
    return numbers


def _signed(points: Sequence[Sequence[float]], frame: str) -> NDArray[np.float64]:
    array = np.array(points, dtype=np.float64).reshape(-1, 3)
    return array if TO_LPS[frame] == 1 else flip_lps_ras(array)


def _scale(markup: Mapping[str, Any], path: Path) -> float:
    unit = markup.get("coordinateUnits", "mm")
    # A unit may also be a coded term: value, scheme, meaning.
    unit = unit[0] if isinstance(unit, list) and unit else unit
    if not isinstance(unit, str) or unit not in MM_PER:
        raise _broken(path, "unknown unit", field="coordinateUnits", expected="mm or um", found=unit)
    return MM_PER[unit]


def _read_markup(markup: Any, path: Path) -> PointList:
    if not isinstance(markup, dict) or not isinstance(markup.get("controlPoints", []), list):
        raise _broken(path, "not a markup with control points", field="markups")
    frame = markup.get("coordinateSystem", "LPS")  # the schema's default
    if frame not in ("LPS", "RAS"):
        raise _broken(path, "unknown coordinate system", field="coordinateSystem", expected="LPS or RAS", found=frame)
    points, labels, notes, unset = [], [], [], []
    for number, point in enumerate(markup.get("controlPoints", []), 1):
        if not isinstance(point, dict):
            raise _broken(path, "not a control point", field=f"point {number}")
        label = str(point.get("label") or point.get("id") or number)
        if point.get("positionStatus", "defined") != "defined" or not point.get("position"):
            unset.append(label)
            continue
        points.append(_position(point["position"], path=path, field=f"point {number}"))
        labels.append(label)
        notes.append(str(point.get("description", "")))
    return PointList(
        _signed(points, frame) * _scale(markup, path),
        tuple(labels),
        tuple(notes),
        tuple(unset),
        name=str(markup.get("name", "")),
    )


def read_markups(path: Path) -> list[PointList]:
    """Return the point lists of a ``.mrk.json`` file, in LPS mm.

    Points without a position, or whose ``positionStatus`` is not ``defined``, are in ``unset``. Raises
    ``BadInputError`` for a missing or invalid file, no markup, an unknown frame or unit, or a position that is not
    finite.
    """
    markups = read_json(path).get("markups")
    if not isinstance(markups, list) or not markups:
        raise _broken(path, "the file has no markups", field="markups", expected="a Markups file of 3D Slicer")
    return [_read_markup(markup, path) for markup in markups]


def markup(part: PointList) -> dict[str, Any]:
    """Return a point list in LPS as the content of Slicer's markup."""
    labels = part.labels or tuple(str(n + 1) for n in range(len(part.points)))
    notes = part.notes or ("",) * len(part.points)
    points: list[dict[str, Any]] = [
        {
            "id": str(n),
            "label": label,
            "description": note,
            "position": [round(float(v), 6) + 0.0 for v in position],
            "positionStatus": "defined",
        }
        for n, (label, note, position) in enumerate(zip(labels, notes, part.points, strict=True), 1)
    ]
    points += [
        {"id": str(n), "label": label, "description": "", "positionStatus": "undefined"}
        for n, label in enumerate(part.unset, len(points) + 1)
    ]
    return {
        "type": "Fiducial",
        "name": part.name,
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "controlPoints": points,
        "display": {"pointLabelsVisibility": True, "glyphType": "Cross2D"},
    }


def write_markups(path: Path, parts: Sequence[PointList]) -> None:
    """Write point lists as a ``.mrk.json`` file in LPS mm, one markup per list."""
    content = {"@schema": SCHEMA, "markups": [markup(part) for part in parts]}
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def read_fcsv(path: Path) -> PointList:
    """Return the points of an ``.fcsv`` file, in LPS mm.

    Raises ``BadInputError`` for a missing file or column, no ``CoordinateSystem`` in its header (``missing_frame``), or
    a position that is not finite.
    """
    text = read_text(path)
    header = {key.strip().lower(): value.strip() for key, value in re.findall(r"^#([^=\n]*)=(.*)$", text, re.MULTILINE)}
    frame = header["coordinatesystem"].upper() if "coordinatesystem" in header else None
    columns = [name.strip() for name in header["columns"].split(",")] if "columns" in header else FCSV_COLUMNS
    if frame not in TO_LPS:
        raise BadInputError(
            "the file does not state the frame of its points",
            code="missing_frame",
            file=path,
            field="# CoordinateSystem",
            expected=", ".join(TO_LPS),
            found=frame,
            remedy="save it again from 3D Slicer, or read it with --from generic --frame FRAME",
        )
    check_columns(columns, path, required=("x", "y", "z"))
    return _fcsv_points(path, split_rows(COMMENT_LINE.sub("", text), ",", path), columns, frame)


def _fcsv_points(path: Path, rows: Cells, columns: Sequence[str], frame: str) -> PointList:
    points: list[list[float]] = []
    labels: list[str] = []
    notes: list[str] = []
    unset: list[str] = []
    for line, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        label = row.get("label") or row.get("id") or str(len(labels) + 1)
        status = cells[FCSV_STATUS_COLUMN] if len(cells) > FCSV_STATUS_COLUMN else FCSV_DEFINED
        if status.strip() != FCSV_DEFINED:
            unset.append(label)
            continue
        values: list[Any] = []
        for axis in "xyz":
            try:
                values.append(float(row.get(axis, "")))
            except ValueError:
                values.append(row.get(axis))
        points.append(_position(values, path=path, field=f"line {line}"))
        labels.append(label)
        notes.append(row.get("desc", ""))
    return PointList(_signed(points, frame), tuple(labels), tuple(notes), tuple(unset))


def write_fcsv(path: Path, part: PointList) -> None:
    """Write points as an ``.fcsv`` file in LPS mm."""
    labels = part.labels or tuple(str(n + 1) for n in range(len(part.points)))
    notes = part.notes or ("",) * len(part.points)
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        handle.write("# Markups fiducial file version = 4.11\n# CoordinateSystem = LPS\n")
        handle.write(f"# columns = {','.join(FCSV_COLUMNS)}\n")
        writer = csv.writer(handle, lineterminator="\n")
        for n, (label, note, point) in enumerate(zip(labels, notes, part.points, strict=True), 1):
            place = [f"{v:.6f}" for v in point]
            writer.writerow([n, *place, 0, 0, 0, 1, 1, 1, 0, label, " ".join(note.split()), ""])
