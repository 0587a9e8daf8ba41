"""``lcsd select RESULTS --test``: gates before ranks, rejections, unfinished cases."""

import json
from pathlib import Path

import numpy as np
import pytest

from lcsd.io.files import write_json, write_table
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.selection.select import MANIFEST_COLUMNS
from tests.unit.selection.made_up import read, select

FIGURES = {"keypoints": 1000, "kept": 800, "inconsistency_median_mm": 0.5}
FEW = ("--set", "min_correspondences=50", "--set", "test_count=2")


def finish(results: Path, case: str, length_mm: float, count: int = 60, **changed: object) -> None:
    """Correspondences whose median length is ``length_mm``; their mean is another."""
    folder = results / "cases" / case / "correspondences"
    rng = np.random.default_rng(count)
    fixed = rng.uniform(0, 100, (count, 3))
    lengths = np.full(count, length_mm)
    lengths[: count // 3] = 500.0
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    write_point_pairs(folder / "correspondences.csv", PointPairs(fixed, fixed + lengths[:, None] * direction))
    early = {**FIGURES, "kept": 0}
    figures = {"count": count, "stage_1": early, "stage_2": {**FIGURES, **changed}}
    write_json(folder / "correspondences.json", figures)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    results = tmp_path / "r"
    roles = dict.fromkeys("abcdefghi", "test_pool") | {"z": "train"}
    rows = [
        {"case": case, "role": role, "fixed_source": "1.2.3.1", "moving_source": "1.2.3.2"}
        for case, role in roles.items()
    ]
    write_table(results / "cohort" / "pairs.tsv", MANIFEST_COLUMNS, rows)
    finish(results, "a", 5.0)
    finish(results, "b", 9.0)
    finish(results, "c", 9.0)
    finish(results, "d", 12.0)
    # Failures that look like the largest motion.
    finish(results, "e", 90.0, count=20)
    finish(results, "f", 91.0, kept=100)
    finish(results, "g", 92.0, inconsistency_median_mm=11.0)
    finish(results, "h", 93.0)
    # One that failed after its correspondences, one before.
    write_json(results / "cases" / "h" / "rejected.json", {"stage": "vessels", "code": "too_few"})
    write_json(results / "cases" / "i" / "rejected.json", {"stage": "lungs", "code": "no_lung"})
    return results


def test_gates_come_before_ranks(build: Path) -> None:
    result = select(build, "--test", *FEW, "--json")
    assert result.exit_code == 0, result.output
    rows = read(build / "cohort" / "test.tsv")
    assert [(r["rank"], r["case"], r["verdict"], r["code"]) for r in rows] == [
        ("1", "d", "selected", ""),
        ("2", "b", "selected", ""),
        ("3", "c", "spare", ""),
        ("4", "a", "spare", ""),
        ("", "e", "discarded", "gate_correspondences"),
        ("", "f", "discarded", "gate_kept_share"),
        ("", "g", "discarded", "gate_inconsistency_median_mm"),
        ("", "h", "rejected", "too_few"),
        ("", "i", "rejected", "no_lung"),
    ]
    assert [float(r["median_displacement_mm"]) for r in rows[:4]] == pytest.approx([12, 9, 9, 5], abs=1e-3)
    assert float(rows[5]["kept_share"]) == 0.1
    assert json.loads(result.stdout)["selected"] == 2
    before = (build / "cohort" / "test.tsv").read_bytes()
    select(build, "--test", *FEW)
    assert (build / "cohort" / "test.tsv").read_bytes() == before


def test_limits_can_be_off_and_too_few_is_a_warning(build: Path) -> None:
    off = [
        part
        for name in ("min_correspondences", "min_kept", "max_inconsistency_mm")
        for part in ("--set", f"{name}=null")
    ]
    result = select(build, "--test", *off)
    assert "7 of 15" in result.stderr
    assert read(build / "cohort" / "test.tsv")[0]["case"] == "g"


def test_unfinished_case_stops_the_selection(build: Path) -> None:
    (build / "cases" / "b" / "correspondences" / "correspondences.json").unlink()
    result = select(build, "--test", *FEW)
    assert result.exit_code == 1
    assert "[unfinished_cases]" in result.stderr
    assert "found b;" in result.stderr
    assert not (build / "cohort" / "test.tsv").exists()
    assert select(build, "--test", *FEW, "--set", "exclude=[b]").exit_code == 0
    assert "b" not in {row["case"] for row in read(build / "cohort" / "test.tsv")}


def test_broken_files_are_named(build: Path) -> None:
    path = build / "cases" / "b" / "correspondences" / "correspondences.json"
    for content in ({"count": 3}, {"stage_1": {"keypoints": 3}}):
        write_json(path, content)
        result = select(build, "--test", *FEW)
        assert result.exit_code == 2
        assert "[bad_figures]" in result.stderr
    (build / "cases" / "i" / "rejected.json").write_text("")
    finish(build, "b", 9.0)
    select(build, "--test", *FEW)
    assert read(build / "cohort" / "test.tsv")[-1]["code"] == "unreadable_rejection"
    rows = [{"case": "z", "role": "train", "fixed_source": "a", "moving_source": "b"}]
    write_table(build / "cohort" / "pairs.tsv", MANIFEST_COLUMNS, rows)
    assert "[empty_table]" in select(build, "--test").stderr


def test_another_manifest_can_be_named(build: Path) -> None:
    own = build / "own.tsv"
    (build / "cohort" / "pairs.tsv").rename(own)
    assert "[missing_file]" in select(build, "--test", *FEW).stderr
    assert select(build, "--test", "--manifest", own, *FEW).exit_code == 0
    rows = read(build / "cohort" / "test.tsv")
    assert {row["case"] for row in rows if row["verdict"] == "selected"} == {"b", "d"}
    assert "[bad_option]" in select(build, "--manifest", own, "--candidates", own).stderr
