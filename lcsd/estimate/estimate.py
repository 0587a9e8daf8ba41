"""Hours, disk, jobs and money of a build, and what limits it, from the figures of a finished one."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from lcsd.estimate.bound import Engine, Kind, Machines, Work, limits, loop_seconds
from lcsd.estimate.measures import SCREEN, Measures
from lcsd.estimate.profile import GREEDY, Profile
from lcsd.estimate.question import Question
from lcsd.estimate.workload import OUTPUTS, Workload, stage_kinds, times
from lcsd.settings.estimate import EstimateSettings
from lcsd.settings.report import DEFAULT_VIEWS

HOUR_S = 3600.0
LEAST_CASES = 2  # from fewer measured cases there is no range
DRAWS = 400  # draws of cases for the range: enough that other draws change a tenth of them by about 1 %


class Range(NamedTuple):
    """The median of many draws, and the range that holds 80 % of them (None for one measured case)."""

    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Estimate:
    """The answer; hours and dollars with ranges."""

    hours: Range  # from the command to the report
    limit: str  # what decides the hours (:mod:`lcsd.estimate.bound` names the limits)
    work_hours: float  # core-hours of the stages alone
    busy: float  # share of the machines' cores that work, of 1
    loop_busy: float  # share of the time that Snakemake's loop works, of 1
    ready: int  # jobs that are started or ready at a time, on average
    submitted: int  # jobs that are submitted to a scheduler at a time; 0 without one
    jobs: dict[str, int]  # by stage
    submissions: int  # jobs that a scheduler gets; 0 without one
    # disk_gb, temporary_gb, download_gb: left at the end; on top of it while the build runs; fetched
    disk_gb: float
    temporary_gb: float
    download_gb: float
    files: int  # left at the end, with Snakemake's own records
    usd: Range  # machines and downloads
    # Stages that took more memory than the profile declares: GB taken and declared
    memory_over: dict[str, tuple[float, float]]
    # Stages that get more threads than they were measured with: got and measured
    threads_over: dict[str, tuple[int, int]]
    # plan_s, plan_gib: seconds of planning all parts, and the memory of the largest plan
    plan_s: float
    plan_gib: float
    report_s: float  # seconds of the report


class _Draw(NamedTuple):
    """A build of drawn cases: the works that follow one another, their seconds and limits."""

    phases: list[Work]
    seconds: float
    limit: str


def estimate(measures: Measures, question: Question, *, profile: Profile, settings: EstimateSettings) -> Estimate:
    """Return what a build takes, from the figures of a finished one.

    Each draw takes as many measured cases as there are, at random with repetition, and makes every case like
    one of these (a bootstrap): so the range also shows how little few measured cases tell.
    """
    machines, parts = question.machines, question.batches
    engine = _engine(question, settings)
    kinds = stage_kinds(measures, profile, question)
    work = Workload(measures, question, kinds, settings)
    per_case = statistics.fmean(len(case.jobs) for case in measures.cases)
    planned = question.candidates + round(question.cases * per_case)
    whole_s = settings.plan_start_s + planned * settings.plan_job_s
    # The last part is the command without --batch, which plans all cases.
    plan_s = whole_s * (2 - 1 / parts) + settings.plan_start_s * (parts - 2 + 1 / parts)
    # The selection is a command, after which Snakemake plans once more with the cases.
    select_s = work.start_s + whole_s if question.candidates else 0.0
    report_s = _report_s(question, settings)
    extra_s = plan_s + select_s + report_s
    draws = _draws(work, engine)
    draw = draws[len(draws) // 2]
    hours = _range([(draw.seconds + extra_s) / HOUR_S for draw in draws], len(measures.cases))
    core_s = sum(phase.core_seconds() for phase in draw.phases)
    loop_s = sum(phase.jobs() * loop_seconds(phase, engine) for phase in draw.phases)
    jobs = _counts(draw, question)
    ready = max(phase.ready() for phase in draw.phases)
    download_gb = question.fetched_gb * (question.candidates + question.cases * question.converts_downloads)
    return Estimate(
        hours=hours,
        limit=draw.limit,
        work_hours=core_s / HOUR_S,
        busy=core_s / max(draw.seconds * machines.nodes * machines.cores, 1e-9),
        loop_busy=loop_s / max(draw.seconds, 1e-9),
        ready=round(ready),
        submitted=round(min(ready, question.max_submitted)) if question.cluster else 0,
        jobs=jobs,
        submissions=sum(jobs.values()) if question.cluster else 0,
        disk_gb=_disk_gb(measures, question, download_gb),
        temporary_gb=_temporary_gb(draw, machines),
        download_gb=download_gb,
        files=_files(measures, question),
        usd=_usd(hours, question, download_gb),
        memory_over=_memory_over(measures, profile),
        threads_over=_threads_over(measures, kinds.values()),
        plan_s=plan_s,
        plan_gib=settings.plan_start_gib + planned * settings.plan_job_gib,
        report_s=report_s,
    )


def _draws(work: Workload, engine: Engine) -> list[_Draw]:
    """Return builds of drawn cases, the fastest first."""
    question, measured = work.question, len(work.cases)
    machines = question.machines
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS if measured >= LEAST_CASES else 1):
        population = rng.multinomial(measured, np.full(measured, 1 / measured))
        counts = rng.multinomial(question.cases, population / measured).tolist()
        per_part = [count / question.batches for count in counts]
        part = work.grouped(per_part, engine) if question.group else times(work.cases, per_part)
        phases = [*([work.screening(counts)] if question.candidates else []), *[part] * question.batches]
        slowest = [max(limits(phase, machines, engine).items(), key=itemgetter(1)) for phase in phases]
        limit, _ = max(slowest, key=itemgetter(1, 0))
        draws.append(_Draw(phases, sum(seconds for _, seconds in slowest), limit))
    return sorted(draws, key=lambda draw: draw.seconds)


def _counts(draw: _Draw, question: Question) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for phase in draw.phases:
        counts.update({kind.name: amount.jobs for kind, amount in phase.amounts.items()})  # type: ignore[misc]
    # Groups need not come out even: the last one is a job, too.
    jobs = {name: math.ceil(round(count, 6)) for name, count in counts.items()}
    return jobs | ({"select": 1} if question.candidates else {})


def _report_s(question: Question, settings: EstimateSettings) -> float:
    drawn = min(question.pages, question.cases) + min(DEFAULT_VIEWS, question.cases)
    return settings.report_start_s + settings.report_case_s * question.cases + settings.report_page_s * drawn


def _engine(question: Question, settings: EstimateSettings) -> Engine:
    loop_s, ready_s = settings.loop_s, settings.loop_ready_s
    if question.scheduler == GREEDY:
        loop_s, ready_s = settings.greedy_loop_s, settings.greedy_loop_ready_s
    if not question.cluster:
        return Engine(loop_s=loop_s, ready_s=ready_s)
    return Engine(
        loop_s=loop_s,
        ready_s=ready_s,
        submit_s=1 / settings.submit_per_s,
        start_s=settings.job_start_s + settings.job_start_case_s * question.cases,
        notice_s=settings.poll_s / 2,
        max_submitted=question.max_submitted,
    )


def _range(values: list[float], measured: int) -> Range:
    middle = values[len(values) // 2]
    if measured < LEAST_CASES:
        return Range(middle, None, None)
    tenths = statistics.quantiles(values, n=10, method="inclusive")
    return Range(middle, tenths[0], tenths[-1])


def _usd(hours: Range, question: Question, download_gb: float) -> Range:
    rate = question.usd_per_hour * question.machines.nodes
    egress = question.usd_per_gb * download_gb
    return Range(*(None if h is None else h * rate + egress for h in hours))  # type: ignore[arg-type]


def _disk_gb(measures: Measures, question: Question, download_gb: float) -> float:
    cases = measures.case_gb() * question.cases
    pages = measures.page_bytes * min(question.pages, question.cases)
    return cases + (measures.report_bytes + pages) / 1e9 + (download_gb if question.keep else 0.0)


def _temporary_gb(draw: _Draw, machines: Machines) -> float:
    """Return the most that running jobs hold under temporary names, if all are of the largest kind."""
    return max(
        kind.temporary_gb * min(machines.nodes * machines.max_at_once(kind), amount.jobs)
        for phase in draw.phases
        for kind, amount in phase.amounts.items()
    )


def _files(measures: Measures, question: Question) -> int:
    """Return the files of cases, a log of each job and Snakemake's record of each output."""
    per_case = statistics.fmean(
        case.files + len(case.jobs) + sum(OUTPUTS.get(job.stage, 0) for job in case.jobs) for case in measures.cases
    )
    # A screening leaves its verdict, its provenance, a log and a record.
    return round(question.cases * per_case) + question.candidates * (3 + OUTPUTS[SCREEN])


def _threads_over(measures: Measures, kinds: Iterable[Kind]) -> dict[str, tuple[int, int]]:
    most = {stage: max(job.threads for job in jobs) for stage, jobs in measures.by_stage().items()}
    return {k.name: (k.cores, most[k.name]) for k in kinds if k.cores > most.get(k.name, k.cores)}


def _memory_over(measures: Measures, profile: Profile) -> dict[str, tuple[float, float]]:
    taken = {stage: max(job.memory_gib for job in jobs) for stage, jobs in measures.by_stage().items()}
    both = {
        stage: (gib * 2**30 / 1e9, profile.memory_mb[stage] / 1000)
        for stage, gib in taken.items()
        if stage in profile.memory_mb
    }
    return {stage: (gb, declared) for stage, (gb, declared) in both.items() if gb > declared}
