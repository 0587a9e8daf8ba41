"""Mean error and seconds of the methods of rigid pre-alignment, as a Markdown table.

The motion of a lung is not rigid, so no error is below that of the least-squares rigid fit of the truth. The table has
a row for this fit, and a row for the start, the shift between the centres of the lungs.

Run: python -m benchmarks.prealign demo/cohort [--results demo/results] [--right-lung FOLDER]
         [--methods blocks corrfield deeds] [--cases 2]
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lcsd.errors import LcsdError
from lcsd.geometry import RigidTransform, fit_rigid
from lcsd.io.images import Image, read_image, read_mask
from lcsd.io.points import PointPairs, read_point_pairs
from lcsd.names import SCANS
from lcsd.prealign.common import centroid
from lcsd.prealign.prealign import prealign
from lcsd.settings.prealign import PrealignSettings

METHODS = ("blocks", "corrfield", "deeds")


@dataclass(frozen=True)
class Pair:
    """Two scans with lung masks and points of known motion, native LPS mm."""

    name: str
    fixed: Image
    moving: Image
    fixed_mask: Image
    moving_mask: Image
    truth: PointPairs


def phantom_pairs(cohort: Path, results: Path | None, count: int) -> Iterator[Pair]:
    """Yield phantom pairs; with the lung masks of a build, if given, or the true masks."""
    for truth in sorted(cohort.glob("*/truth"))[:count]:
        folder = truth.parent
        name = "{}_lungs.nii.gz" if results is None else "{}.nii.gz"
        lungs = truth if results is None else results / "cases" / folder.name / "lungs"
        masks = [lungs / name.format(scan) for scan in SCANS]
        yield read_pair(folder, masks, truth / "points.csv")


def read_pair(folder: Path, masks: list[Path], truth: Path) -> Pair:
    scans = [read_image(folder / f"{scan}.nii.gz") for scan in SCANS]
    return Pair(folder.name, *scans, *[read_mask(path) for path in masks], read_point_pairs(truth))


def mean_mm(rigid: RigidTransform, truth: PointPairs) -> float:
    return float(np.linalg.norm(rigid.apply(truth.fixed) - truth.moving, axis=1).mean())


def measure(pair: Pair, methods: list[str], threads: int) -> None:
    start = RigidTransform(np.eye(3), centroid(pair.moving_mask) - centroid(pair.fixed_mask))
    best = fit_rigid(pair.truth.fixed, pair.truth.moving)
    for name, rigid in (("least-squares fit of the truth", best), ("lungs' middles", start)):
        print(f"| {pair.name} | {name} | {mean_mm(rigid, pair.truth):.2f} | | | |")
    for method in methods:
        begin = time.perf_counter()
        try:
            found = prealign(
                pair.fixed,
                pair.moving,
                fixed_mask=pair.fixed_mask,
                moving_mask=pair.moving_mask,
                settings=PrealignSettings(method=method),
                threads=threads,
            )
        except LcsdError as error:
            print(f"| {pair.name} | {method} | {error.code} | | | |")
            continue
        seconds = time.perf_counter() - begin
        from_best = np.linalg.norm(found.rigid.apply(pair.truth.fixed) - best.apply(pair.truth.fixed), axis=1).mean()
        print(
            f"| {pair.name} | {method} | {mean_mm(found.rigid, pair.truth):.2f} "
            f"| {from_best:.2f} | {found.report['dice_aligned']:.3f} | {seconds:.1f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohorts", type=Path, nargs="*", help="folders of lcsd phantom (NIfTI)")
    parser.add_argument("--results", type=Path, nargs="*", help="a build per cohort, its masks")
    parser.add_argument("--right-lung", type=Path, help="folder of a real pair, its *_mask.nii.gz and truth.csv")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["blocks", "corrfield"])
    parser.add_argument("--cases", type=int, default=None, help="first so many of each cohort")
    parser.add_argument("--threads", type=int, default=2, help="of linearBCV")
    arguments = parser.parse_args()
    builds = arguments.results or [None] * len(arguments.cohorts)
    print("| case | method | mean error, mm | from the best fit, mm | Dice | seconds |")
    print("|---|---|---:|---:|---:|---:|")
    for cohort, build in zip(arguments.cohorts, builds, strict=True):
        for pair in phantom_pairs(cohort, build, arguments.cases):
            measure(pair, arguments.methods, arguments.threads)
    if arguments.right_lung:
        folder = arguments.right_lung
        masks = [folder / f"{scan}_mask.nii.gz" for scan in SCANS]
        measure(read_pair(folder, masks, folder / "truth.csv"), arguments.methods, arguments.threads)


if __name__ == "__main__":
    main()
