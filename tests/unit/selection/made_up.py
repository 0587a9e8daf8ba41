"""A build with made-up candidates, screenings and correspondences."""

import csv
import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from lcsd.build.candidates import COLUMNS
from lcsd.cli.main import main
from lcsd.io.files import write_table

PLAUSIBLE = (("lungs", 2), ("balance", 0.9), ("border_cm2", 0.0))


def write_candidates(results: Path, roles: dict[str, str]) -> Path:
    path = results / "cohort" / "candidates.tsv"
    rows = [
        {
            "case": case,
            "patient_id": f"10{number}",
            "sampled": role,
            "fixed_time": "T0",
            "moving_time": "T1",
            "fixed_series": f"1.2.{number}.0",
            "moving_series": f"1.2.{number}.1",
            "fixed_segmentation": "",
            "moving_segmentation": f"1.2.{number}.2",
        }
        for number, (case, role) in enumerate(roles.items())
    ]
    write_table(path, COLUMNS, rows)
    return path


def write_screening(results: Path, case: str, dice: float | None, **changed: Any) -> None:
    record = {
        "verdict": "accepted",
        "dice": dice,
        "fixed_volume_l": 5.0,
        "moving_volume_l": 4.5,
        "volume_ratio": 0.9,
        "balance_change": 0.9,
        "shared_view": 1.0,
        "code": None,
        **{f"{scan}_{name}": value for scan in ("fixed", "moving") for name, value in PLAUSIBLE},
        **changed,
    }
    path = results / "cohort" / "screening" / f"{case}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def broken(results: Path, case: str, code: str) -> None:
    """A candidate with a broken scan: a verdict without figures."""
    path = results / "cohort" / "screening" / f"{case}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"verdict": "rejected", "code": code, "gates": []}))


def one_lung_lost(results: Path, case: str) -> None:
    """A failed mask, which overlaps least of all."""
    write_screening(results, case, 0.7, fixed_lungs=1, verdict="discarded", code="gate_lungs")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def select(results: Path, *arguments: object) -> Result:
    return CliRunner().invoke(main, ["select", str(results), *map(str, arguments)])
