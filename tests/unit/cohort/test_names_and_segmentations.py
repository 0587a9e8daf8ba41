"""Case names of candidates, and the published segmentation of each series."""

import hashlib
import re
from pathlib import Path

import pytest

from lcsd.cohort import sample
from tests.unit.cohort.made_up import Row, made, pair_rows, read, run, series, write_index

RESULT = "totalsegmentator_ct_segmentations"


def segmentation(uid: str, of: Row, number: str = "2", **changed: object) -> Row:
    text = f"TotalSegmentator(v1.5.6) Segmentation of Series {number}"
    row = series(uid, of["PatientID"], text, Modality="SEG", analysis_result_id=RESULT)
    return {**row, "SeriesNumber": "200", "StudyInstanceUID": of["StudyInstanceUID"], **changed}


def found(tmp_path: Path, rows: list[Row], *arguments: object) -> dict[str, tuple[str, str]]:
    index = write_index(tmp_path / "i.parquet", rows)
    out = made(tmp_path / "o", "--set", f"index={index}", *arguments)
    return {
        row["patient_id"]: (row["fixed_segmentation"], row["moving_segmentation"])
        for row in read(out / "candidates.tsv")
    }


def test_case_names_follow_the_series_and_nothing_else(tmp_path: Path) -> None:
    index = write_index(tmp_path / "i.parquet", pair_rows())
    tables = [
        read(made(tmp_path / str(seed), "--set", f"index={index}", "--seed", seed, *more) / "candidates.tsv")
        for seed, more in ((0, ()), (7, ("--set", "train=1", "--series-file", listed(tmp_path))))
    ]
    names = [{row["patient_id"]: row["case"] for row in table} for table in tables]
    assert names[0].items() >= names[1].items()
    for row in tables[0]:
        text = f"{row['fixed_series']} {row['moving_series']}"
        assert row["case"] == "nlst_" + hashlib.sha256(text.encode()).hexdigest()[:10]
        assert row["patient_id"] not in row["case"]
    assert len(set(names[0].values())) == 3


def listed(folder: Path) -> Path:
    path = folder / "series.txt"
    path.write_text("1.2.0\n1.2.1\n1.3.0\n1.3.1\n")
    return path


def test_two_pairs_with_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = write_index(tmp_path / "i.parquet", pair_rows())
    monkeypatch.setattr(sample, "CASE_DIGITS", 0)
    result = run("--out-dir", tmp_path / "o", "--set", f"index={index}")
    assert result.exit_code == 2
    assert "[case_collision]" in result.stderr
    assert not re.search(r"\bp[123]\b", result.stderr)  # the patients' identifiers
    assert not (tmp_path / "o").exists()


def test_segmentation_of_that_very_series_is_found(tmp_path: Path) -> None:
    rows = pair_rows()
    first, second, third, fourth, fifth, sixth = rows
    rows += [
        segmentation("8.1", first),
        # Another series of the study, another study, another kind of result, another modality.
        segmentation("8.2", second, number="22"),
        segmentation("8.3", third, StudyInstanceUID="elsewhere"),
        segmentation("8.4", fourth, analysis_result_id="other"),
        segmentation("8.5", fifth, Modality="SR"),
        segmentation("8.6", sixth, SeriesDescription="a segmentation of Series 2"),
    ]
    assert found(tmp_path, rows) == {"p1": ("8.1", ""), "p2": ("", ""), "p3": ("", "")}


def test_newest_of_several_by_number_of_version(tmp_path: Path) -> None:
    rows = pair_rows()
    text = "totalsegmentator {} segmentation of series 02 "
    for uid, version in (("8.1", "(v1.5.6)"), ("8.2", "(2.10.0rc1)"), ("8.3", "(v2.9.1)"), ("8.4", "()"), ("8.7", "")):
        rows.append(segmentation(uid, rows[0], SeriesDescription=text.format(version)))
    rows += [segmentation("8.6", rows[1]), segmentation("8.5", rows[1])]
    assert found(tmp_path, rows)["p1"] == ("8.2", "8.6")
    assert found(tmp_path, rows[::-1])["p1"] == ("8.2", "8.6")


@pytest.mark.slow
def test_number_that_two_scans_share_names_neither(tmp_path: Path) -> None:
    rows = pair_rows()
    text = "0,{},GE,X,BONE,300,2.5,120,60,40,1"
    study = {"StudyInstanceUID": rows[0]["StudyInstanceUID"]}
    rows.append(segmentation("8.1", rows[0]))
    localizer = series("7.1", "p1", text.format("OPL"), instanceCount=2, **study)
    assert found(tmp_path, [*rows, localizer])["p1"] == ("8.1", "")
    twin = series("7.2", "p1", text.format("OPA"), **study)
    assert found(tmp_path, [*rows, twin])["p1"] == ("", "")
    # A list of one's own does not hide the other series.
    only = ("--series", "1.1.0", "--series", "1.1.1")
    assert found(tmp_path, [*rows, twin], *only)["p1"] == ("", "")
    assert found(tmp_path, [*rows, {**twin, "SeriesNumber": "3"}])["p1"] == ("8.1", "")


@pytest.mark.slow
def test_patients_without_segmentations_can_be_refused(tmp_path: Path) -> None:
    rows = pair_rows()
    rows += [segmentation(f"8.{n}", rows[n]) for n in (0, 1, 2)]
    want = ("--set", "published_segmentation=require")
    assert found(tmp_path, rows, *want) == {"p1": ("8.0", "8.1")}
    reasons = {row["patient_id"]: row for row in read(tmp_path / "o" / "rejected.tsv")}
    assert {row["reason"] for row in reasons.values()} == {"no_published_segmentation"}
    assert (reasons["p2"]["time_points"], reasons["p3"]["time_points"]) == ("T1", "T0,T1")
    funnel = {row["step"]: row["patients"] for row in read(tmp_path / "o" / "funnel.tsv")}
    assert funnel["published_segmentation"] == "1"
