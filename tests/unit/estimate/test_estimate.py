"""Estimates from made provenance: hours, counts, disk, ranges, risks."""

import dataclasses
import re
from pathlib import Path

import pytest

from lcsd.config import Config
from lcsd.errors import BadInputError
from lcsd.estimate.bound import LINK, LOOP, SUBMITTED
from lcsd.estimate.estimate import estimate
from lcsd.estimate.measures import Measures, read_measures
from lcsd.estimate.profile import Profile
from lcsd.estimate.question import Options, ask
from lcsd.estimate.text import risks
from lcsd.estimate.workload import AFTER, OUTPUTS, stage_kinds
from tests.unit.estimate.asking import BARE, FREE, TWO, answer, question
from tests.unit.estimate.builds import STAGES, START_S, THREADS, record, write_case

RULES = Path(__file__).resolve().parents[3] / "rules"
COMMANDS_S = sum(STAGES.values()) + sum(
    STAGES[stage] for stage in ("convert", "lungs", "vessels", "cloud", "keypoints")
)
CASE_S = COMMANDS_S + START_S * 14
"""All commands of a case one after the other, each with its start."""


def test_stages_are_those_of_the_rules() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in RULES.glob("*.smk"))
    rules = set(re.findall(r"^ *(?:rule|checkpoint) (\w+):", text, re.MULTILINE))
    once = {"select", "test_cases", "release", "report"}
    assert rules - once == set(OUTPUTS)
    assert set(AFTER) | {"screen"} == set(OUTPUTS)


def test_one_core_does_all_commands_one_after_the_other(measures: Measures) -> None:
    found = answer(measures, pairs=3)
    # The profile's two threads of correspond and register were measured; one core takes twice.
    expected = 3 * (CASE_S + STAGES["correspond"] + STAGES["register"] + 2 * START_S)
    assert found.hours.middle == pytest.approx(expected / 3600)
    assert found.busy == pytest.approx(1)
    assert found.jobs == dict.fromkeys(STAGES, 3)


def test_a_case_on_many_cores_takes_its_longest_chain(measures: Measures) -> None:
    found = answer(measures, profile=TWO, cores=64, pairs=5)
    way = sum(STAGES[s] for s in ("convert", "lungs", "prealign", "vessels", "cloud", "register", "gates"))
    way += sum(STAGES[s] for s in ("convert", "lungs", "vessels", "cloud"))
    assert found.hours.middle == pytest.approx((way + 11 * START_S) / 3600)


def test_landmarks_are_scored_as_often_as_in_the_finished_build(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    write_case(tmp_path, "b", landmarks=True)
    measures = read_measures(tmp_path)
    assert answer(measures, pairs=6).jobs["evaluate"] == 6
    assert "evaluate" not in answer(measures, pairs=6, landmarks=0).jobs
    assert answer(measures, pairs=6, landmarks=9).jobs["evaluate"] == 12
    # A selection has none.
    assert "evaluate" not in answer(measures, pairs=6, candidates=9).jobs


def test_candidates_are_screened_before_the_cases(measures: Measures) -> None:
    found = answer(measures, pairs=2, candidates=10)
    assert (found.jobs["screen"], found.jobs["select"], found.jobs["convert"]) == (10, 1, 2)
    # Nothing was screened: a screening is convert and lungs of both scans.
    without = answer(measures, pairs=2)
    screening = 2 * (STAGES["convert"] + STAGES["lungs"]) + 4 * START_S
    more = 10 * screening + START_S
    assert (found.hours.middle - without.hours.middle) * 3600 == pytest.approx(more)


def test_measured_screenings_are_taken(tmp_path: Path) -> None:
    write_case(tmp_path, "a")
    record(tmp_path / "cohort" / "screening" / "x.provenance.json", "screen", wall_s=100.0)
    measures = read_measures(tmp_path)
    more = answer(measures, candidates=3).hours.middle - answer(measures).hours.middle
    assert more * 3600 == pytest.approx(3 * (100 + START_S) + START_S)


def test_keypoints_are_registered_later(measures: Measures) -> None:
    slow = question(measures, cores=64)
    late = dataclasses.replace(slow, registration_cloud="keypoints")
    both = [estimate(measures, asked, profile=BARE, settings=FREE) for asked in (slow, late)]
    more = (both[1].hours.middle - both[0].hours.middle) * 3600
    assert more == pytest.approx(2 * (STAGES["keypoints"] + START_S))


def test_downloads_come_over_the_link(measures: Measures) -> None:
    settings = FREE.model_copy(update={"pair_download_gb": 1.0})
    found = answer(measures, settings, cores=64, pairs=20, mbit=80, downloads=64)
    # 20 GB at 0.01 GB/s, then the last case.
    assert found.limit == LINK
    least = answer(measures, settings, cores=64, pairs=1).hours.middle
    assert found.hours.middle == pytest.approx(2000 / 3600 + least)
    assert found.download_gb == 20
    config = Config.model_validate({"candidates": "c.tsv", "fetch": {"keep": False}})
    given = Options(cores=64, pairs=20, candidates=40, mbit=80)
    asked = ask(given, config=config, profile=BARE, measures=measures, settings=settings)
    again = estimate(measures, asked, profile=BARE, settings=settings)
    assert again.download_gb == 60
    kept = dataclasses.replace(asked, keep=True)
    once = estimate(measures, kept, profile=BARE, settings=settings)
    assert (once.download_gb, once.disk_gb - again.disk_gb) == (40, pytest.approx(40))


def test_range_grows_with_the_spread_of_few_cases(tmp_path: Path) -> None:
    write_case(tmp_path / "one", "a")
    assert answer(read_measures(tmp_path / "one")).hours.low is None
    for name, factor in (("a", 1.0), ("b", 3.0)):
        write_case(tmp_path / "two", name, factor=factor)
    hours = answer(read_measures(tmp_path / "two"), pairs=100).hours
    # Both measured cases, or twice the same: a quarter of the draws each for the extremes.
    assert hours.low is not None
    assert hours.high is not None
    assert hours.high / hours.low == pytest.approx(3, rel=0.25)
    assert hours.low < hours.middle < hours.high
    assert answer(read_measures(tmp_path / "two"), pairs=100).hours == hours


def test_disk_and_files_grow_with_the_cases(measures: Measures) -> None:
    (case,) = measures.cases
    found = answer(measures, pairs=7)
    assert found.disk_gb == pytest.approx(7 * case.size_bytes / 1e9)
    outputs = sum(OUTPUTS[stage] for stage in STAGES)
    assert found.files == 7 * (case.files + len(STAGES) + outputs)
    paged = dataclasses.replace(measures, report_bytes=10**9, page_bytes=10**9)
    assert answer(paged, pairs=7).disk_gb == pytest.approx(8 + found.disk_gb)


def test_planning_and_report_are_added(measures: Measures) -> None:
    settings = FREE.model_copy(
        update={"plan_start_s": 5.0, "plan_job_s": 1.0, "report_start_s": 100.0, "report_page_s": 2.0}
    )
    found = answer(measures, settings, pairs=4)
    # A page and a picture of each case.
    assert (found.plan_s, found.report_s) == (5 + 4 * len(STAGES), 116)
    more = (found.hours.middle - answer(measures, pairs=4).hours.middle) * 3600
    assert more == pytest.approx(found.plan_s + found.report_s)


def test_batches_are_built_one_after_the_other(measures: Measures) -> None:
    settings = FREE.model_copy(update={"plan_start_s": 50.0, "plan_job_s": 1.0, "plan_job_gib": 0.1})
    whole, parts = (answer(measures, settings, pairs=12, batches=count) for count in (1, 4))
    jobs = len(STAGES)
    # The last part is the plain command and plans all twelve cases.
    assert parts.plan_gib == whole.plan_gib
    assert (whole.plan_s, parts.plan_s) == (50 + 12 * jobs, 4 * 50 + (3 + 3 + 3 + 12) * jobs)
    more = (parts.plan_s - whole.plan_s) / 3600
    assert parts.hours.middle - whole.hours.middle == pytest.approx(more)


@pytest.mark.parametrize(("cases", "landmarks", "batches"), [(10, 0, 4), (11, 5, 3), (6, 6, 4)])
def test_parts_of_unequal_size_are_the_whole(
    measures: Measures, tmp_path: Path, cases: int, landmarks: int, batches: int
) -> None:
    write_case(tmp_path / "scored", "a", landmarks=True)
    scored = read_measures(tmp_path / "scored")
    options = {"pairs": cases, "landmarks": landmarks}
    whole, parts = (answer(scored, **options, batches=count) for count in (1, batches))
    assert parts.jobs == whole.jobs
    assert parts.work_hours == pytest.approx(whole.work_hours)
    # One core does the same one part after the other.
    assert parts.hours.middle == pytest.approx(whole.hours.middle)
    # On many, each part takes as long as its longest case.
    wide = answer(measures, cores=640, pairs=cases, batches=batches).hours.middle
    one = answer(measures, cores=640, pairs=cases).hours.middle
    assert wide == pytest.approx(batches * one)


def test_threads_of_the_profile_change_the_time(measures: Measures) -> None:
    few = answer(measures, profile=TWO, cores=64)
    register = STAGES["register"] + START_S
    one = Profile({**THREADS, "register": 1}, {}, {})
    slower = answer(measures, profile=one, cores=64)
    assert (slower.hours.middle - few.hours.middle) * 3600 == pytest.approx(register)
    # More than were measured: the same time on more cores, and it says so.
    many = Profile({**THREADS, "register": 8}, {}, {})
    asked = question(measures, profile=many, cores=64)
    found = estimate(measures, asked, profile=many, settings=FREE)
    assert found.hours.middle == few.hours.middle
    assert found.threads_over == {"register": (8, 2)}
    (danger,) = (risk for risk in risks(found, asked, FREE) if "register" in risk)
    assert "8 threads" in danger
    assert few.threads_over == {}


def test_the_loop_is_that_of_the_profiles_scheduler(measures: Measures) -> None:
    settings = FREE.model_copy(update={"loop_s": 100.0, "loop_ready_s": 10.0, "greedy_loop_s": 40.0})
    greedy = dataclasses.replace(BARE, scheduler="greedy")
    slow, fast = (answer(measures, settings, profile=of, cores=64, pairs=30) for of in (BARE, greedy))
    jobs = 30 * len(STAGES)
    assert (slow.limit, fast.limit, fast.loop_busy) == (LOOP, LOOP, 1)
    assert fast.hours.middle * 3600 == pytest.approx(40 * jobs)
    assert slow.hours.middle * 3600 > 100 * jobs


def test_downloads_that_may_never_start_are_refused(measures: Measures) -> None:
    profile = Profile({}, {}, {"downloads": 0})
    assert answer(measures, profile=profile).download_gb == 0
    with pytest.raises(BadInputError) as failure:
        answer(measures, profile=profile, mbit=100.0)
    assert failure.value.code == "job_too_large"


def test_groups_are_one_job_each(measures: Measures) -> None:
    common = {"cores": 16, "nodes": 2, "memory_gb": 64.0, "pairs": 9}
    alone, grouped = (answer(measures, **common, group=group) for group in (0, 4))
    assert (alone.submissions, grouped.submissions) == (9 * len(STAGES), 3)
    assert grouped.jobs == {"group": 3}
    slow = FREE.model_copy(update={"job_start_s": 60.0})
    waits = [answer(measures, slow, **common, group=group).hours.middle for group in (0, 4)]
    assert waits[0] > waits[1]


def test_the_profile_says_how_many_jobs_are_submitted_and_their_memory(measures: Measures) -> None:
    profile = Profile({}, {"lungs": 4000}, {}, default_mb=2000, jobs=3)
    options = Options(cores=16, nodes=5, memory_gb=16.0, pairs=9)
    asked = ask(options, config=None, profile=profile, measures=measures, settings=FREE)
    found = estimate(measures, asked, profile=profile, settings=FREE)
    assert (found.submitted, found.limit) == (3, SUBMITTED)
    assert any("3 jobs are submitted" in risk for risk in risks(found, asked, FREE))
    kinds = stage_kinds(measures, profile, asked)
    assert (kinds["lungs"].memory_mb, kinds["gates"].memory_mb) == (4000, 2000)


def test_prices(measures: Measures) -> None:
    found = answer(measures, pairs=4, nodes=3, memory_gb=8.0, usd_per_hour=2.0)
    assert found.usd.middle == pytest.approx(6 * found.hours.middle)


def test_a_job_that_no_machine_holds_is_refused(measures: Measures) -> None:
    profile = Profile({}, {"correspond": 4000}, {"mem_mb": 6000})
    options = Options(cores=2, pairs=1, memory_gb=3.9)
    asked = ask(options, config=None, profile=profile, measures=measures, settings=FREE)
    with pytest.raises(BadInputError) as failure:
        estimate(measures, asked, profile=profile, settings=FREE)
    assert failure.value.code == "job_too_large"
    assert "correspond" in failure.value.message


def test_jobs_that_computed_on_a_gpu_need_one(tmp_path: Path) -> None:
    folder = write_case(tmp_path, "a")
    settings = {"threads": 1, "device": "cuda"}
    path = folder / "registration" / "register.provenance.json"
    record(path, "register", wall_s=10.0, settings=settings)
    measures = read_measures(tmp_path)
    one, two = (answer(measures, cores=64, pairs=20, gpus=gpus) for gpus in (1, 2))
    assert one.hours.middle - two.hours.middle == pytest.approx(10 * (10 + START_S) / 3600)
    with pytest.raises(BadInputError):
        answer(measures, gpus=0)
