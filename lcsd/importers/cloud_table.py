"""Write pairs of clouds without scans, and the table of their files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.io.files import write_table
from lcsd.io.points import Cloud, PointPairs, write_cloud, write_point_pairs
from lcsd.names import SCANS

COLUMNS = ("case", "role", "fixed_cloud", "moving_cloud", "fixed_time", "moving_time", "landmarks", "correspondences")
TABLE = "clouds.tsv"


def write_cloud_pair(
    folder: Path,
    case: str,
    clouds: Mapping[str, Cloud],
    *,
    role: str,
    times: tuple[str, str],
    landmarks: PointPairs | None = None,
    correspondences: PointPairs | None = None,
) -> dict[str, Any]:
    """Write the clouds of a case to ``folder/cases/CASE``; return its row of the table.

    ``clouds`` (``fixed`` and ``moving``), landmarks and correspondences are in LPS mm; ``times`` names the fixed and
    the moving time point or phase. The row has ``COLUMNS``, and ``fixed_points`` and ``moving_points``.
    """
    place = Path("cases") / case
    row: dict[str, Any] = {"case": case, "role": role, "fixed_time": times[0], "moving_time": times[1]}
    for name, cloud in clouds.items():
        write_cloud(folder / place / f"{name}.npz", cloud)
        row |= {f"{name}_cloud": f"{place.as_posix()}/{name}.npz", f"{name}_points": len(cloud)}
    for name, pairs in (("landmarks", landmarks), ("correspondences", correspondences)):
        if pairs is not None:
            write_point_pairs(folder / place / f"{name}.csv", pairs)
            row[name] = f"{place.as_posix()}/{name}.csv"
    return row


def write_cloud_table(folder: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Write ``clouds.tsv``; return the number of cases and the mean number of points."""
    table = [{name: row.get(name, "") for name in COLUMNS} for row in rows]
    write_table(folder / TABLE, COLUMNS, table)
    points = [row[f"{name}_points"] for row in rows for name in SCANS]
    return {
        "cases": len(rows),
        "points_mean": float(np.mean(points)),
        "with_landmarks": sum("landmarks" in row for row in rows),
    }
