"""Read and write points: correspondences and landmarks (CSV), clouds (``.npz``)."""

import csv
import json
import lzma
import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.files import as_cell, atomic_path, require_file
from lcsd.io.sizes import check_arrays
from lcsd.io.tables import numbers, read_table

PAIR_COLUMNS = ("fixed_x", "fixed_y", "fixed_z", "moving_x", "moving_y", "moving_z")

ORIGIN_PATTERN = re.compile(r"manual|(?:corrected|predicted):\S+")
"""Where a landmark comes from: set by hand, or predicted by a method (and perhaps corrected)."""


@dataclass(frozen=True)
class PointPairs:
    """Corresponding points of the fixed and the moving scan."""

    # fixed, moving: shape (N, 3), LPS mm; equal rows correspond
    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]
    ids: tuple[str, ...] | None = None  # one name per pair
    weight: NDArray[np.float64] | None = None  # confidence per pair in [0, 1], shape (N,)
    # Where each pair comes from: ``manual``, ``corrected:METHOD``, ``predicted:METHOD``, or empty if unknown
    origin: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.fixed)


def write_point_pairs(path: Path, pairs: PointPairs) -> None:
    """Write correspondences or landmarks as CSV in LPS mm with 4 decimals (0.1 micrometre)."""
    header = [*PAIR_COLUMNS]
    header += ["id"] if pairs.ids is not None else []
    header += ["weight"] if pairs.weight is not None else []
    header += ["origin"] if pairs.origin is not None else []
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        for row in range(len(pairs)):
            cells = [f"{v:.4f}" for v in (*pairs.fixed[row], *pairs.moving[row])]
            cells += [str(as_cell(pairs.ids[row]))] if pairs.ids is not None else []
            cells += [f"{pairs.weight[row]:.4f}"] if pairs.weight is not None else []
            cells += [pairs.origin[row]] if pairs.origin is not None else []
            writer.writerow(cells)


def read_point_pairs(path: Path) -> PointPairs:
    """Return correspondences or landmarks from a CSV file.

    Raises ``BadInputError`` as :func:`lcsd.io.tables.read_table`, and for an invalid origin (``bad_origin``).
    """
    table = read_table(path, PAIR_COLUMNS, dict.fromkeys((*PAIR_COLUMNS, "weight"), "float64"))
    values = numbers(table, PAIR_COLUMNS)
    origin = None
    if "origin" in table:
        origin = tuple(_origin(cell, path=path, line=line) for line, cell in table["origin"].items())
    return PointPairs(
        fixed=values[:, 0:3],
        moving=values[:, 3:6],
        ids=tuple(table["id"]) if "id" in table else None,
        weight=numbers(table, ["weight"])[:, 0] if "weight" in table else None,
        origin=origin,
    )


def _origin(cell: str, *, path: Path, line: object) -> str:
    origin = cell.strip()
    if origin and not ORIGIN_PATTERN.fullmatch(origin):
        raise BadInputError(
            "invalid origin of a landmark",
            code="bad_origin",
            file=path,
            field=f"line {line}, column origin",
            expected="manual, corrected:METHOD, predicted:METHOD or nothing",
            found=repr(cell),
        )
    return origin


@dataclass(frozen=True)
class Cloud:
    """A point cloud in world space."""

    points: NDArray[np.float32]  # shape (N, 3), LPS mm, components x, y, z
    index: NDArray[np.int64] | None = None  # row of each point in the dense cloud it was chosen from, shape (N,)
    label: NDArray[np.uint8] | None = None  # structure of each point
    radius: NDArray[np.float32] | None = None  # of the vessel at each point, mm
    weight: NDArray[np.float32] | None = None  # of each point
    meta: dict[str, Any] = field(default_factory=dict)  # case, stage, parameters, versions; JSON-serialisable
    expected_error_mm: NDArray[np.float32] | None = None  # of each registered point, mm

    def __len__(self) -> int:
        return len(self.points)


_CLOUD_DTYPES = {
    "points": np.float32,
    "index": np.int64,
    "label": np.uint8,
    "radius": np.float32,
    "weight": np.float32,
    "expected_error_mm": np.float32,
}


READ_ERRORS = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)
"""Errors of numpy and zipfile on damaged files, in any compression."""


def write_cloud(path: Path, cloud: Cloud) -> None:
    """Write a cloud as compressed ``.npz``; equal clouds give equal bytes."""
    arrays: dict[str, NDArray[Any]] = {
        name: np.ascontiguousarray(getattr(cloud, name), dtype=dtype)
        for name, dtype in _CLOUD_DTYPES.items()
        if getattr(cloud, name) is not None
    }
    arrays["meta"] = np.array(json.dumps(cloud.meta, sort_keys=True))
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        np.savez_compressed(handle, **arrays)  # type: ignore[arg-type]


def read_cloud(path: Path) -> Cloud:
    """Return a cloud from ``.npz``.

    Raises ``BadInputError`` if the file is missing or broken, ``points`` is absent or not (N, 3), a coordinate is not
    finite, an array has another length than the points, or ``meta`` is not a JSON object.
    """
    try:
        _check_archive(require_file(path))
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except READ_ERRORS as error:
        raise BadInputError(f"not a readable .npz cloud ({error})", code="truncated_file", file=path) from error
    if "points" not in arrays:
        raise BadInputError(
            "array is missing",
            code="missing_array",
            file=path,
            field="points",
            found=", ".join(sorted(arrays)) or "no array",
        )
    check_points(arrays["points"], file=path)
    for name in _CLOUD_DTYPES:
        if name in arrays and len(arrays[name]) != len(arrays["points"]):
            raise BadInputError(
                "array has another length than the points",
                code="length_mismatch",
                file=path,
                field=name,
                expected=len(arrays["points"]),
                found=len(arrays[name]),
            )
    meta = _meta(str(arrays["meta"]), path=path) if "meta" in arrays else {}
    typed = {k: arrays[k].astype(t, copy=False) for k, t in _CLOUD_DTYPES.items() if k in arrays}
    return Cloud(**typed, meta=meta)


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            check_arrays(archive)
    except RuntimeError as error:
        # zipfile refuses encrypted files and unknown compressions this way.
        raise BadInputError(
            f"not a readable .npz cloud ({error})",
            code="bad_cloud_file",
            file=path,
            expected="arrays saved by numpy",
            remedy="save it without a password",
        ) from error


def _meta(text: str, *, path: Path) -> dict[str, Any]:
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"not valid JSON ({error})", code="bad_json", file=path, field="meta") from error
    if not isinstance(meta, dict):
        raise BadInputError(
            "not a JSON object",
            code="bad_json",
            file=path,
            field="meta",
            expected="an object",
            found=type(meta).__name__,
        )
    return meta


def check_points(points: NDArray[Any], *, file: Path | None = None, name: str = "points") -> None:
    """Raise ``BadInputError`` unless ``points`` is a finite numeric (N, 3) array, N >= 1."""
    if points.ndim != 2 or points.shape[1] != 3 or not np.issubdtype(points.dtype, np.number):
        raise BadInputError(
            "points have the wrong shape or type",
            code="bad_points",
            file=file,
            field=name,
            expected="numeric (N, 3): x, y, z",
            found=f"{points.dtype} {points.shape}",
        )
    if len(points) == 0:
        raise BadInputError("no points", code="empty_cloud", file=file, field=name)
    bad = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(bad):
        raise BadInputError(
            "coordinates are not finite",
            code="non_finite_points",
            file=file,
            field=name,
            expected="finite mm",
            found=f"{len(bad)} bad points, the first in row {bad[0]}",
        )
