"""``lcsd cohort``: own lists, optional files, dry run, errors."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.unit.cohort.made_up import made, pair_rows, read, run, write_index


@pytest.mark.slow
def test_own_patients_and_series(tmp_path: Path) -> None:
    index = write_index(tmp_path / "i.parquet", pair_rows())
    base = ("--set", f"index={index}")
    listed = tmp_path / "patients.txt"
    listed.write_text("# mine\np1\n\np9\n")
    out = made(tmp_path / "a", *base, "--patients-file", listed, "--patient", "p2")
    assert [r["patient_id"] for r in read(out / "candidates.tsv")] == ["p1", "p2"]
    assert [(r["patient_id"], r["reason"]) for r in read(out / "rejected.tsv")] == [("p9", "not_in_index")]
    out = made(tmp_path / "b", *base, "--series", "1.1.0", "--series", "1.1.1", "--series", "1.2.0")
    assert [r["fixed_series"] for r in read(out / "candidates.tsv")] == ["1.1.0"]
    assert [(r["patient_id"], r["reason"], r["time_points"]) for r in read(out / "rejected.tsv")] == [
        ("p2", "missing_time_point", "T1")
    ]


@pytest.mark.slow
def test_optional_indexes_fill_and_check(tmp_path: Path) -> None:
    rows = pair_rows()
    rows[0]["SeriesDescription"] = "0,OPA,GE,X,unkn,300,na,120,60,40,1"
    index = write_index(tmp_path / "i.parquet", rows)
    uids = [row["SeriesInstanceUID"] for row in rows]
    regular = [True, True, False, True, True, True]
    geometry = write_index(
        tmp_path / "g.parquet",
        [{"SeriesInstanceUID": u, "regularly_spaced_3d_volume": r} for u, r in zip(uids, regular, strict=True)],
    )
    ct = write_index(
        tmp_path / "c.parquet",
        [
            {
                "SeriesInstanceUID": u,
                "ConvolutionKernel": "STANDARD",
                "SliceThickness": 1.25,
                "GantryDetectorTilt": -5.0 if u == "1.3.1" else 0.0,
            }
            for u in uids
        ],
    )
    alone = made(tmp_path / "a", "--set", f"index={index}")
    assert {r["patient_id"]: r["reason"] for r in read(alone / "rejected.tsv")} == {"p1": "thickness_unknown"}
    out = made(
        tmp_path / "b",
        "--set",
        f"index={index}",
        "--set",
        f"volume_geometry_index={geometry}",
        "--set",
        f"ct_index={ct}",
    )
    (kept,) = read(out / "candidates.tsv")
    assert (kept["patient_id"], kept["fixed_kernel"], kept["fixed_thickness_mm"]) == ("p1", "STANDARD", "1.25")
    assert {r["patient_id"]: r["reason"] for r in read(out / "rejected.tsv")} == {
        "p2": "irregular_spacing",
        "p3": "tilted_gantry",
    }
    assert run("--set", f"index={index}", "--dry-run").stderr.count("is not given") == 2


def test_dry_run_prints_size_time_and_price_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write_index(tmp_path / "i.parquet", pair_rows())
    monkeypatch.chdir(tmp_path)
    result = run(
        "--set",
        f"index={index}",
        "--dry-run",
        "--out-dir",
        "o",
        "--json",
        "--set",
        "bandwidth_mbit_s=1",
        "--set",
        "egress_usd_per_gb=0.5",
        "--set",
        "test_pool_share=1.0e-9",
    )
    printed = json.loads(result.stdout)
    assert printed["patients_train"] == 3
    assert printed["download_gb"] == 0.5  # 6 series of 80 MB are 0.48
    assert printed["download_hours"] == 1.1  # 0.48 GB * 8000 Mbit/GB / 3600 s
    assert printed["download_usd"] == 0.24
    assert [path.name for path in tmp_path.iterdir()] == ["i.parquet"]


def test_no_candidate_still_says_why(tmp_path: Path) -> None:
    index = write_index(tmp_path / "i.parquet", pair_rows())
    out = made(tmp_path / "o", "--set", f"index={index}", "--set", "min_slices=1000")
    assert read(out / "candidates.tsv") == []
    assert (out / "candidates.tsv").read_text().startswith("case\tpatient_id\tsampled\t")
    assert {r["reason"] for r in read(out / "rejected.tsv")} == {"too_few_slices"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "index=absent.parquet"], "[missing_file]"),
        (["--set", "index=broken.parquet"], "[bad_index]"),
        (["--set", "index=cut.parquet"], "[bad_index]"),
        (["--set", "index=columns.parquet"], "cohort.index: columns are missing"),
        (["--set", "index=twice.parquet"], "[duplicate_series]"),
        (["--set", "collection=other"], "[empty_table]"),
        (["--set", "ct_index=broken.parquet"], "cohort.ct_index"),
        (["--series", "1.1.0", "--series", "9.9"], "the first 9.9"),
        (["--series", "x"], "--series: not a series identifier"),
        (["--patients-file", "list.txt"], "list.txt: line 2: not a patient identifier"),
        (["--patients-file", "empty.txt"], "[empty_table]"),
        (["--set", "fixed_time=T1"], "must be before moving_time"),
        (["--set", "sharp_kernels={GE: [standard]}"], "is in soft_kernels and in sharp_kernels"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = write_index(tmp_path / "good.parquet", pair_rows()).read_bytes()
    Path("broken.parquet").write_bytes(b"not parquet at all" * 9)
    Path("cut.parquet").write_bytes(content[: len(content) // 2])
    write_index(Path("columns.parquet"), [{"PatientID": "1"}])
    write_index(Path("twice.parquet"), [*pair_rows(), *pair_rows()[:1]])
    Path("list.txt").write_text("p1\np 2\n", encoding="utf-8")
    Path("empty.txt").write_text("# nothing\n", encoding="utf-8")
    result = run("--out-dir", "o", "--set", "index=good.parquet", *arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert expected in result.stderr
    assert not Path("o").exists()
    assert "[missing_option]" in run("--set", "index=good.parquet").stderr


def test_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    result = run("--out-dir", tmp_path / "o")
    assert result.exit_code == 2
    assert "[missing_index]" in result.stderr


def test_texts_of_headers_are_no_formulas(tmp_path: Path) -> None:
    rows = pair_rows()
    for row in rows[:2]:
        row["SeriesDescription"] = row["SeriesDescription"].replace("STANDARD", '=HYPERLINK("x")')
    index = write_index(tmp_path / "i.parquet", rows)
    out = made(tmp_path / "a", "--set", f"index={index}")
    kernels = [row["kernel"] for row in read(out / "kernels.tsv")]
    assert sorted(kernels) == ['\'=HYPERLINK("x")', "STANDARD"]
