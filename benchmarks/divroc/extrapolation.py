"""Extrapolation against neighbour smoothing and TPS (the supplement's Figure 5).

Run: python -m benchmarks.divroc.extrapolation
"""

import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from benchmarks.tables import COLOURS, write_figure, write_rows
from lcsd.divroc.extrapolation import MAX_TPS_POINTS, extrapolate_vectors

POINTS = (2_000, 8_000, 32_000, 128_000)
GRIDS = (32, 64, 96)
METHODS = ("divroc", "knn", "tps")
ROOT = Path(__file__).resolve().parents[2]


def motion(points: np.ndarray) -> np.ndarray:
    """Return a breathing-like motion of some 20 mm."""
    return 20 * np.sin(points[:, [1, 2, 0]] / 90 + 1)


def once(method: str, count: int, edge: int) -> str:
    """Extrapolate from points to a grid; return seconds, error in mm and peak MiB more."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-140, 140, (count, 3))
    axis = np.linspace(-150, 150, edge)
    query = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    vectors = motion(points)
    few = points[:100] / 20  # in a small box, so that it compiles and takes little memory
    extrapolate_vectors(few, vectors[:100], few, method=method)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    found = extrapolate_vectors(points, vectors, query, method=method)
    took = time.perf_counter() - start
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    off = np.linalg.norm(found - motion(query), axis=1)[np.abs(query).max(axis=1) < 130].mean()
    return f"{took} {off} {more}"


def measure(method: str, count: int, edge: int) -> dict[str, object]:
    """Measure in a process of its own, whose peak memory is its own."""
    command = [sys.executable, "-m", "benchmarks.divroc.extrapolation", method, str(count)]
    done = subprocess.run([*command, str(edge)], capture_output=True, text=True, check=True, cwd=ROOT)
    took, off, more = (float(cell) for cell in done.stdout.split())
    return {
        "method": method,
        "points": count,
        "grid": edge,
        "seconds": took,
        "error_mm": off,
        "memory_mib": max(more, 0.0),
    }


def draw(rows: list[dict[str, object]]) -> None:
    figure, panels = plt.subplots(1, 3, figsize=(12, 3.6))
    for axes, (key, label) in zip(panels, (("seconds", "s"), ("memory_mib", "MiB"), ("error_mm", "mm")), strict=True):
        for colour, method in zip(COLOURS, METHODS, strict=False):
            part = [r for r in rows if r["method"] == method and r["grid"] == 64]
            axes.plot([r["points"] for r in part], [r[key] for r in part], "o-", color=colour, label=method)
        axes.set(xlabel="points", ylabel=f"{key.split('_')[0]}, {label}", xscale="log", yscale="log")
        axes.grid(alpha=0.3)
    panels[0].legend()
    figure.tight_layout()
    write_figure("divroc/extrapolation", figure)


def main() -> None:
    if len(sys.argv) > 1:
        print(once(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
        return
    sizes = [(count, 64) for count in POINTS] + [(8_000, edge) for edge in GRIDS if edge != 64]
    rows = [
        measure(method, count, edge)
        for method in METHODS
        for count, edge in sizes
        if method != "tps" or count <= MAX_TPS_POINTS
    ]
    write_rows("divroc/extrapolation", rows)
    draw(rows)


if __name__ == "__main__":
    main()
