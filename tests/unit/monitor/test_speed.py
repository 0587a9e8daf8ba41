"""Pace and time left against hand-made builds whose answer is known."""

import datetime
import os
from pathlib import Path

import pytest

from lcsd.build.jobs import Job
from lcsd.io.files import write_json
from lcsd.monitor.speed import Records, Span, medians, pace, rest

ANY = 1_800_000_000.0


def job(stage: str, number: int = 0) -> Job:
    return Job(stage, f"c{number}", (f"{stage}{number}",), (), (f"cases/{stage}{number}.json",))


def spans(stage: str, *times: tuple[float, float]) -> dict[Job, Span]:
    """Jobs of a stage that began and ended then, seconds after a moment."""
    return {job(stage, number): Span(ANY + begin, ANY + end, end - begin) for number, (begin, end) in enumerate(times)}


def test_two_jobs_at_once_take_half_the_time() -> None:
    done = spans("a", (0, 100), (0, 100), (100, 200), (100, 200))
    going = pace(done, [ANY + 100, ANY + 200])
    assert going is not None
    assert (going.at_once, going.busy_h * 3600) == (pytest.approx(2), pytest.approx(200))
    assert going.jobs_per_h["a"] == pytest.approx(4 * 18)
    assert going.cases_per_h == pytest.approx(2 * 18)
    left = rest([job("a", 7), job("a", 8), job("b", 9)], medians(done), going)
    assert (left.work_s, left.eta_s, left.unknown) == (200, pytest.approx(100), {"b": 1})


def test_a_night_in_which_nothing_ran_does_not_count_and_short_gaps_do() -> None:
    going = pace(spans("a", (0, 100), (140, 200), (1800, 1900)), [])
    assert going is not None
    assert going.busy_h * 3600 == pytest.approx(300)
    assert going.at_once == pytest.approx(260 / 300)


def test_only_the_last_hour_counts_and_jobs_that_reach_into_it_in_part() -> None:
    going = pace(spans("a", (-9000, -8000), (-100, 100), (100, 3600)), [ANY - 8000, ANY + 3600])
    assert going is not None
    assert going.busy_h == pytest.approx(1)
    assert going.at_once == pytest.approx(1)
    assert going.jobs_per_h["a"] == pytest.approx(2)
    assert going.cases_per_h == pytest.approx(1)


def test_a_job_within_another_adds_no_busy_time() -> None:
    going = pace(spans("a", (0, 100), (20, 30), (99, 110)), [])
    assert going is not None
    assert going.busy_h * 3600 == pytest.approx(110)


def test_nothing_done_is_no_pace() -> None:
    assert pace({}, []) is None
    assert pace(spans("a", (0, 0)), []) is None
    left = rest([job("a")], {}, None)
    assert (left.work_s, left.eta_s, left.unknown) == (0, None, {"a": 1})


def record(path: Path, seconds: float, at: datetime.datetime) -> None:
    inner = {"wall_s": 9999.0, "date": "2001-01-01T00:00:00+00:00"}
    write_json(path, {"wall_s": seconds, "date": at.isoformat(timespec="seconds"), "facts": inner})


def test_times_of_a_job_are_those_of_its_commands_together(tmp_path: Path) -> None:
    at = datetime.datetime.fromtimestamp(ANY, datetime.UTC)
    both = Job("a", "c", (), (), ("cases/fixed.nii.gz", "cases/moving.nii.gz"))
    reader = Records()
    record(tmp_path / "cases" / "fixed.provenance.json", 10.5, at - datetime.timedelta(seconds=20))
    assert reader.span(tmp_path, both) is None
    record(tmp_path / "cases" / "moving.provenance.json", 1e-05, at)
    assert reader.span(tmp_path, both) == Span(ANY - 10.50001, ANY, 10.50001)
    # Read again only when it has changed.
    path = tmp_path / "cases" / "moving.provenance.json"
    record(path, 4.5, at)
    assert reader.span(tmp_path, both) == Span(ANY - 15, ANY, 15)
    before = path.stat()
    text = path.read_text().replace("4.5", "5.5")
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert reader.span(tmp_path, both) == Span(ANY - 15, ANY, 15)
    path.unlink()
    assert reader.span(tmp_path, both) is None


@pytest.mark.parametrize(
    "text", ["", "{", '{\n  "wall_s": 1.0\n}', '{\n  "date": "soon",\n  "wall_s": 1.0\n}', "\0" * 99]
)
def test_what_is_no_provenance_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "x.provenance.json").write_text(text)
    assert Records().span(tmp_path, Job("a", "c", (), (), ("cases/x.json",))) is None
