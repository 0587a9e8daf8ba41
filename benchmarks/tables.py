"""Results of studies as CSV and figures, and clocks."""

import csv
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

KIB_PER_MIB = 1024

DOCS = Path(__file__).resolve().parents[1] / "docs"

COLOURS = ("#4c78a8", "#e45756", "#54a24b", "#f58518", "#72b7b2", "#b279a2")


def write_rows(name: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows as CSV into the documents, such as ``divroc/speed``, and print them."""
    shown = [{key: f"{cell:.4g}" if isinstance(cell, float) else cell for key, cell in row.items()} for row in rows]
    path = DOCS / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(shown[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(shown)
    for row in shown:
        print("  ".join(f"{key}={cell}" for key, cell in row.items()))


def write_figure(name: str, figure: Figure) -> None:
    """Write a figure into the documents, such as ``divroc/speed``."""
    path = DOCS / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")
    plt.close(figure)


class Cost(NamedTuple):
    """What a command took: wall and CPU seconds, and its memory at most."""

    seconds: float
    cpu_s: float
    mib: float


def cost_of(command: Sequence[str], folder: Path | None = None) -> Cost:
    """Run a command in a folder and return what it took; end if it fails."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    took = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)}: failed")
    return Cost(took, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB_PER_MIB)


def seconds(work: Callable[[], object], *, repeats: int = 15, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the least wall seconds (the least disturbed run) of some work, after two runs that do not count."""
    work()
    work()
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return min(times)
