"""The release as Parquet tables (zstd), for programs that read tables: pandas, DuckDB, ``datasets``.

Of clouds and pairs each case has a file of its own, so that neither writing nor reading needs the whole dataset in
memory.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lcsd.io.files import atomic_path
from lcsd.io.points import Cloud, PointPairs
from lcsd.release.layout import CASE_COLUMNS

POINT = pa.list_(pa.float32(), 3)
"""x, y, z, LPS mm."""

CLOUD_COLUMNS = {
    "case": pa.string(),
    "scan": pa.string(),  # fixed or moving
    "cloud": pa.string(),  # dense or sparse
    "points": pa.list_(POINT),
    "radius": pa.list_(pa.float32()),  # mm
    "label": pa.list_(pa.uint8()),
    "index": pa.list_(pa.int64()),  # rows of the dense cloud
}
"""Columns of the table of clouds: a row for each cloud. A list is null where a cloud has no such values."""

PAIR_COLUMNS = {
    "case": pa.string(),
    "fixed": pa.list_(POINT),
    "moving": pa.list_(POINT),
    "weight": pa.list_(pa.float32()),
    "origin": pa.list_(pa.string()),
}
"""Columns of the tables of correspondences and landmarks: a row for each case."""

KINDS = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def _points(points: NDArray[Any]) -> pa.Array:
    """Return points (N, 3) as one list of points."""
    flat = pa.array(np.ascontiguousarray(points, dtype=np.float32).reshape(-1))
    return _one_list(pa.FixedSizeListArray.from_arrays(flat, 3))


def _one_list(values: pa.Array) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def _values(values: NDArray[Any] | Sequence[str] | None, kind: pa.DataType) -> pa.Array:
    """Return one value for each point as one list of that kind; null for None."""
    if values is None:
        return pa.nulls(1, kind)
    return _one_list(pa.array(values, kind.value_type))


def _write(path: Path, columns: Mapping[str, pa.DataType], rows: Iterable[Mapping[str, pa.Array]]) -> None:
    """Write rows, each of arrays of length one; equal rows give equal bytes."""
    schema = pa.schema(list(columns.items()))
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for row in rows:
            writer.write_table(pa.table([row[name] for name in columns], schema=schema))


def write_clouds(path: Path, case: str, clouds: Mapping[tuple[str, str], Cloud]) -> None:
    """Write the clouds of a case by scan (fixed, moving) and kind (dense, sparse); see ``CLOUD_COLUMNS``."""
    _write(
        path,
        CLOUD_COLUMNS,
        (
            {
                **{name: pa.array([text]) for name, text in (("case", case), ("scan", scan), ("cloud", kind))},
                "points": _points(cloud.points),
                "radius": _values(cloud.radius, CLOUD_COLUMNS["radius"]),
                "label": _values(cloud.label, CLOUD_COLUMNS["label"]),
                "index": _values(cloud.index, CLOUD_COLUMNS["index"]),
            }
            for (scan, kind), cloud in clouds.items()
        ),
    )


def write_pairs(path: Path, case: str, pairs: PointPairs) -> None:
    """Write the correspondences or landmarks of a case; see ``PAIR_COLUMNS``."""
    row = {
        "case": pa.array([case]),
        "fixed": _points(pairs.fixed),
        "moving": _points(pairs.moving),
        "weight": _values(pairs.weight, PAIR_COLUMNS["weight"]),
        "origin": _values(pairs.origin, PAIR_COLUMNS["origin"]),
    }
    _write(path, PAIR_COLUMNS, [row])


def write_cases(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of ``cases.tsv``; a figure that is not known is null."""
    columns = {name: KINDS[kind] for name, kind in CASE_COLUMNS.items()}
    _write(path, columns, ({name: pa.array([row.get(name)], kind) for name, kind in columns.items()} for row in rows))


def parts_of(content: bytes) -> Iterable[bytes]:
    """Yield what a Parquet file holds, unpacked: its schema and metadata, texts, and numbers as bytes."""
    file = pq.ParquetFile(pa.BufferReader(content))
    yield str(file.schema_arrow).encode()
    yield repr(file.metadata).encode() + b"\n" + str(file.metadata.metadata).encode()
    for batch in file.iter_batches(batch_size=1):
        for column in batch.columns:
            yield from _unpacked(column)


def _unpacked(column: pa.Array) -> Iterable[bytes]:
    while pa.types.is_list(column.type) or pa.types.is_fixed_size_list(column.type):
        column = column.flatten()
    if pa.types.is_string(column.type):
        yield "\n".join(text for text in column.to_pylist() if text is not None).encode()
    else:
        yield column.to_numpy(zero_copy_only=False).tobytes()
