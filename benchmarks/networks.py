"""Registration from a network's guess against the affine start and the fast levels, on clouds of known motion.

Run: python -m benchmarks.networks [--build RESULTS] [--half choosing|reporting] [--kind voxels|lines] [--accurate]

--build names the results of 'lcsd phantom' cases (folders phantom-SEED-CASE with clouds and images/rigid.tfm); without
it, cases are those of benchmarks.divroc.real_motion, in the folder of the environment variable LCSD_REAL_DATA, each
motion on one anatomy. It writes docs/networks/CASES.csv.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.divroc.real_motion import HALVES, KINDS, RealCase, data_folder, real_cases
from benchmarks.tables import write_rows
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.io.images import read_rigid
from lcsd.io.points import read_cloud
from lcsd.networks.register import register_with_network
from lcsd.phantom.case import make_case
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NETWORKS

SCORED_POINTS = 5_000
SUCCESS_MM = 5.0
"""A registration succeeded if 95 % of its points are off by less."""


def built_cases(results: Path) -> Iterator[RealCase]:
    """Yield the clouds that a build made of phantoms, with the phantoms' own motion as truth."""
    for folder in sorted((results / "cases").glob("phantom-*")):
        seed, number = (int(part) for part in folder.name.split("-")[1:])
        fixed, moving = (read_cloud(folder / "clouds" / f"{scan}_dense.npz").points for scan in ("fixed", "moving"))
        back = read_rigid(folder / "images" / "rigid.tfm").inverse()
        fixed = fixed.astype(np.float64)
        targets = back.apply(make_case(seed, case=number).transform(fixed))
        yield RealCase(folder.name, fixed, moving.astype(np.float64), targets, 0.0, 0.0)


def registered(case: RealCase, method: str) -> RegistrationResult:
    """Register a case by a method: ``affine``, ``fast``, ``accurate``, ``NETWORK`` or ``NETWORK + EFFORT``."""
    name, _, effort = method.partition(" + ")
    if name in NETWORKS:
        settings = RegisterSettings.model_validate({"method": name, "effort": effort or "none", "trust": "none"})
        return register_with_network(case.fixed, case.moving, settings=settings)[0]
    settings = RegisterSettings.model_validate({"effort": "none" if name == "affine" else name, "trust": "none"})
    return register_clouds(case.fixed, case.moving, settings=settings)


def scored(case: RealCase, method: str) -> dict[str, object]:
    """Return the figures of a registration at random fixed points; seconds are of the CPU."""
    began = time.process_time()
    found = registered(case, method)
    took = time.process_time() - began
    rows = np.random.default_rng(0).permutation(len(case.fixed))[:SCORED_POINTS]
    off = np.linalg.norm((found.moved_points - case.targets)[rows], axis=1)
    return {
        "case": case.name,
        "method": method,
        "mean_mm": float(off.mean()),
        "p95_mm": float(np.percentile(off, 95)),
        "std_log_jacobian": found.std_log_jacobian or 0.0,
        "folding_percent": found.folding_percent,
        "cpu_seconds": took,
    }


def summaries(rows: list[dict[str, object]], methods: list[str]) -> Iterator[dict[str, object]]:
    """Yield the mean of each method over all cases, its share of successes, and its comparison with the fast levels."""
    errors = {m: np.array([float(str(row["mean_mm"])) for row in rows if row["method"] == m]) for m in methods}
    for method in methods:
        part = [row for row in rows if row["method"] == method]
        means = {key: float(np.mean([float(str(row[key])) for row in part])) for key in part[0] if key.endswith("_mm")}
        ratio = errors[method] / errors["fast"]
        differs = method != "fast" and len(ratio) > 1
        yield {
            "method": method,
            **means,
            "success_share": float(np.mean([float(str(row["p95_mm"])) < SUCCESS_MM for row in part])),
            "of_fast": float(errors[method].mean() / errors["fast"].mean()),
            "worst_of_fast": float(ratio.max()),
            "wilcoxon_p": float(wilcoxon(errors[method], errors["fast"]).pvalue) if differs else 1.0,
            "cpu_seconds": float(np.mean([float(str(row["cpu_seconds"])) for row in part])),
        }


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--build", type=Path, help="results of a build of phantoms")
    made.add_argument("--half", choices=HALVES, default="reporting")
    made.add_argument("--kind", choices=KINDS, default="voxels")
    made.add_argument("--network", choices=NETWORKS, default="unet")
    made.add_argument("--accurate", action="store_true", help="all levels, too")
    given = made.parse_args()
    efforts = ["fast", *(["accurate"] if given.accurate else [])]
    methods = ["affine", *efforts, given.network, *(f"{given.network} + {effort}" for effort in efforts)]
    if given.build:
        cases, name = built_cases(given.build), "phantoms"
    else:
        everything = real_cases(data_folder(), given.half, kinds=(given.kind,))
        cases = (case for case in everything if "phantom" not in case.name)
        name = f"{given.half}_{given.kind}"
    rows = []
    for case in cases:
        for method in methods:
            rows.append(scored(case, method))
            print(*(f"{c:.3f}" if isinstance(c, float) else f"{c:40}" for c in rows[-1].values()), flush=True)
    write_rows(f"networks/{name}", rows)
    write_rows(f"networks/{name}_summary", list(summaries(rows, methods)))


if __name__ == "__main__":
    main()
