"""Registration of vessel trees that move as real lungs do: twelve motions, real and phantom anatomy.

Run: python -m benchmarks.divroc.real_motion {choosing,reporting} [--set KEY=VALUE] [--kind voxels|lines]

The folder of real data is named by the environment variable LCSD_REAL_DATA.
"""

import argparse
import os
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.divroc.anatomies import Anatomy, missing_subtrees, phantom_anatomy, real_anatomy
from benchmarks.tables import write_rows
from lcsd.divroc.register import register_clouds
from lcsd.numerics.tps import ThinPlateSpline
from lcsd.settings.register import RegisterSettings

Points = NDArray[np.float64]

DATA_VARIABLE = "LCSD_REAL_DATA"

CHOOSING = ("002", "054", "056", "097", "110", "112")
"""Motions on which settings may be chosen."""

REPORTING = ("008", "055", "094", "109", "111", "113")
"""Motions whose figures are reported; no choice looks at them."""

HALVES = {"choosing": CHOOSING, "reporting": REPORTING}

ANATOMIES = {"choosing": ("phantom_40", "chest_a", "lung_fixed"), "reporting": ("phantom_50", "chest_b", "lung_moving")}
"""A phantom by its seed, a chest CT, and a right lung; the halves share none."""

MIRROR = np.array([-1.0, 1.0, 1.0])
"""Left becomes right: another anatomy to a motion."""

SCALES = (1.0, 1.5)
KINDS = {"voxels": 100_000, "lines": 3_000}
SPOILS = ("missing 10 %", "missing 30 %", "2:1")
JITTER_MM = 0.5
OFF_MM = 5.0

SPLINE_POINTS = 2_000
SMOOTHING_MM2 = 200.0
"""First smoothing of the spline; it grows fourfold until the motion folds nowhere in the lung."""

MOST_SMOOTHINGS = 8
LEAST_DETERMINANT = 0.1
"""Tissue compressed to a tenth is the least that counts as plausible."""

SCORED_POINTS = 5_000


@dataclass(frozen=True)
class RealCase:
    """Two clouds, the true place of each fixed point, and how the motion was made; points (N, 3) in LPS mm."""

    name: str
    fixed: Points
    moving: Points
    targets: Points  # where the fixed points lie in the moving scan
    smoothing: float  # of the spline, square mm
    min_determinant: float  # smallest det J near the cloud


class BoxMotion:
    """A motion of keypoints as a smooth field, mapped from their box to the box of an anatomy.

    Displacements are scaled as the box is, so that det J stays what it was.
    """

    def __init__(self, keypoints: Points, moved: Points, box: Points, scale: float, smoothing: float) -> None:
        self._low, self._size = keypoints.min(axis=0), np.ptp(keypoints, axis=0)
        self._box, self._scale = box, scale
        rows = np.random.default_rng(0).permutation(len(keypoints))[:SPLINE_POINTS]
        self._spline = ThinPlateSpline.fit(keypoints[rows], (moved - keypoints)[rows], smoothing=smoothing)

    def __call__(self, points: Points) -> Points:
        """Return where points (N, 3) of the anatomy move."""
        ratio = self._size / np.ptp(self._box, axis=0)
        places = (points - self._box.min(axis=0)) * ratio + self._low
        return points + self._scale * self._spline.evaluate(places) / ratio

    def min_determinant(self, points: Points) -> float:
        """Return the smallest det J of the motion at points (N, 3), by central differences of 2 mm."""
        columns = [(self(points + step) - self(points - step)) / 2 for step in np.eye(3)]
        return float(np.linalg.det(np.stack(columns, axis=-1)).min())


def plausible_motion(folder: Path, motion: str, points: Points, scale: float) -> tuple[BoxMotion, float, float]:
    """Return a motion for an anatomy's points that folds nowhere, its smoothing and least det J."""
    table = np.loadtxt(folder / "lung250m" / f"case_{motion}_vxmpp.csv", delimiter=",", skiprows=1)[:, :6]
    if np.ptp(points[:, 0]) < np.ptp(points[:, 2]) * 0.75:  # one lung: the motion of one lung
        table = table[table[:, 0] < np.median(table[:, 0])]
    box = np.quantile(points, (0.0, 1.0), axis=0)
    probes = points[:4000]
    smoothing = SMOOTHING_MM2
    for _ in range(MOST_SMOOTHINGS):
        made = BoxMotion(table[:, :3], table[:, 3:], box, scale, smoothing)
        least = made.min_determinant(probes)
        if least >= LEAST_DETERMINANT:
            break
        smoothing *= 4
    return made, smoothing, least


def anatomy(folder: Path, name: str) -> Anatomy:
    """Return an anatomy by its name, from the cache where it was made before."""
    cache = cache_folder() / f"{name}.npz"
    if not cache.exists():
        kind, which = name.split("_")
        if kind == "phantom":
            found = phantom_anatomy(int(which))
        elif kind == "mirror":
            chest = anatomy(folder, f"chest_{which}")
            found = Anatomy(chest.dense * MIRROR, chest.lines * MIRROR)
        elif kind == "chest":
            found = real_anatomy(*(folder / "chest_ct" / f"{which}{end}.nii.gz" for end in ("", "_lungs")))
        else:
            found = real_anatomy(*(folder / "right_lung" / f"{which}{end}.nii.gz" for end in ("", "_mask")))
        np.savez(cache, dense=found.dense, lines=found.lines)
    stored = np.load(cache)
    return Anatomy(stored["dense"], stored["lines"])


def cache_folder() -> Path:
    folder = Path(tempfile.gettempdir()) / "lcsd-real-motion"
    folder.mkdir(exist_ok=True)
    return folder


def made_case(vessels: Anatomy, move: BoxMotion, kind: str, spoil: str, seed: int) -> tuple[Points, Points, Points]:
    """Return fixed and moving points, spoilt, and the targets of the fixed points."""
    rng = np.random.default_rng(seed)
    count = KINDS[kind]
    pool = vessels.dense if kind == "voxels" else vessels.lines
    order = rng.permutation(len(pool))
    halves = [pool[order[: len(pool) // 2]], pool[order[len(pool) // 2 :]]]
    at = rng.integers(2)  # the side that is spoilt
    if spoil.startswith("missing"):
        gone = missing_subtrees(vessels.lines, float(spoil.split()[1]) / 100, rng)
        halves[at] = halves[at][~gone[cKDTree(vessels.lines).query(halves[at])[1]]]
    counts = [count, count]
    if spoil == "2:1":
        counts[at] //= 2
    fixed, moving = (part[:most] for part, most in zip(halves, counts, strict=True))
    moving = move(moving) + rng.normal(scale=JITTER_MM, size=moving.shape)
    fixed = fixed + rng.normal(scale=JITTER_MM, size=fixed.shape)
    return fixed, moving, move(fixed)


def real_cases(folder: Path, half: str, *, kinds: tuple[str, ...] = tuple(KINDS)) -> Iterator[RealCase]:
    """Yield the cases of one half of the motions; made ones stay in a temporary folder."""
    for number, motion in enumerate(HALVES[half]):
        phantom, chest, lung = ANATOMIES[half]
        for rank, place in enumerate((phantom, (chest, chest, lung)[number % 3])):
            spoil = SPOILS[(number + rank) % 3]
            for scale in SCALES:
                for kind in kinds:
                    yield real_case(folder, motion, scale, place, kind, spoil)


def real_case(folder: Path, motion: str, scale: float, place: str, kind: str, spoil: str) -> RealCase:
    """Return one case, made or from the temporary folder."""
    name = f"{motion} x{scale:g} {place} {kind} {spoil}"
    cache = cache_folder() / (name.replace(" ", "-").replace("%", "").replace(":", "") + ".npz")
    if not cache.exists():
        vessels = anatomy(folder, place)
        move, smoothing, least = plausible_motion(folder, motion, vessels.lines, scale)
        fixed, moving, targets = made_case(vessels, move, kind, spoil, zlib.crc32(name.encode()))
        np.savez(cache, fixed=fixed, moving=moving, targets=targets, made=[smoothing, least])
    stored = np.load(cache)
    return RealCase(name, stored["fixed"], stored["moving"], stored["targets"], *stored["made"].tolist())


def score(case: RealCase, settings: RegisterSettings) -> dict[str, object]:
    """Register a case and return its figures at random fixed points."""
    began = time.perf_counter()
    found = register_clouds(case.fixed, case.moving, settings=settings)
    took = time.perf_counter() - began
    rows = np.random.default_rng(0).permutation(len(case.fixed))[:SCORED_POINTS]
    off = np.linalg.norm((found.moved_points - case.targets)[rows], axis=1)
    return {
        "case": case.name,
        "before_mm": float(np.linalg.norm((case.fixed - case.targets)[rows], axis=1).mean()),
        "mean_mm": float(off.mean()),
        "median_mm": float(np.median(off)),
        "p95_mm": float(np.percentile(off, 95)),
        "max_mm": float(off.max()),
        "off_percent": float(100 * (off > OFF_MM).mean()),
        "folding_percent": found.folding_percent,
        "min_determinant": case.min_determinant,
        "spline_smoothing_mm2": case.smoothing,
        "iterations": found.iterations,
        "seconds": took,
    }


def summaries(rows: list[dict[str, object]]) -> Iterator[dict[str, object]]:
    """Yield the mean over the cases of each kind and scale, with the worst mean."""
    for kind in KINDS:
        for scale in SCALES:
            part = [row for row in rows if f"x{scale:g} " in str(row["case"]) and kind in str(row["case"])]
            if part:
                keys = [key for key in part[0] if key != "case"]
                means = {key: float(np.mean([float(str(row[key])) for row in part])) for key in keys}
                worst = max(float(str(row["mean_mm"])) for row in part)
                yield {"case": f"mean x{scale:g} {kind}", **means, "worst_mean_mm": worst}


def show(row: dict[str, object]) -> None:
    cells = [f"{float(str(row[key])):7.2f}" for key in ("before_mm", "mean_mm", "median_mm", "p95_mm", "max_mm")]
    worst = f"  worst {row['worst_mean_mm']:.2f}" if "worst_mean_mm" in row else ""
    print(f"{row['case']:44}", *cells, f"{row['off_percent']:6.2f} % {row['seconds']:6.1f} s{worst}", flush=True)


def data_folder() -> Path:
    """Return the folder of real data, or end with the reason why there is none."""
    name = os.environ.get(DATA_VARIABLE)
    if name is None or not (Path(name) / "lung250m").is_dir():
        sys.exit(f"skipped: no real data; set {DATA_VARIABLE} to the folder that holds lung250m, chest_ct, right_lung")
    return Path(name)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("half", choices=HALVES)
    made.add_argument("--kind", choices=KINDS, help="only voxel clouds or only centre lines")
    made.add_argument("--fast", action="store_true", help="register with effort fast")
    arguments = made.parse_args()
    settings = RegisterSettings(effort="fast" if arguments.fast else "accurate")
    kinds = (arguments.kind,) if arguments.kind else tuple(KINDS)
    print(f"{'case':44}  before    mean  median     p95     max  > 5 mm")
    rows = []
    for case in real_cases(data_folder(), arguments.half, kinds=kinds):
        rows.append(score(case, settings))
        show(rows[-1])
    means = list(summaries(rows))
    for row in means:
        show(row)
    write_rows(f"divroc/real_motion_{arguments.half}" + ("_fast" if arguments.fast else ""), rows)


if __name__ == "__main__":
    main()
