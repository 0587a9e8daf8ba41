"""Registration from a network's guess against the affine start and the fast levels, on clouds of known motion.

Run: python -m benchmarks.networks [--build RESULTS | --draws phantom:FIRST-LAST] [--half choosing|reporting]
[--kind voxels|lines] [--networks unet dgcnn pointpwc] [--most N] [--accurate] [--alone]

--build names the results of 'lcsd phantom' cases (folders phantom-SEED-CASE with clouds and images/rigid.tfm); --draws
takes one pair from each of these phantoms, drawn as for training; without them, cases are those of
benchmarks.divroc.real_motion, in the folder of the environment variable LCSD_REAL_DATA, each motion on one anatomy. It
writes docs/networks/CASES.csv after each case; a run that was stopped continues where its table ends.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.divroc.real_motion import HALVES, KINDS, RealCase, data_folder, real_cases
from benchmarks.tables import DOCS, write_rows
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.io.images import read_rigid
from lcsd.io.points import read_cloud
from lcsd.networks.pairs import PhantomPairs
from lcsd.networks.register import register_with_network
from lcsd.networks.train import phantom_seeds
from lcsd.phantom.case import make_case
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NETWORKS

SCORED_POINTS = 5_000
DRAWN_SEED = 999
"""Of the pairs that are drawn; training and its held-out pairs have others."""

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


def drawn_cases(seeds: Iterable[int]) -> Iterator[RealCase]:
    """Yield a pair of each phantom as training draws them, both clouds as they are after its rough affine start."""
    for seed in seeds:
        pair = PhantomPairs([seed], seed=DRAWN_SEED).pair(seed)
        assert pair.vectors is not None
        yield RealCase(f"phantom {seed}", pair.fixed, pair.moving, pair.fixed + pair.vectors, 0.0, 0.0)


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
    """Yield the mean of each method over all cases, its successes, and its comparison with the first method."""
    errors = {m: np.array([float(str(row["mean_mm"])) for row in rows if row["method"] == m]) for m in methods}
    for method in methods:
        part = [row for row in rows if row["method"] == method]
        means = {key: float(np.mean([float(str(row[key])) for row in part])) for key in part[0] if key.endswith("_mm")}
        ratio = errors[method] / errors[methods[0]]
        differs = method != methods[0] and len(ratio) > 1
        yield {
            "method": method,
            **means,
            "success_share": float(np.mean([float(str(row["p95_mm"])) < SUCCESS_MM for row in part])),
            f"of_{methods[0]}": float(errors[method].mean() / errors[methods[0]].mean()),
            f"worst_of_{methods[0]}": float(ratio.max()),
            "wilcoxon_p": float(wilcoxon(errors[method], errors[methods[0]]).pvalue) if differs else 1.0,
            "cpu_seconds": float(np.mean([float(str(row["cpu_seconds"])) for row in part])),
        }


def done_before(name: str) -> list[dict[str, object]]:
    """Return the rows of an earlier run, numbers as such."""
    path = DOCS / f"networks/{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    return [{key: cell if key in ("case", "method") else float(cell) for key, cell in row.items()} for row in rows]


def methods_of(given: argparse.Namespace) -> list[str]:
    """Return the methods to compare; the first is what the others are compared with."""
    efforts = [] if given.alone else ["fast", *(["accurate"] if given.accurate else [])]
    pairs = [f"{network} + {effort}" for network in given.networks for effort in efforts]
    return [*efforts, "affine", *given.networks, *pairs]


def cases_of(given: argparse.Namespace) -> tuple[Iterator[RealCase], str]:
    """Return the cases, and the name of their table."""
    if given.build:
        return built_cases(given.build), "phantoms"
    if given.draws:
        return drawn_cases(phantom_seeds(given.draws, option="--draws")), "draws"
    everything = real_cases(data_folder(), given.half, kinds=(given.kind,))
    return (case for case in everything if "phantom" not in case.name), f"{given.half}_{given.kind}"


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--build", type=Path, help="results of a build of phantoms")
    made.add_argument("--draws", help="one training pair of each of these phantoms")
    made.add_argument("--half", choices=HALVES, default="reporting")
    made.add_argument("--kind", choices=KINDS, default="voxels")
    made.add_argument("--networks", nargs="+", choices=NETWORKS, default=["unet"])
    made.add_argument("--most", type=int, help="only the first cases")
    made.add_argument("--accurate", action="store_true", help="all levels, too")
    made.add_argument("--alone", action="store_true", help="the guesses alone, without levels")
    given = made.parse_args()
    methods = methods_of(given)
    cases, name = cases_of(given)
    rows = done_before(name)
    for case in itertools.islice(cases, given.most):
        done = {row["method"] for row in rows if row["case"] == case.name}
        rows += [scored(case, method) for method in methods if method not in done]
        write_rows(f"networks/{name}", rows)
    write_rows(f"networks/{name}_summary", list(summaries(rows, methods)))


if __name__ == "__main__":
    main()
