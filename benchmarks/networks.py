"""Networks against the optimiser, in the layout of the supplement's Table 3: the last part of docs/networks.md.

Run: python -m benchmarks.networks [--methods NAME ...] [--groups NAME ...] [--most N] [--points N] [--minutes M]
[--self-trained NAME=FILE] [--build RESULTS]

Clouds: what a build made of the cases of 'lcsd phantom' (--build; folders phantom-SEED-CASE), draws from phantoms that
no training saw, the right lung, and the reporting half of the motions of real lungs (benchmarks.divroc.real_motion), as
recorded (small) and half as large again (large), in the vessels of other scans or at their own keypoints; at most
--points of each cloud.
The folder of real data is named by the environment variable LCSD_REAL_DATA. A self-trained model is a row of its own.
Finished registrations stay in docs/networks/table.csv and are not made again; after --minutes the command ends, and the
next call goes on. The page shows what there is: each row says of how many cases it is.
"""

import argparse
import csv
import itertools
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from scipy.stats import wilcoxon

from benchmarks.divroc.real_motion import (
    JITTER_MM,
    REPORTING,
    SCORED_POINTS,
    RealCase,
    anatomy,
    cache_folder,
    data_folder,
    real_cases,
)
from benchmarks.tables import DOCS, write_rows
from lcsd.divroc.register import RegistrationResult, register_clouds
from lcsd.io.files import write_text
from lcsd.io.images import read_rigid
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.networks.pairs import PhantomPairs
from lcsd.networks.register import register_with_network
from lcsd.numerics.tps import ThinPlateSpline
from lcsd.phantom.case import make_case
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NETWORKS

PAGE = DOCS / "networks.md"
BEGIN = "<!-- python -m benchmarks.networks writes what follows -->\n"
END = "<!-- up to here -->\n"

PHANTOMS = range(200_000, 200_010)
DRAWN_SEED = 999
"""Of the pairs that are drawn; training and its held-out pairs have others."""

GROUPS = {
    "built": "Phantoms through the whole pipeline",
    "phantoms": "Draws of unseen phantoms",
    "small": "Motions of real lungs",
    "large": "Motions of real lungs, half as large again",
    "keypoints": "Keypoints of real lungs",
    "keypoints_large": "Keypoints of real lungs, motion half as large again",
    "right_lung": "The right lung",
}

KEYPOINTS = 3_000
"""Keypoints of each scan, half of them in both; each is off by ``JITTER_MM``."""

TRUTH_POINTS = 1_500
"""Points of the right lung's truth that a spline carries to its vessels."""

SUCCESS_MM = 5.0
"""A registration succeeded if 95 % of its points are off by less."""

OPTIMISERS: dict[str, dict[str, object]] = {
    "affine": {"effort": "none"},
    "fast": {"effort": "fast"},
    "Chamfer": {"method": "chamfer", "max_points": 20_000},
    "2x Adam": {},
}
ENDS = ("", " + fast", " + accurate")
NAMES = {"unet": "U-Net", "dgcnn": "DGCNN", "pointpwc": "PointPWC-Net"}
SELF_TRAINED = "self-trained "
METHODS = (*OPTIMISERS, *(f"{mark}{name}{end}" for end in ENDS for mark in ("", SELF_TRAINED) for name in NETWORKS))

Row = dict[str, str]


def built_cases(results: Path) -> Iterator[RealCase]:
    """Yield the clouds that a build made of phantoms, with the phantoms' own motion as truth."""
    for folder in sorted((results / "cases").glob("phantom-*")):
        seed, number = (int(part) for part in folder.name.split("-")[1:])
        fixed, moving = (read_cloud(folder / "clouds" / f"{scan}_dense.npz").points for scan in ("fixed", "moving"))
        back = read_rigid(folder / "images" / "rigid.tfm").inverse()
        fixed = fixed.astype(np.float64)
        targets = back.apply(make_case(seed, case=number).transform(fixed))
        yield RealCase(folder.name, fixed, moving.astype(np.float64), targets, 0.0, 0.0)


def drawn_cases() -> Iterator[RealCase]:
    """Yield a pair of each phantom as training draws them, both clouds as they are after its rough affine start."""
    for seed in PHANTOMS:
        kept = cache_folder() / f"draw-{seed}.npz"
        if not kept.exists():
            pair = PhantomPairs([seed], seed=DRAWN_SEED).pair(seed)
            assert pair.vectors is not None
            np.savez(kept, fixed=pair.fixed, moving=pair.moving, targets=pair.fixed + pair.vectors)
        stored = np.load(kept)
        yield RealCase(f"phantom {seed}", stored["fixed"], stored["moving"], stored["targets"], 0.0, 0.0)


def moved_lungs(folder: Path, scale: float) -> Iterator[RealCase]:
    """Yield vessels of real scans under the motions of the reporting half."""
    found = real_cases(folder, "reporting", kinds=("voxels",))
    return (case for case in found if "phantom" not in case.name and f" x{scale:g} " in case.name)


def own_keypoints(folder: Path, scale: float) -> Iterator[RealCase]:
    """Yield the keypoints of the reporting half, which move as they did, or farther."""
    for motion in REPORTING:
        table = np.loadtxt(folder / "lung250m" / f"case_{motion}_vxmpp.csv", delimiter=",", skiprows=1)[:, :6]
        rng = np.random.default_rng(0)
        rows, most = rng.permutation(len(table)), min(KEYPOINTS, int(len(table) / 1.5))
        own, others = np.split(rows[most // 2 :][: 2 * (most - most // 2)], 2)
        own, others = (np.concatenate([rows[: most // 2], part]) for part in (own, others))
        places = table[:, :3] + scale * (table[:, 3:] - table[:, :3])
        fixed, moving = (
            part + rng.normal(scale=JITTER_MM, size=part.shape) for part in (table[own, :3], places[others])
        )
        yield RealCase(f"keypoints {motion} x{scale:g}", fixed, moving, places[own], 0.0, 0.0)


def right_lung(folder: Path) -> Iterator[RealCase]:
    """Yield the right lung in both scans; a spline through the truth of lung points leads its vessels."""
    clouds = [anatomy(folder, f"lung_{scan}").dense for scan in ("fixed", "moving")]
    truth = read_point_pairs(folder / "right_lung" / "truth.csv")
    rows = np.random.default_rng(0).permutation(len(truth.fixed))[:TRUTH_POINTS]
    spline = ThinPlateSpline.fit(truth.fixed[rows], (truth.moving - truth.fixed)[rows])
    yield RealCase("right lung", clouds[0], clouds[1], clouds[0] + spline.evaluate(clouds[0]), 0.0, 0.0)


def cases_of(group: str, build: Path | None) -> Iterator[RealCase]:
    """Return the cases of a group; ``build`` is that of phantoms."""
    if group == "built":
        return built_cases(build) if build else iter(())
    if group == "phantoms":
        return drawn_cases()
    if group == "right_lung":
        return right_lung(data_folder())
    scale = 1.5 if group.endswith("large") else 1.0
    return own_keypoints(data_folder(), scale) if group.startswith("keypoints") else moved_lungs(data_folder(), scale)


def thinned(case: RealCase, most: int) -> RealCase:
    """Return a case with at most so many points of each cloud."""
    rows = [np.random.default_rng(1).permutation(len(part))[:most] for part in (case.fixed, case.moving)]
    clouds = case.fixed[rows[0]], case.moving[rows[1]], case.targets[rows[0]]
    return RealCase(case.name, *clouds, case.smoothing, case.min_determinant)


def registered(case: RealCase, method: str, models: dict[str, Path]) -> RegistrationResult:
    """Register a case by one of ``METHODS``; ``models`` are the self-trained ones."""
    if method in OPTIMISERS:
        settings = RegisterSettings.model_validate({"trust": "none", **OPTIMISERS[method]})
        return register_clouds(case.fixed, case.moving, settings=settings)
    name, _, effort = method.removeprefix(SELF_TRAINED).partition(" + ")
    settings = RegisterSettings.model_validate({"method": name, "effort": effort or "none", "trust": "none"})
    model = models[name] if method.startswith(SELF_TRAINED) else None
    return register_with_network(case.fixed, case.moving, settings=settings, model=model)[0]


def scored(case: RealCase, group: str, method: str, models: dict[str, Path]) -> Row:
    """Return the figures of a registration at random fixed points; seconds are of the CPU."""
    began = time.process_time()
    found = registered(case, method, models)
    took = time.process_time() - began
    rows = np.random.default_rng(0).permutation(len(case.fixed))[:SCORED_POINTS]
    off = np.linalg.norm((found.moved_points - case.targets)[rows], axis=1)
    figures = {
        "mean_mm": off.mean(),
        "p95_mm": np.percentile(off, 95),
        "std_log_jacobian": found.std_log_jacobian or 0.0,
        "folding_percent": found.folding_percent,
        "cpu_seconds": took,
    }
    return {"group": group, "case": case.name, "method": method} | {key: f"{v:.4g}" for key, v in figures.items()}


def compared(rows: list[Row], method: str) -> list[str]:
    """Return the cells of a method's row in one group: the share of the fast levels' error is of shared cases."""
    own = {row["case"]: row for row in rows if row["method"] == method}
    fast = {row["case"]: float(row["mean_mm"]) for row in rows if row["method"] == "fast" and row["case"] in own}

    def mean(key: str) -> float:
        return float(np.mean([float(row[key]) for row in own.values()]))

    mine = np.array([float(own[case]["mean_mm"]) for case in fast])
    base = np.array([*fast.values()])
    success = np.mean([float(row["p95_mm"]) < SUCCESS_MM for row in own.values()])
    cells = [str(len(own)), f"{mean('mean_mm'):.2f}", f"{mean('p95_mm'):.2f}", f"{100 * success:.0f}"]
    if len(base):
        differs = len(base) > 1 and bool(np.any(mine != base))
        cells += [f"{mine.mean() / base.mean():.2f}", f"{(mine / base).max():.2f}"]
        cells += [f"{wilcoxon(mine, base).pvalue:.2f}" if differs else ""]
    else:
        cells += ["", "", ""]
    return [*cells, f"{mean('std_log_jacobian'):.3f}", f"{mean('folding_percent'):.2f}", f"{mean('cpu_seconds'):.1f}"]


def table(rows: list[Row], group: str) -> str:
    """Return the comparison of all methods on one group of cases as Markdown."""
    own = [row for row in rows if row["group"] == group]
    head = ("method", "cases", "mean", "95 %", "< 5 mm (%)", "of fast", "worst of fast", "p", "std log J", "J ≤ 0 (%)")
    lines = [f"| {' | '.join(head)} | CPU (s) |", "| --- |" + " ---: |" * len(head)]
    for method in METHODS:
        if any(row["method"] == method for row in own):
            shown = method
            for name, long in NAMES.items():
                shown = shown.replace(name, long)
            lines.append(f"| {shown} | {' | '.join(compared(own, method))} |")
    return f"### {GROUPS[group]}\n\n" + "\n".join(lines) + "\n"


def write_page(rows: list[Row]) -> None:
    """Replace the tables of the page."""
    groups = [group for group in GROUPS if any(row["group"] == group for row in rows)]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    tables = "\n".join(table(rows, group) for group in groups)
    write_text(PAGE, f"{before}{BEGIN}\n{tables}\n{END}{rest.partition(END)[2]}")


def done_before() -> list[Row]:
    """Return the rows of earlier runs."""
    kept = DOCS / "networks" / "table.csv"
    if not kept.exists():
        return []
    with kept.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    made.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    made.add_argument("--most", type=int, help="only the first cases of each group")
    made.add_argument("--points", type=int, default=30_000, help="most points of each cloud")
    made.add_argument("--minutes", type=float, default=25.0, help="CPU minutes after which no registration begins")
    made.add_argument("--self-trained", nargs="+", default=[], metavar="NAME=FILE", help="models of lcsd train")
    made.add_argument("--build", type=Path, help="results of a build of phantoms")
    given = made.parse_args()
    models = {name: Path(file) for name, _, file in (text.partition("=") for text in given.self_trained)}
    rows, began = done_before(), time.process_time()
    done = {(row["case"], row["method"]) for row in rows}
    listed = cache(lambda group: list(itertools.islice(cases_of(group, given.build), given.most)))
    for method, group in itertools.product(given.methods, given.groups):
        if method.startswith(SELF_TRAINED) and method.removeprefix(SELF_TRAINED).partition(" + ")[0] not in models:
            continue
        for case in listed(group):
            if (case.name, method) not in done and time.process_time() - began < 60 * given.minutes:
                rows.append(scored(thinned(case, given.points), group, method, models))
                write_rows("networks/table", rows)
    write_page(rows)


if __name__ == "__main__":
    main()
