"""What provenance tells of a finished build."""

import dataclasses
import json
from pathlib import Path

import pytest

from lcsd.errors import BadInputError
from lcsd.estimate.measures import Job, Measures, read_measures, write_measures
from lcsd.io.files import write_json
from tests.unit.estimate.builds import STAGES, START_S, record, write_case


def test_jobs_of_a_case_hold_both_scans(tmp_path: Path) -> None:
    write_case(tmp_path, "a", landmarks=True)
    (case,) = read_measures(tmp_path).cases
    jobs = {job.stage: job for job in case.jobs if job.stage != "evaluate"}
    assert set(jobs) == set(STAGES)
    assert (jobs["lungs"].wall_s, jobs["lungs"].cpu_s, jobs["lungs"].commands) == (16.0, 8.0, 2)
    assert (jobs["register"].wall_s, jobs["register"].threads) == (10.0, 2)
    # One job for each method.
    assert [job.wall_s for job in case.jobs if job.stage == "evaluate"] == [3.0, 3.0]


def test_files_and_bytes_are_counted(tmp_path: Path) -> None:
    folder = write_case(tmp_path, "a")
    (case,) = read_measures(tmp_path).cases
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert (case.files, case.size_bytes) == (len(files), sum(path.stat().st_size for path in files))


def test_starts_lie_between_the_commands_of_a_job(tmp_path: Path) -> None:
    folder = write_case(tmp_path, "a")
    assert read_measures(tmp_path).starts_s == pytest.approx(START_S)
    # Made again an hour later: no start.
    record(folder / "vessels" / "moving.provenance.json", "vessels", date="2026-11-22T01:00:00+00:00")
    assert read_measures(tmp_path).starts_s == pytest.approx(START_S)


def test_unfinished_and_rejected_cases_are_left_out(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    unfinished = write_case(tmp_path, "b")
    (unfinished / "registration" / "register.provenance.json").unlink()
    aside = write_case(tmp_path, "c")
    (aside / "rejected.json").write_text("{}", encoding="utf-8")
    (tmp_path / "cases" / "d").mkdir()
    found = read_measures(tmp_path)
    assert (len(found.cases), found.left_out) == (1, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"wall_s": "x"},
        {"wall_s": -1.0},
        {"date": "yesterday"},
        {"date": "2026-11-22T00:00:00"},
        {"settings": []},
        {"settings": {"threads": 0}},
        {"peak_memory_gib": None},
        {"cpu_s": "much"},
    ],
)
def test_provenance_of_a_wrong_shape_leaves_its_case_out(tmp_path: Path, wrong: dict[str, object]) -> None:
    write_case(tmp_path, "a")
    folder = write_case(tmp_path, "b")
    record(folder / "lungs" / "moving.provenance.json", "lungs", **wrong)
    found = read_measures(tmp_path)
    assert (len(found.cases), found.left_out) == (1, 1)


def test_provenance_with_other_bytes_leaves_its_case_out(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    path = write_case(tmp_path, "b") / "registration" / "register.provenance.json"
    path.write_text(path.read_text(encoding="utf-8").replace("10.0", "11.0"), encoding="utf-8")
    found = read_measures(tmp_path)
    assert (len(found.cases), found.left_out) == (1, 1)
    record(tmp_path / "cohort" / "screening" / "x.provenance.json", "screen", wall_s="x")
    assert read_measures(tmp_path).screenings == ()


def test_screenings_are_read(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    record(tmp_path / "cohort" / "screening" / "x.provenance.json", "screen", wall_s=21.0)
    assert [job.wall_s for job in read_measures(tmp_path).screenings] == [21.0]


def test_pages_of_the_report_are_told_apart(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    (tmp_path / "report" / "cases").mkdir(parents=True)
    (tmp_path / "report" / "index.html").write_bytes(b"0" * 70)
    for name in ("a.html", "b.html"):
        (tmp_path / "report" / "cases" / name).write_bytes(b"0" * 30)
    found = read_measures(tmp_path)
    assert (found.report_bytes, found.page_bytes) == (70, 30)


def test_seconds_by_the_clock_and_by_the_processor() -> None:
    job = Job("register", 10.0, 8.0, commands=1, threads=2, memory_gib=1.0, gpu=False)
    measures = Measures((), (), None, 0, 0, 0, "", "")
    assert measures.seconds(job, start_s=0.5, basis="wall") == 10.5
    assert measures.seconds(job, start_s=0.5, basis="cpu") == 4.5
    # Never more than by the clock.
    busy = dataclasses.replace(job, cpu_s=30.0)
    assert measures.seconds(busy, start_s=0.0, basis="cpu") == 10.0
    with pytest.raises(BadInputError) as failure:
        measures.seconds(dataclasses.replace(job, cpu_s=None), start_s=0, basis="cpu")
    assert failure.value.code == "no_cpu_time"


def test_a_file_of_figures_says_the_same_and_names_no_case(tmp_path: Path) -> None:
    write_case(tmp_path / "r", "patient-007", landmarks=True)
    found = read_measures(tmp_path / "r")
    write_measures(tmp_path / "m.json", found)
    assert read_measures(tmp_path / "m.json") == found
    assert "007" not in (tmp_path / "m.json").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [{}, {"format": "other"}, {"format": "lcsd measures 1"}])
def test_other_files_are_refused(tmp_path: Path, content: dict[str, str]) -> None:
    write_json(tmp_path / "m.json", content)
    with pytest.raises(BadInputError) as failure:
        read_measures(tmp_path / "m.json")
    assert failure.value.code == "bad_measures"


@pytest.mark.parametrize("wrong", [{"surplus": 1}, {"threads": 0}, {"wall_s": -1}, None])
def test_a_file_with_wrong_cases_is_refused(tmp_path: Path, wrong: dict[str, float] | None) -> None:
    write_case(tmp_path / "r", "a")
    write_measures(tmp_path / "m.json", read_measures(tmp_path / "r"))
    content = json.loads((tmp_path / "m.json").read_text(encoding="utf-8"))
    jobs = content["cases"][0]["jobs"]
    if wrong is None:
        jobs[:] = [job for job in jobs if job["stage"] != "register"]
    else:
        jobs[0] |= wrong
    write_json(tmp_path / "m.json", content)
    with pytest.raises(BadInputError) as failure:
        read_measures(tmp_path / "m.json")
    assert failure.value.code == "bad_measures"


def test_what_is_no_finished_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as failure:
        read_measures(tmp_path / "none")
    assert failure.value.code == "missing_file"
    (tmp_path / "cases").mkdir()
    with pytest.raises(BadInputError) as failure:
        read_measures(tmp_path)
    assert failure.value.code == "no_finished_case"
    assert "make demo" in failure.value.message
