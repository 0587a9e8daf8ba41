"""A small made-up index, the command run on it, and its tables read back."""

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner, Result

from lcsd.cli.main import main

Row = dict[str, Any]


TABLES = ("candidates.tsv", "rejected.tsv", "funnel.tsv", "kernels.tsv", "funnel.png")


def series(uid: str, patient: str, description: str | None, **changed: object) -> Row:
    row: Row = {
        "collection_id": "nlst",
        "PatientID": patient,
        "SeriesInstanceUID": uid,
        "StudyDate": "1999-01-02",
        "Modality": "CT",
        "Manufacturer": "Philips",
        "SeriesDescription": description,
        "instanceCount": 150,
        "series_size_MB": 80.0,
        "series_aws_url": f"s3://bucket/{uid}/*",
        "analysis_result_id": None,
        "StudyInstanceUID": f"study.{uid}",
        "SeriesNumber": "2",
    }
    return {**row, **changed}


def write_index(path: Path, rows: list[Row]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["cohort", "--threads", "2", *map(str, arguments)])


def made(out: Path, *arguments: object) -> Path:
    result = run("--out-dir", out, *arguments)
    assert result.exit_code == 0, result.output
    return out


def sampled(out: Path) -> dict[str, str]:
    rows = read(out / "candidates.tsv")
    return {row["patient_id"]: row["sampled"] for row in rows if row["sampled"]}


def pair_rows() -> list[Row]:
    text = "{},OPA,GE,X,STANDARD,300,2.5,120,60,40,1"
    return [series(f"1.{p}.{t}", f"p{p}", text.format(t)) for p in (1, 2, 3) for t in (0, 1)]
