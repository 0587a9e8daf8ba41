"""CUDA on this machine in one command: its tests, its speed and whether it agrees with the CPU. At most 8 minutes.

Run: python -m benchmarks.gpu [--out FOLDER] [--device cuda]

Writes gpu.json and gpu.md, and prints the table. Ends with 0 if all tests pass and all results agree, with 1 if not,
and with 2 and one line where there is no such device. ``--device cpu`` compares the CPU with itself and runs no tests.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from benchmarks.divroc.speed import cloud
from benchmarks.tables import DOCS
from lcsd.corrfield.correspond import find_correspondences
from lcsd.divroc import rasterise
from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.register import register_clouds
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.numerics.device import check_device
from lcsd.settings.register import RegisterSettings

ROOT = Path(__file__).resolve().parents[1]

BUDGET_SECONDS = 480.0
"""No step starts after this; the tests are stopped before."""

TEST_SECONDS = 240.0
"""Half of the budget is for the tests at most."""

ROUNDING = 1e-4
"""Relative difference of sums of float32 in another order."""

SIGNS = 1e-2
"""Relative difference of a gradient of absolute values: where two densities are equal but for rounding, its sign is
chance."""

NEAR_MM = 0.1
"""Mean distance of points moved on two devices: rounding grows over 60 to 200 steps."""

Outcome = Sequence[NDArray[Any]]
Work = Callable[[], Outcome]


@dataclass(frozen=True)
class Task:
    """Work that every device does alike."""

    name: str
    size: str
    prepare: Callable[[str], Work]  # on a device
    allowed: float  # how far the outcomes of two devices may be apart, in ``unit``
    unit: str  # "share": of the outcome's length; "mm": mean distance of rows
    repeats: int


@dataclass(frozen=True)
class Row:
    """One task on both devices; ``why`` is set if there are no figures."""

    name: str
    size: str
    cpu_s: float | None = None
    device_s: float | None = None
    apart: float | None = None
    allowed: float | None = None
    unit: str = ""
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Whether both outcomes are there, and near enough; NaN is not."""
        return self.apart is not None and self.allowed is not None and self.apart <= self.allowed


def _numpy(tensors: Sequence[torch.Tensor]) -> Outcome:
    return [tensor.detach().cpu().numpy() for tensor in tensors]


def raster(count: int, grid: int) -> Callable[[str], Work]:
    """Return the work of rasterising points in no order, and its gradient."""

    def prepare(device: str) -> Work:
        points, shape = cloud(count, 0)[None].to(device), (grid,) * 3
        weights = torch.ones(1, 1, count, device=device)
        upstream = torch.rand((1, 1, *shape), generator=torch.Generator().manual_seed(0)).to(device)

        def work() -> Outcome:
            free = points.clone().requires_grad_()
            volume = rasterise(free, weights, shape)
            return _numpy([volume, torch.autograd.grad(volume, free, upstream)[0]])

        return work

    return prepare


def distance(count: int, grid: int) -> Callable[[str], Work]:
    """Return the work of one distance between clouds, and its gradient."""

    def prepare(device: str) -> Work:
        points = cloud(count, 0).to(device)
        apart = CloudDistance(cloud(count, 1).to(device), (grid,) * 3, sigma_voxels=0.8, gain=0.5)
        weights = apart.weights(points)

        def work() -> Outcome:
            free = points.clone().requires_grad_()
            value = apart(free, weights)
            return _numpy([value, torch.autograd.grad(value, free)[0]])

        return work

    return prepare


def vessels(count: int) -> NDArray[np.float64]:
    """Return points (count, 3), mm, along winding lines."""
    rng = np.random.default_rng(0)
    lines = max(1, count // 300)
    starts, turns = rng.uniform(0, 200, (lines, 1, 3)), rng.normal(size=(lines, -(-count // lines), 3))
    steps = gaussian_filter(turns, (0, 8, 0))
    steps /= np.linalg.norm(steps, axis=2, keepdims=True)
    return (starts + 0.7 * steps.cumsum(axis=1)).reshape(-1, 3)[:count]


def registration(count: int, effort: str) -> Callable[[str], Work]:
    """Return the work of one registration of clouds that move by up to 8 mm."""

    def prepare(device: str) -> Work:
        fixed = vessels(count)
        moving = fixed + 8 * np.sin(fixed[:, ::-1] / 60)
        settings = RegisterSettings(effort=effort)
        return lambda: [register_clouds(fixed, moving, settings=settings, device=device).moved_points]

    return prepare


def correspondences(edge: int) -> Callable[[str], Work]:
    """Return the work of corrfield on noise that moves by up to 3 voxels."""

    def prepare(device: str) -> Work:
        noise = np.random.default_rng(0).normal(size=(edge + 8,) * 3)
        wide = (900 * gaussian_filter(noise, 1.5)).astype(np.float32)
        grid = Grid((edge,) * 3, (1.5,) * 3, (0.0,) * 3)
        fixed, moving = (Image(wide[s : s + edge, 4:-4, 4:-4].copy(), grid) for s in (4, 7))
        middle = np.zeros(grid.shape, bool)
        middle[8:-8, 8:-8, 8:-8] = True
        mask = Image(middle, grid)
        return lambda: [find_correspondences(fixed, moving, mask, device=device).field.vectors.reshape(-1, 3)]

    return prepare


TASKS = (
    *(Task("rasterise and gradient", f"100k, {n}^3", raster(100_000, n), ROUNDING, "share", 5) for n in (76, 152)),
    *(Task("distance and gradient", f"100k, {n}^3", distance(100_000, n), SIGNS, "share", 5) for n in (76, 152)),
    Task("register, fast", "3k", registration(3_000, "fast"), NEAR_MM, "mm", 2),
    Task("register", "3k", registration(3_000, "accurate"), NEAR_MM, "mm", 2),
    Task("register, fast", "75k", registration(75_000, "fast"), NEAR_MM, "mm", 2),
    Task("register", "75k", registration(75_000, "accurate"), NEAR_MM, "mm", 1),
    Task("corrfield", "96^3", correspondences(96), NEAR_MM, "mm", 2),
)


def apart(task: Task, one: Outcome, other: Outcome) -> float:
    """Return how far two outcomes are apart, in the task's unit: the worst of its arrays."""
    found = []
    for a, b in zip(one, other, strict=True):
        difference = a.astype(np.float64) - b
        if task.unit == "mm":
            found.append(float(np.linalg.norm(difference, axis=-1).mean()))
        else:
            found.append(float(np.linalg.norm(difference) / max(np.linalg.norm(b), np.finfo(np.float32).tiny)))
    return float(np.max(found))  # NaN if one is


def timed(work: Work, repeats: int) -> tuple[float, Outcome]:
    """Return the least seconds of some work, after a run that does not count, and its outcome.

    An outcome is in the CPU's memory, so nothing is left to wait for.
    """
    outcome, seconds = work(), []
    for _ in range(repeats):
        start = time.perf_counter()
        outcome = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), outcome


def compared(task: Task, device: str) -> Row:
    """Return a task's figures on the CPU and on a device; an error of the device is a row too."""
    cpu_s, expected = timed(task.prepare("cpu"), task.repeats)
    try:
        device_s, found = timed(task.prepare(device), task.repeats)
    except Exception as error:  # noqa: BLE001 - what fails is what this command looks for
        why = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        return Row(task.name, task.size, cpu_s, why=why)
    return Row(task.name, task.size, cpu_s, device_s, apart(task, found, expected), task.allowed, task.unit)


def cuda_tests(target: Path, limit_s: float) -> dict[str, int]:
    """Run the tests marked ``cuda`` under a folder; return the number that passed, failed and were skipped.

    Tests that were stopped, or that could not be collected, count as one failure.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "tests.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "cuda", "-p", "no:cacheprovider", str(target)]
        try:
            subprocess.run([*command, f"--junitxml={report}"], cwd=ROOT, timeout=limit_s, check=False)
        except subprocess.TimeoutExpired:
            return {"passed": 0, "failed": 1, "skipped": 0}
        if not report.exists():
            return {"passed": 0, "failed": 1, "skipped": 0}
        suite = next(ET.parse(report).getroot().iter("testsuite"))  # noqa: S314 - our own file
    number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
    failed = number["failures"] + number["errors"]
    return {"passed": number["tests"] - failed - number["skipped"], "failed": failed, "skipped": number["skipped"]}


def machine(device: str) -> dict[str, Any]:
    """Return what the figures were measured on."""
    card = {}
    if device != "cpu":
        card = {
            "card": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
        }
    return {
        "device": device,
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "torch": torch.__version__,
        **card,
    }


def table(found: dict[str, Any], rows: Sequence[Row]) -> str:
    """Return the results in Markdown."""
    lines = [
        f"{', '.join(f'{key} {value}' for key, value in found['machine'].items())}; {found['seconds']:.0f} s in all.",
        "",
        "| work | size | CPU, s | device, s | ratio | apart | allowed | |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    for row in rows:
        cells = ["", "", "", "", ""]
        if row.cpu_s is not None:
            cells[0] = f"{row.cpu_s:.4g}"
        if row.cpu_s is not None and row.device_s is not None:
            cells[1:] = [f"{row.device_s:.4g}", f"{row.cpu_s / row.device_s:.1f}", f"{row.apart:.1e}"]
            cells.append(f"{row.allowed:g} {row.unit}")
        end = "agrees" if row.agrees else row.why or "**differs**"
        lines.append(f"| {row.name} | {row.size} | {' | '.join(cells)} | {end} |")
    tests = found["tests"]
    counts = "not run" if tests is None else ", ".join(f"{count} {name}" for name, count in tests.items())
    return "\n".join([*lines, "", f"CUDA tests: {counts}.", ""])


def passes(tests: dict[str, int] | None, rows: Sequence[Row]) -> bool:
    """Return whether all rows agree and, if tests ran, some passed, none failed and none was skipped."""
    tested = tests is None or (tests["passed"] > 0 and not tests["failed"] and not tests["skipped"])
    return tested and all(row.agrees for row in rows)


def examine(device: str, tasks: Sequence[Task], *, budget_s: float) -> tuple[dict[str, Any], list[Row]]:
    """Return what is found on a device, JSON-serialisable, and its rows; tasks that come too late have no figures."""
    start = time.monotonic()
    tests = None if device == "cpu" else cuda_tests(ROOT / "tests" / "unit", min(TEST_SECONDS, budget_s / 2))
    rows = []
    for task in tasks:
        late = time.monotonic() - start > budget_s
        rows.append(Row(task.name, task.size, why="left out: no time") if late else compared(task, device))
    found = {"machine": machine(device), "seconds": time.monotonic() - start, "tests": tests}
    return {**found, "rows": [asdict(row) | {"agrees": row.agrees} for row in rows]}, rows


def main(arguments: Sequence[str] | None = None, tasks: Sequence[Task] = TASKS) -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DOCS / "measurements", help="folder of gpu.json and gpu.md")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    chosen = parser.parse_args(arguments)
    try:
        check_device(chosen.device)
    except BadInputError as error:
        sys.stderr.write(f"benchmarks.gpu: error: {error}\n")
        return 2
    found, rows = examine(chosen.device, tasks, budget_s=BUDGET_SECONDS)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    text = table(found, rows)
    (chosen.out / "gpu.md").write_text("# CUDA against the CPU\n\n" + text, encoding="utf-8")
    sys.stdout.write(text)
    return 0 if passes(found["tests"], rows) else 1


if __name__ == "__main__":
    sys.exit(main())
