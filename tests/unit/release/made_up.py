"""A made-up build: every file that a release reads, written by the project's own writers."""

import csv
import hashlib
from pathlib import Path

import numpy as np

from lcsd.build.provenance import Recorder
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.files import read_json, write_json, write_table, written_files
from lcsd.io.images import Image, read_image, write_image, write_mask, write_rigid
from lcsd.io.points import Cloud, PointPairs, write_cloud, write_point_pairs
from lcsd.settings.release import ReleaseSettings

SIZE = (24, 20, 22)
SPACING_MM = 3.0
RIGID = RigidTransform(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([5.0, -7.0, 11.0]))
"""A quarter turn about z and a shift: nothing maps to itself."""

UIDS = {("a1", "fixed"): "1.2.826.0.1.3680043.8.498.100", ("a1", "moving"): "1.2.826.0.1.3680043.8.498.101"}
PATIENTS = {"a1": "NLST204816", "b2": "731502", "c3": "PatC-0003", "bad": "PatD-0004"}
ROLES = {"a1": "train", "b2": "train", "c3": "test", "bad": "train"}
LANDMARKS = 7
LIMIT = 440077
"""A setting of the vessels."""

QUICK = ReleaseSettings(viewer=False, archive=False)
"""Leaves out what takes longest."""


def grid_of(case: str) -> Grid:
    """Return the common grid of a case; each has an origin of its own."""
    origin = (10.0 + 3 * ord(case[0]), -20.0, 30.5)
    return Grid(SIZE, (SPACING_MM,) * 3, origin)


def source_of(case: str, scan: str) -> str:
    return UIDS.get((case, scan), f"scans/{PATIENTS[case]}/{scan}_2019.nii.gz")


def write_pairs_table(folder: Path, cases: tuple[str, ...]) -> Path:
    """Write the manifest; c3 has landmarks in the follow-up's native frame."""
    columns = (
        "case",
        "patient_id",
        "role",
        "fixed_source",
        "moving_source",
        "fixed_time",
        "moving_time",
        "landmarks",
        "landmarks_frame",
    )
    rows = [
        {
            "case": case,
            "patient_id": PATIENTS[case],
            "role": ROLES[case],
            "fixed_source": source_of(case, "fixed"),
            "moving_source": source_of(case, "moving"),
            "fixed_time": "T0",
            "moving_time": "T1",
            "landmarks": "marks/c3.csv" if case == "c3" else "",
            "landmarks_frame": "native" if case == "c3" else "",
        }
        for case in cases
    ]
    write_table(folder / "pairs.tsv", columns, rows)
    return folder / "pairs.tsv"


def landmarks_of(case: str) -> PointPairs:
    """Return landmarks in common space."""
    rng = np.random.default_rng(5)
    fixed = rng.uniform(0, 50, (LANDMARKS, 3)) + grid_of(case).origin
    return PointPairs(fixed, fixed + np.array([1.5, -2.0, 3.0]), tuple(f"lm{i}" for i in range(LANDMARKS)))


def write_scan(folder: Path, case: str, scan: str) -> None:
    grid = grid_of(case)
    rng = np.random.default_rng([ord(case[0]), scan == "moving"])
    vessels = rng.random(grid.shape) < 0.02
    write_mask(folder / "vessels" / f"{scan}.nii.gz", Image(vessels, grid))
    lungs = np.zeros(grid.shape, bool)
    lungs[2:-2, 2:-2, 2:-2] = True
    write_mask(folder / "images" / f"{scan}_mask.nii.gz", Image(lungs, grid))
    hu = rng.integers(-1000, 400, grid.shape).astype(np.int16)
    write_image(folder / "images" / f"{scan}.nii.gz", Image(hu, grid), dtype=np.int16)
    points = grid.voxel_to_world(np.argwhere(vessels)[:, ::-1].astype(float)).astype(np.float32)
    radius = rng.uniform(1, 4, len(points)).astype(np.float32)
    meta = {"case": case, "patient": PATIENTS[case], "settings": {"path": source_of(case, scan)}}
    write_cloud(folder / "clouds" / f"{scan}_dense.npz", Cloud(points, radius=radius, meta=meta))
    index = np.sort(rng.choice(len(points), len(points) // 4, replace=False))
    sparse = Cloud(points[index], index=index, radius=radius[index], meta=meta)
    write_cloud(folder / "clouds" / f"{scan}_keypoints.npz", sparse)


def write_case_files(results: Path, case: str) -> Path:
    """Write a finished case with the provenance of its stages."""
    folder = results / "cases" / case
    grid = grid_of(case)
    settings = {"threads": 1, "backend": "objectness", "weights": "/opt/secret/weights"}
    settings |= {"limits": {"most": LIMIT}}
    with written_files() as written:
        recorder = Recorder("vessels", settings, written=written)
        for scan in ("fixed", "moving"):
            write_scan(folder, case, scan)
        write_rigid(folder / "images" / "rigid.tfm", RIGID)
        report = {"dice_centred": 0.7, "dice_aligned": 0.8, "rotation_deg": 90.0}
        write_json(folder / "images" / "prealign.json", report)
        gates = [{"name": "inside", "of": "fixed", "value": 0.9, "passed": True, "flagged": False}]
        write_json(folder / "gates.json", {"gates": gates})
        recorder.write(folder / "vessels" / "fixed.nii.gz", inputs={"image": folder / "images" / "fixed.nii.gz"})
    with written_files() as written:
        recorder = Recorder("correspond", {"alpha": 2.5}, written=written)
        rng = np.random.default_rng(ord(case[0]))
        fixed = rng.uniform(5, 55, (40, 3)) + grid.origin
        moved = PointPairs(fixed, fixed + rng.normal(0, 3, fixed.shape), weight=np.full(40, 0.5))
        output = folder / "correspondences" / "correspondences.csv"
        write_point_pairs(output, moved)
        recorder.write(output, inputs={"fixed": folder / "images" / "fixed.nii.gz"})
    return folder


def make_build(folder: Path, cases: tuple[str, ...] = ("a1", "b2", "c3")) -> tuple[Path, Path]:
    """Write a build of some cases; return its results and its manifest."""
    results = folder / "results"
    for case in cases:
        write_case_files(results, case)
    common = landmarks_of("c3")
    native = PointPairs(common.fixed, RIGID.apply(common.moving), common.ids)
    write_point_pairs(folder / "marks" / "c3.csv", native)
    return results, write_pairs_table(folder, cases)


def fail_gate(results: Path, case: str, *names: str) -> None:
    """Let gates discard a case."""
    gates = [{"name": name, "of": "fixed", "value": 0, "passed": False, "flagged": False} for name in names]
    write_json(results / "cases" / case / "gates.json", {"gates": gates})


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def names_of(results: Path) -> dict[str, str]:
    """Return the published names of the cases."""
    return {row["case"]: row["name"] for row in read_rows(results / "cohort" / "names.tsv")}


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file in a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def vessels_again(results: Path, case: str) -> None:
    """Make the vessels anew with other settings; the clouds stay."""
    folder = results / "cases" / case / "vessels"
    record = read_json(folder / "fixed.provenance.json")
    mask = read_image(folder / "fixed.nii.gz")
    write_mask(folder / "fixed.nii.gz", Image(mask.array[::-1] != 0, mask.grid))
    written = [folder / name for name in record["outputs"]]
    recorder = Recorder("vessels", {"backend": "objectness"}, written=written)
    recorder.write(folder / "fixed.nii.gz", inputs={})
