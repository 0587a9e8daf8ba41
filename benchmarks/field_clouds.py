"""Methods of point clouds on vessels that move as real lungs do: the second part of docs/benchmarks.md.

Run: python -m benchmarks.field_clouds

Clouds of real scans under the motions of the reporting half (benchmarks.divroc.real_motion): each motion once, as
voxels or as centre lines, at one of its scales in turn. The folder of real data is named by the environment variable
LCSD_REAL_DATA. Finished registrations stay in docs/field/clouds.csv and are not made again; delete it after a change.
"""

import csv
import itertools
import time
from pathlib import Path

import numpy as np

from benchmarks.divroc.real_motion import KINDS, OFF_MM, SCALES, SCORED_POINTS, RealCase, data_folder, real_cases
from benchmarks.field import PAGE
from benchmarks.tables import DOCS, write_rows
from lcsd.divroc.register import register_clouds
from lcsd.io.files import write_text
from lcsd.networks.register import register_with_network
from lcsd.settings.register import RegisterSettings

METHODS: dict[str, dict[str, object]] = {
    "affine start": {"effort": "none"},
    "coherent point drift": {"method": "cpd"},
    "optimal transport, fast": {"method": "ot", "effort": "fast"},
    "Chamfer distance": {"method": "chamfer", "max_points": 20_000},
    "DiVRoC, fast": {"effort": "fast"},
    "DiVRoC": {},
    "U-Net, then fast": {"method": "unet", "effort": "fast"},
    "U-Net, then DiVRoC": {"method": "unet"},
}

BEGIN = "<!-- python -m benchmarks.field_clouds writes what follows -->\n"
END = "<!-- up to here -->\n"

Row = dict[str, str]


def cases(folder: Path) -> list[RealCase]:
    """Return the cases: real anatomies, each motion with one scale and one kind of clouds in turn."""
    found = [case for case in real_cases(folder, "reporting") if "phantom" not in case.name]
    each = len(SCALES) * len(KINDS)
    return [found[each * number + number % each] for number in range(len(found) // each)]


def scored(case: RealCase, method: str) -> Row:
    """Register a case by a method and return its figures at random fixed points; seconds are of the CPU."""
    settings = RegisterSettings.model_validate({"trust": "none", **METHODS[method]})
    began = time.process_time()
    if settings.learnt():
        found = register_with_network(case.fixed, case.moving, settings=settings)[0]
    else:
        found = register_clouds(case.fixed, case.moving, settings=settings)
    took = time.process_time() - began
    rows = np.random.default_rng(0).permutation(len(case.fixed))[:SCORED_POINTS]
    off = np.linalg.norm((found.moved_points - case.targets)[rows], axis=1)
    figures = {
        "before_mm": np.linalg.norm((case.fixed - case.targets)[rows], axis=1).mean(),
        "mean_mm": off.mean(),
        "p95_mm": np.percentile(off, 95),
        "off_percent": 100 * (off > OFF_MM).mean(),
        "folding_percent": found.folding_percent,
        "cpu_seconds": took,
    }
    return {"case": case.name, "method": method} | {key: f"{value:.4g}" for key, value in figures.items()}


def table(rows: list[Row], kind: str) -> str:
    """Return the comparison of all methods on one kind of clouds as Markdown."""
    own = [row for row in rows if f" {kind} " in row["case"]]
    of = {name: [row for row in own if row["method"] == name] for name in METHODS}
    errors = {name: np.array([float(row["mean_mm"]) for row in part]) for name, part in of.items()}
    head = ("method", "mean", "worst case", "95 %", f"> {OFF_MM:g} mm (%)", "J ≤ 0 (%)", "CPU (s)")
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    for name, part in of.items():
        p95, off, folds, seconds = (
            np.mean([float(row[key]) for row in part])
            for key in ("p95_mm", "off_percent", "folding_percent", "cpu_seconds")
        )
        figures = [f"{errors[name].mean():.2f}", f"{errors[name].max():.2f}", f"{p95:.2f}", f"{off:.1f}"]
        figures += [f"{folds:.2f}", f"{seconds:.1f}"]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    before = np.mean([float(row["before_mm"]) for row in of["affine start"]])
    title = f"### {'Voxel clouds' if kind == 'voxels' else 'Centre lines'}, {KINDS[kind]:,} points"
    end = f"Means over {len(of['affine start'])} cases, mm; before registration {before:.2f}."
    return f"{title}\n\n" + "\n".join(lines) + f"\n\n{end}\n"


def main() -> None:
    kept = DOCS / "field" / "clouds.csv"
    rows: list[Row] = []
    if kept.exists():
        with kept.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    done = {(row["case"], row["method"]) for row in rows}
    for case, method in itertools.product(cases(data_folder()), METHODS):
        if (case.name, method) not in done:
            rows.append(scored(case, method))
            write_rows("field/clouds", rows)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    tables = "\n".join(table(rows, kind) for kind in KINDS)
    write_text(PAGE, f"{before}{BEGIN}\n{tables}\n{END}{after}")


if __name__ == "__main__":
    main()
