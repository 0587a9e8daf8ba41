"""What is printed: figures, and what gives way with its remedy."""

import dataclasses

import pytest

from lcsd.estimate.estimate import estimate
from lcsd.estimate.measures import Measures
from lcsd.estimate.profile import Profile
from lcsd.estimate.text import lines, risks
from tests.unit.estimate.asking import BARE, FREE, answer, question


@pytest.mark.parametrize(
    ("scheduler", "options", "remedy"),
    [
        ("ilp", {}, "scheduler: greedy in the profile, or parts (--batch report=1/N)"),
        ("greedy", {}, "parts (--batch report=1/N)"),
        ("greedy", {"nodes": 1, "memory_gb": 8.0, "batches": 2}, "groups (--group)"),
        ("greedy", {"nodes": 1, "memory_gb": 8.0, "batches": 2, "group": 1}, "more parts"),
    ],
)
def test_what_is_in_use_is_not_advised(
    measures: Measures, scheduler: str, options: dict[str, float], remedy: str
) -> None:
    settings = FREE.model_copy(update={"loop_s": 1e4, "greedy_loop_s": 1e4, "submit_per_s": 1e-6})
    profile = dataclasses.replace(BARE, scheduler=scheduler)
    asked = question(measures, settings, profile=profile, pairs=4, **options)
    found = estimate(measures, asked, profile=profile, settings=settings)
    (danger,) = (risk for risk in risks(found, asked, settings) if "wait for it" in risk)
    assert danger.endswith(f"are ready): {remedy}")


def test_limits_that_the_build_would_not_have_are_named(measures: Measures) -> None:
    profile = Profile({}, {}, {"mem_mb": 6000, "downloads": 4, "gpu": 1})

    def dangers(**options: object) -> list[str]:
        asked = question(measures, profile=profile, **options)
        found = estimate(measures, asked, profile=profile, settings=FREE)
        return [risk for risk in risks(found, asked, FREE) if "--resources" in risk]

    # Of the command line Snakemake takes all resources or none.
    (danger,) = dangers(memory_gb=64.0)
    assert "build with --resources mem_mb=64000 downloads=4 gpu=1 " in danger
    (danger,) = dangers(downloads=9)
    assert "build with --resources mem_mb=6000 downloads=9 gpu=1 " in danger
    assert dangers() == dangers(memory_gb=6.0) == dangers(memory_gb=64.0, nodes=2) == []


def test_what_gives_way_is_named_with_its_remedy(measures: Measures) -> None:
    settings = FREE.model_copy(
        update={"plan_job_gib": 1.0, "plan_job_s": 100.0, "loop_ready_s": 10.0, "max_submitted": 4}
    )
    asked = question(measures, settings, pairs=20, nodes=50, memory_gb=8.0)
    big = dataclasses.replace(measures.cases[0].jobs[0], stage="lungs", memory_gib=3.0)
    case = dataclasses.replace(measures.cases[0], jobs=(*measures.cases[0].jobs[1:], big))
    loaded = dataclasses.replace(measures, cases=(case,))
    profile = Profile({}, {"lungs": 2500}, {})
    found = estimate(loaded, asked, profile=profile, settings=settings)
    text = " ".join(risks(found, asked, settings))
    for word in ("GiB", "loop", "MaxSubmitJobs", "again after every stop", "idle", "lungs took 3.22"):
        assert word in text
    quiet = question(measures, pairs=20)
    assert risks(answer(measures, pairs=20), quiet, FREE) == []


def test_lines_say_what_was_measured(measures: Measures) -> None:
    asked = question(measures, pairs=2, nodes=1, memory_gb=8.0, usd_per_hour=1.0)
    found = estimate(measures, asked, profile=BARE, settings=FREE)
    text = "\n".join(lines(found, asked, measures))
    assert "1 cases (0 left out), 2026-11-22" in text
    assert "no range" in text
    assert "submitted" in text
    assert "USD" in text
