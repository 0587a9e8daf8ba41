"""Builds of real lungs for ``benchmarks.field``: a right lung, and a chest CT moved by a motion of real lungs."""

import subprocess
import sys
from pathlib import Path

from benchmarks.real_pairs import write_pair
from lcsd.io.files import write_table

ROOT = Path(__file__).resolve().parents[1]

MOVED = "a_109_x1"
"""The pair of ``benchmarks.real_pairs`` whose registration is compared."""


def right_lung_row(data: Path) -> dict[str, str]:
    """Return the row of a manifest for the right lung, scored at landmarks of experts that moved exactly."""
    source = data / "right_lung"
    row = {"case": "right_lung", "patient_id": "right_lung", "role": "test", "fixed_time": "T0", "moving_time": "T1"}
    row |= {"landmarks": str(source / "landmarks.csv"), "landmarks_frame": "native"}
    for scan in ("fixed", "moving"):
        row |= {f"{scan}_source": str(source / f"{scan}.nii.gz"), f"{scan}_mask": str(source / f"{scan}_mask.nii.gz")}
    return row


def built(folder: Path, row: dict[str, str], *options: str) -> Path:
    """Build one case with the workflow, unless it is finished, and return its results."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "pairs.tsv", tuple(row), [row])
    results = folder / "results"
    command = [sys.executable, "-m", "snakemake", "--cores", "all", *options]
    command += ["--config", f"manifest={folder}/pairs.tsv", f"results={results}"]
    subprocess.run(command, cwd=ROOT, check=True)
    return results


def real_builds(work: Path, data: Path) -> dict[str, Path]:
    """Return the builds of the real data by name, made if they are not there."""
    found = {}
    if (data / "right_lung").is_dir():
        config = str(ROOT / "tests" / "workflow" / "right_lung.yaml")
        found["right lung"] = built(work / "right_lung", right_lung_row(data), "--configfile", config)
    if (data / "chest_ct").is_dir():
        found["moved chest CT"] = built(work / "moved", write_pair(work / "moved", MOVED, data))
    return found
