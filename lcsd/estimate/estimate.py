"""Hours, disk, jobs, money of a build, and what would give way first."""

import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from lcsd.estimate.measures import SCREEN, Basis, Measures
from lcsd.estimate.profile import GREEDY, Profile
from lcsd.estimate.simulation import Engine, Kind, Machines, Timeline, simulate
from lcsd.estimate.workload import OUTPUTS, Costs, Plan, Workload, all_jobs, stage_kinds
from lcsd.settings.estimate import EstimateSettings
from lcsd.settings.report import DEFAULT_VIEWS

HOUR_S = 3600.0
LEAST_CASES = 2
LEAST_DRAWS = 10
"""Fewer measured cases or draws say nothing of a range."""

INPUTS_PER_JOB = 3
"""Files of which Snakemake asks the size for each ready job: two or three images or clouds."""


class Range(NamedTuple):
    """The middle of many draws, and between what 80 % of them lie (None for a single draw)."""

    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Question:
    """What is asked.

    Parameters
    ----------
    plan
        The build; ``batches`` are builds of a part of the cases, one after the other, of which the
        last plans all cases again.
    machines
        On which.
    cluster
        Whether a scheduler stands between.
    batches
        Parts.
    most_submitted
        Jobs that may be submitted to a scheduler and unfinished at a time.
    basis
        Wall or CPU seconds of the finished build.
    pages
        Most pages of cases in the report.
    registration_cloud
        Stage whose clouds are registered.
    usd_per_hour, usd_per_gb
        Of a node, of 10^9 downloaded bytes.
    resamples
        Draws for the ranges.
    seed
        Of the draws.
    scheduler
        Snakemake's, of the profile.
    limits
        What the profile lets the jobs of one machine share.
    """

    plan: Plan
    machines: Machines
    cluster: bool = False
    batches: int = 1
    most_submitted: float = math.inf
    basis: Basis = "wall"
    pages: int = 60
    registration_cloud: str = "cloud"
    usd_per_hour: float = 0.0
    usd_per_gb: float = 0.0
    resamples: int = 20
    seed: int = 0
    scheduler: str = "ilp"
    limits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Estimate:
    """The answer; hours and dollars with ranges.

    Parameters
    ----------
    hours
        From the command to the report.
    work_hours
        Of cores, of the stages alone.
    busy
        Share of the machines' cores that work, of 1.
    plan_s, plan_gib
        Of planning, all batches together, and most memory, which the last one takes.
    report_s
        Of the report.
    loop_busy
        Share of the time that Snakemake's loop works, of 1.
    stats_per_s
        Files of which its loop asks the size, on average.
    most_ready, most_running, most_submitted
        Jobs at a time.
    jobs
        By stage.
    submissions
        Jobs that a scheduler gets; 0 without one.
    disk_gb, temporary_gb, download_gb
        Left at the end; beside it while it runs; fetched.
    files
        Left at the end, with Snakemake's own records.
    usd
        Machines and downloads.
    memory_over
        Stages that took more memory than the profile declares, GB taken and declared.
    threads_over
        Stages that get more threads than they were measured with: got and measured.
    """

    hours: Range
    work_hours: float
    busy: float
    loop_busy: float
    stats_per_s: float
    most_ready: int
    most_running: int
    most_submitted: int
    jobs: dict[str, int]
    submissions: int
    disk_gb: float
    temporary_gb: float
    download_gb: float
    files: int
    usd: Range
    memory_over: dict[str, tuple[float, float]]
    threads_over: dict[str, tuple[int, int]]
    plan_s: float = 0.0
    plan_gib: float = 0.0
    report_s: float = 0.0


class _Draw(NamedTuple):
    """A simulated build, or a part of one."""

    line: Timeline
    work_s: float
    counts: dict[str, int]


def estimate(
    measures: Measures,
    question: Question,
    *,
    profile: Profile,
    settings: EstimateSettings,
    progress: Callable[[range], Iterable[int]] = iter,
) -> Estimate:
    """Return what a build takes, from the figures of a finished one.

    Each draw takes as many measured cases as there are, at random with repetition, and makes every
    case like one of these (a bootstrap): so the range also says how little few measured cases tell.

    Raises
    ------
    BadInputError
        No machine holds a job, or the measures lack what ``basis`` asks for.
    """
    planned = _planned_jobs(measures, question.plan)
    whole_s = settings.plan_start_s + planned * settings.plan_job_s
    parts = _parts(question)
    # The last part is the command without --batch, which plans what is done, too.
    plan_s = whole_s + sum(
        count * (settings.plan_start_s + _planned_jobs(measures, part) * settings.plan_job_s)
        for part, count in [*parts[:-1], (parts[-1][0], parts[-1][1] - 1)]
    )
    work = _workload(measures, question, profile, settings, whole_s)
    engine = _engine(question, settings)
    report_s = _report_s(question, settings)
    rng = random.Random(question.seed)  # noqa: S311 - draws, no secrets
    measured = range(len(measures.cases))
    draws = []
    for _ in progress(range(question.resamples)):
        population = rng.choices(measured, k=len(measured))
        built = [(_draw(work, part, population, rng, engine, question.machines), count) for part, count in parts]
        draws.append(_sum(built))
    draws.sort(key=lambda draw: draw.line.seconds)
    hours = _range([(plan_s + draw.line.seconds + report_s) / HOUR_S for draw in draws], len(measures.cases))
    answer = _answer(draws[len(draws) // 2], hours, measures, question, profile)
    return replace(
        answer,
        plan_s=plan_s,
        plan_gib=settings.plan_start_gib + planned * settings.plan_job_gib,
        report_s=report_s,
        threads_over=_threads_over(measures, work.kinds),
    )


def _answer(draw: _Draw, hours: Range, measures: Measures, question: Question, profile: Profile) -> Estimate:
    """Return the estimate of the draw in the middle, without planning and report."""
    line = draw.line
    loop_time = max(line.seconds, 1e-9)
    download_gb = _downloads(question.plan)
    return Estimate(
        hours=hours,
        work_hours=draw.work_s / HOUR_S,
        busy=_busy(draw, question),
        loop_busy=line.loop_s / loop_time,
        stats_per_s=line.looked_at * INPUTS_PER_JOB / loop_time,
        most_ready=line.most_ready,
        most_running=line.most_running,
        most_submitted=line.most_submitted,
        jobs=draw.counts,
        submissions=sum(draw.counts.values()) if question.cluster else 0,
        disk_gb=_disk_gb(measures, question, download_gb),
        temporary_gb=line.temporary_gb,
        download_gb=download_gb,
        files=_files(measures, question.plan),
        usd=_usd(hours, question, download_gb),
        memory_over=_memory_over(measures, profile),
        threads_over={},
    )


def _workload(
    measures: Measures, question: Question, profile: Profile, settings: EstimateSettings, plan_s: float
) -> Workload:
    start_s = settings.command_start_s
    if question.basis == "wall" and measures.starts_s is not None:
        start_s = max(0.0, measures.starts_s)
    return Workload(
        measures,
        # The checkpoint is the selection itself, and planning once more with the cases.
        Costs(start_s, settings.screen_align_s, start_s + plan_s, question.basis),
        stage_kinds(measures, profile, question.machines, question.plan),
        registration_cloud=question.registration_cloud,
        cores=question.machines.cores,
    )


def _report_s(question: Question, settings: EstimateSettings) -> float:
    cases = question.plan.cases
    drawn = min(question.pages, cases) + min(DEFAULT_VIEWS, cases)
    return settings.report_start_s + settings.report_case_s * cases + settings.report_page_s * drawn


def _parts(question: Question) -> list[tuple[Plan, int]]:
    """Return the parts that are built one after the other, and how many of each there are.

    As Snakemake makes them: those of one case more come first. Cases with landmarks are spread over
    all, so that the parts together are the plan.
    """
    plan, parts = question.plan, question.batches
    least, larger = divmod(plan.cases, parts)
    with_more = plan.landmarks * larger * (least + 1) // plan.cases
    found = []
    for count, cases, landmarks in (
        (larger, least + 1, with_more),
        (parts - larger, least, plan.landmarks - with_more),
    ):
        each, more = divmod(landmarks, max(count, 1))
        for number, marked in ((more, each + 1), (count - more, each)):
            if number:
                found.append((replace(plan, cases=cases, landmarks=marked), number))
    return found


def _planned_jobs(measures: Measures, plan: Plan) -> int:
    per_case = statistics.fmean(len(case.jobs) for case in measures.cases)
    return plan.candidates + round(plan.cases * per_case)


def _engine(question: Question, settings: EstimateSettings) -> Engine:
    loop_s, ready_s = settings.loop_s, settings.loop_ready_s
    if question.scheduler == GREEDY:
        loop_s, ready_s = settings.greedy_loop_s, settings.greedy_loop_ready_s
    if not question.cluster:
        return Engine(loop_s=loop_s, ready_s=ready_s)
    return Engine(
        loop_s=loop_s,
        ready_s=ready_s,
        cluster=True,
        submit_s=1 / settings.submit_per_s,
        start_s=settings.job_start_s + settings.job_start_case_s * question.plan.cases,
        poll_s=settings.poll_s,
        most_submitted=question.most_submitted,
    )


def _draw(
    work: Workload, plan: Plan, population: list[int], rng: random.Random, engine: Engine, machines: Machines
) -> _Draw:
    draws = rng.choices(population, k=max(plan.cases, 1))
    jobs = work.grouped(plan, draws, engine, machines.memory_mb) if plan.group else work.jobs(plan, draws)
    line = simulate(jobs, machines, engine)
    counts: dict[str, int] = {}
    work_s = 0.0
    for number, seconds in zip(jobs.kind, jobs.seconds, strict=True):
        kind = jobs.kinds[number]
        counts[kind.name] = counts.get(kind.name, 0) + 1
        work_s += seconds * kind.cores
    # The times of all jobs are not needed again, and there may be a quarter of a million.
    return _Draw(replace(line, starts=[], ends=[]), work_s, counts)


def _sum(parts: list[tuple[_Draw, int]]) -> _Draw:
    """Return the build of parts, one after the other, each as often as its number says."""
    lines = [(draw.line, count) for draw, count in parts]
    line = Timeline(
        [],
        [],
        seconds=sum(line.seconds * count for line, count in lines),
        loop_s=sum(line.loop_s * count for line, count in lines),
        looked_at=sum(line.looked_at * count for line, count in lines),
        most_ready=max(line.most_ready for line, _ in lines),
        most_submitted=max(line.most_submitted for line, _ in lines),
        most_running=max(line.most_running for line, _ in lines),
        temporary_gb=max(line.temporary_gb for line, _ in lines),
    )
    counts: Counter[str] = Counter()
    for draw, count in parts:
        counts.update({name: jobs * count for name, jobs in draw.counts.items()})
    return _Draw(line, sum(draw.work_s * count for draw, count in parts), dict(counts))


def _range(values: list[float], measured: int) -> Range:
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    if measured < LEAST_CASES or len(ordered) < LEAST_DRAWS:
        return Range(middle, None, None)
    tenths = statistics.quantiles(ordered, n=10, method="inclusive")
    return Range(middle, tenths[0], tenths[-1])


def _busy(draw: _Draw, question: Question) -> float:
    cores = question.machines.nodes * question.machines.cores
    return draw.work_s / max(draw.line.seconds * cores, 1e-9)


def _downloads(plan: Plan) -> float:
    again = 0 if plan.candidates and plan.keep else plan.cases
    return plan.fetched_gb * (plan.candidates + again)


def _disk_gb(measures: Measures, question: Question, download_gb: float) -> float:
    cases = measures.case_gb() * question.plan.cases
    pages = measures.page_bytes * min(question.pages, question.plan.cases)
    kept = download_gb if question.plan.keep else 0.0
    return cases + (measures.report_bytes + pages) / 1e9 + kept


def _files(measures: Measures, plan: Plan) -> int:
    """Return the files of cases, a log of each job and Snakemake's record of each output."""
    per_case = statistics.fmean(
        case.files + len(case.jobs) + sum(OUTPUTS.get(job.stage, 0) for job in case.jobs) for case in measures.cases
    )
    # A screening leaves its verdict, its provenance, a log and a record.
    return round(plan.cases * per_case) + plan.candidates * (3 + OUTPUTS[SCREEN])


def _usd(hours: Range, question: Question, download_gb: float) -> Range:
    rate = question.usd_per_hour * question.machines.nodes
    egress = question.usd_per_gb * download_gb
    return Range(*(None if h is None else h * rate + egress for h in hours))  # type: ignore[arg-type]


def _threads_over(measures: Measures, kinds: Iterable[Kind]) -> dict[str, tuple[int, int]]:
    """Return the stages whose jobs get more threads than all measured ones: got, measured."""
    measured: dict[str, int] = {}
    for job in all_jobs(measures):
        measured[job.stage] = max(measured.get(job.stage, 0), job.threads)
    return {
        kind.name: (kind.cores, measured[kind.name])
        for kind in kinds
        if kind.cores > measured.get(kind.name, kind.cores)
    }


def _memory_over(measures: Measures, profile: Profile) -> dict[str, tuple[float, float]]:
    """Return the stages that took more than the profile declares: GB taken, GB declared."""
    taken: dict[str, float] = {}
    for job in all_jobs(measures):
        taken[job.stage] = max(taken.get(job.stage, 0.0), job.memory_gib * 2**30 / 1e9)
    return {
        stage: (gb, profile.memory_mb[stage] / 1000)
        for stage, gb in taken.items()
        if stage in profile.memory_mb and gb > profile.memory_mb[stage] / 1000
    }
