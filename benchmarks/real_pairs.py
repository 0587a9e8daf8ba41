"""Gates of whole pairs: chest CTs moved by real motions must pass, scans of two people must never be published.

Run: python -m benchmarks.real_pairs OUT [--pair NAME ...]

Writes a manifest for ``snakemake`` and, once the build has finished, prints what its gates said and the errors at
random lung points. The folder of real data is named by the environment variable LCSD_REAL_DATA.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from benchmarks.divroc.real_motion import BoxMotion, data_folder, plausible_motion
from lcsd.build.inventory import Inventory
from lcsd.geometry import Grid
from lcsd.io.fields import read_field
from lcsd.io.files import write_table
from lcsd.io.images import Image, read_image, read_mask, read_rigid, resample, write_image
from lcsd.io.points import PointPairs, read_point_pairs, write_point_pairs

Points = NDArray[np.float64]

NOISE_HU = 30.0
AIR_HU = -1024
MOTION_MM = 8.0
"""Spacing at which a spline is evaluated; between, the motion is interpolated by cubic splines."""

INVERSION_STEPS = 60
INVERSION_MM = 0.02
MOVED_SPACING_MM = (1.1, 1.1, 2.0)
TRUTH_POINTS = 3_000
CHUNK = 2_000_000


@dataclass(frozen=True)
class Pair:
    """A baseline, and as follow-up itself moved by a real motion, or another person's scan."""

    fixed: str
    moving: str
    motion: str = ""
    scale: float = 0.0


PAIRS = {
    "a_109_x1": Pair("a", "a", "109", 1.0),
    "a_109_x1-5": Pair("a", "a", "109", 1.5),
    "a_094_x1": Pair("a", "a", "094", 1.0),
    "b_111_x1-5": Pair("b", "b", "111", 1.5),
    "a_with_b": Pair("a", "b"),
    "b_with_a": Pair("b", "a"),
}


class Motion:
    """A motion sampled on a grid, evaluated by cubic interpolation, with its inverse."""

    def __init__(self, move: BoxMotion | Callable[[Points], Points], box: Points) -> None:
        self._low = box.min(axis=0)
        counts = np.ceil(np.ptp(box, axis=0) / MOTION_MM).astype(int) + 1
        places = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), axis=-1) * MOTION_MM + self._low
        flat = places.reshape(-1, 3)
        self._values = (move(flat) - flat).T.reshape(3, *counts)

    def __call__(self, points: Points) -> Points:
        """Return where points (N, 3) move."""
        at = ((points - self._low) / MOTION_MM).T
        shifts = [map_coordinates(v, at, order=3, mode="nearest") for v in self._values]
        return np.asarray(points + np.stack(shifts, axis=-1))

    def inverse(self, points: Points) -> Points:
        """Return what moves to points (N, 3), by a damped fixed point."""
        found = points.copy()
        for _ in range(INVERSION_STEPS):
            off = points - self(found)
            found += 0.7 * off
            if np.abs(off).max() < INVERSION_MM:
                break
        return found


def coarse_scan(scan: Image, spacing_mm: float) -> Image:
    """Return a scan (HU) with larger voxels, each the mean of its surroundings."""
    soft = gaussian_filter(scan.array.astype(np.float32), [0.4 * spacing_mm / step for step in scan.grid.spacing[::-1]])
    return resample(Image(soft, scan.grid), Grid.covering(scan.grid, spacing_mm), outside=AIR_HU)


def moved_scan(
    scan: Image, inverse: Callable[[Points], Points], spacing_mm: tuple[float, float, float] = MOVED_SPACING_MM
) -> Image:
    """Return a scan (HU) as the motion of this inverse leaves it, on another grid and with other noise."""
    extent = np.asarray(scan.grid.spacing) * np.asarray(scan.grid.size)
    x, y, z = (int(n) for n in np.floor(extent / spacing_mm))
    size = (x, y, z)
    left, front, foot = scan.grid.origin
    grid = Grid(size=size, spacing=spacing_mm, origin=(left + 0.4, front - 0.3, foot + 0.7))
    voxels = np.stack(np.unravel_index(np.arange(int(np.prod(size))), size[::-1]), axis=-1)[:, ::-1]
    values = np.empty(len(voxels), np.float32)
    for first in range(0, len(voxels), CHUNK):
        part = slice(first, first + CHUNK)
        back = inverse(grid.voxel_to_world(voxels[part].astype(np.float64)))
        at = scan.grid.world_to_voxel(back)[:, ::-1].T
        values[part] = map_coordinates(scan.array, at, output=np.float32, order=1, mode="constant", cval=AIR_HU)
    noise = np.random.default_rng(0).normal(scale=NOISE_HU, size=len(values))
    array = np.clip(np.rint(values + noise), AIR_HU, None).reshape(size[::-1])
    return Image(array.astype(np.float32), grid)


def write_pair(folder: Path, name: str, data: Path, *, coarse_mm: float | None = None) -> dict[str, str]:
    """Write the follow-up and exact landmarks of a pair, and return its row of the manifest.

    With ``coarse_mm`` the baseline, too, with voxels of this edge; those of the follow-up are a tenth larger.
    """
    pair = PAIRS[name]
    source = data / "chest_ct" / f"{pair.fixed}.nii.gz"
    if coarse_mm is not None:
        whole, source = source, folder / f"{pair.fixed}.nii.gz"
        folder.mkdir(parents=True, exist_ok=True)
        write_image(source, coarse_scan(read_image(whole), coarse_mm), dtype=np.int16)
    row = {"case": name, "patient_id": name, "role": "train", "fixed_source": str(source)}
    row |= {"fixed_time": "T0", "moving_time": "T1"}
    if not pair.motion:
        return row | {"moving_source": str(data / "chest_ct" / f"{pair.moving}.nii.gz")}
    own = folder / name
    row |= {"moving_source": str(own / "moving.nii.gz"), "role": "test"}
    row |= {"landmarks": str(own / "truth.csv"), "landmarks_frame": "native"}
    if (own / "truth.csv").exists():
        return row
    scan, lungs = read_image(source), read_mask(data / "chest_ct" / f"{pair.fixed}_lungs.nii.gz")
    inside = lungs.grid.voxel_to_world(np.argwhere(lungs.array)[:, ::-1].astype(np.float64))
    inside = np.random.default_rng(1).permutation(inside)
    move, _, least = plausible_motion(data, pair.motion, inside[:20_000], pair.scale)
    corners = scan.grid.voxel_to_world(np.array([np.zeros(3), np.asarray(scan.grid.size) - 1.0]))
    motion = Motion(move, np.array([corners.min(axis=0) - 40.0, corners.max(axis=0) + 40.0]))
    own.mkdir(parents=True, exist_ok=True)
    if coarse_mm is None:
        moved = moved_scan(scan, motion.inverse)
    else:  # the inverse is sampled like the motion
        moved = moved_scan(scan, Motion(motion.inverse, corners), (1.1 * coarse_mm,) * 3)
    write_image(own / "moving.nii.gz", moved, dtype=np.int16)
    points = inside[:TRUTH_POINTS]
    write_point_pairs(own / "truth.csv", PointPairs(points, motion(points)))
    print(f"{name}: mean motion {np.linalg.norm(motion(points) - points, axis=1).mean():.1f} mm, det J {least:.2f}")
    return row


def show(results: Path, folder: Path, name: str) -> None:
    """Print the state of a case, its gates that are not passed, and the errors of its fields."""
    state = Inventory(results, provenance=False).state(name)
    print(f"{name}: {state.status} {state.left_out or ''}")
    for gate in (*state.failed_gates, *state.flagged_gates):
        print(f"  {'flagged' if gate.passed else 'failed'} {gate.name} of {gate.of}: {gate.value:.4g}")
    if PAIRS[name].motion and state.files.field("divroc").exists():
        truth = read_point_pairs(folder / name / "truth.csv")
        target = read_rigid(state.files.rigid).inverse().apply(truth.moving)
        for method in ("corrfield", "divroc"):
            moved = truth.fixed + read_field(state.files.field(method)).at(truth.fixed)
            error = np.linalg.norm(moved - target, axis=1)
            print(f"  {method}: mean {error.mean():.2f} mm, 95 % {np.percentile(error, 95):.2f} mm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pair", choices=PAIRS, action="append")
    given = parser.parse_args()
    folder = given.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    data = data_folder()
    rows = [write_pair(folder, name, data) for name in given.pair or PAIRS]
    columns = tuple(dict.fromkeys(key for row in rows for key in row))
    write_table(folder / "pairs.tsv", columns, rows)
    print(f"snakemake --config manifest={folder}/pairs.tsv results={folder}/results")
    for row in rows:
        if (folder / "results" / "cases" / row["case"]).exists():
            show(folder / "results", folder, row["case"])


if __name__ == "__main__":
    main()
