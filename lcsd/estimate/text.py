"""An estimate in words: lines for a reader, and risks, each with its remedy."""

import math
from collections.abc import Iterator

from lcsd.estimate.estimate import HOUR_S, Estimate, Range
from lcsd.estimate.measures import Measures
from lcsd.estimate.profile import GREEDY
from lcsd.estimate.question import Question
from lcsd.settings.estimate import EstimateSettings

LOOP_SHARE = 0.5  # if Snakemake's loop works for more than this share of the time, jobs clearly wait for it
FREE_SHARE = 0.5  # if a smaller share of the cores works, most of the money is spent on idle machines
PLAN_HOURS = 0.5  # time of planning that is worth a warning
MANY = 100  # figures from here on have no decimals


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= MANY else f"{value:.3g}"


def _between(found: Range, unit: str) -> str:
    if found.low is None or found.high is None:
        return f"{_figure(found.middle)} {unit}, no range (measure two cases at least)"
    between = f"{_figure(found.low)} to {_figure(found.high)}"
    return f"{_figure(found.middle)} {unit}, 80 % of draws in {between}"


def lines(found: Estimate, question: Question, measures: Measures) -> Iterator[str]:
    """Yield the lines that ``lcsd estimate`` prints."""
    machines = question.machines
    jobs = ", ".join(f"{name} {count}" for name, count in found.jobs.items())
    rows = {
        "measured": f"{len(measures.cases)} cases ({measures.left_out} left out), "
        f"{measures.first} to {measures.last}, {question.basis} seconds",
        "machines": f"{machines.nodes} x {machines.cores} cores, {machines.memory_mb / 1000:g} GB",
        "cases": f"{question.cases}" + (f" of {question.candidates} candidates" if question.candidates else ""),
        "jobs": f"{sum(found.jobs.values())} ({jobs})",
        "time": _between(found.hours, "h"),
        "limit": found.limit,
        "work": f"{_figure(found.work_hours)} core-hours, {100 * found.busy:.0f} % of the cores' time",
        "planning": f"{found.plan_s / HOUR_S:.2g} h, {found.plan_gib:.2g} GiB",
        "report": f"{found.report_s / HOUR_S:.2g} h",
        "disk": f"{_figure(found.disk_gb)} GB in {found.files} files, "
        f"up to {_figure(found.temporary_gb)} GB more while the build runs",
        "download": f"{_figure(found.download_gb)} GB"
        + (", taken to need no time (give --mbit)" if found.download_gb and math.isinf(machines.gb_per_s) else ""),
        "loop": f"{100 * found.loop_busy:.0f} % of the time, {found.ready} jobs ready",
    }
    if question.cluster:
        rows["submitted"] = f"{found.submissions} jobs, {found.submitted} at a time"
    if found.usd.middle:
        rows["money"] = _between(found.usd, "USD")
    width = max(len(name) for name in rows)
    for name, row in rows.items():
        yield f"{name:<{width}}  {row}"


def risks(found: Estimate, question: Question, settings: EstimateSettings) -> list[str]:
    """Return what slows or stops the build, each with the setting that avoids it."""
    shared, given = _shared(question)
    dangers = {
        f"the profile lets jobs share {shared}, but the estimate is for {given}: build with --resources {given} "
        "(name all of them, since they replace the profile's)": given != shared and not question.cluster,
        f"Snakemake's loop works {100 * found.loop_busy:.0f} % of the time and jobs wait for it ({found.ready} are "
        f"ready): {_faster_loop(question)}": found.loop_busy > LOOP_SHARE,
        f"planning takes {found.plan_gib:.2g} GiB, more than head_memory_gib ({settings.head_memory_gib:g}), also in "
        "parts (the last one plans all cases): run snakemake on a larger machine": (
            found.plan_gib > settings.head_memory_gib
        ),
        f"{found.submitted} jobs are submitted at a time, as many as --jobs allows: the scheduler must accept that "
        "(SLURM: MaxSubmitJobs, MaxJobCount)": question.cluster and found.submitted >= question.max_submitted,
        f"planning takes {found.plan_s / HOUR_S:.1f} h, again after every stop: build in parts (--batch "
        "report=1/N)": found.plan_s / HOUR_S > PLAN_HOURS,
        f"the cores are idle for {100 * (1 - found.busy):.0f} % of the time, because {found.limit} is the limit: use "
        "fewer machines, or follow the other lines": found.busy < FREE_SHARE,
    }
    return [
        *(danger for danger, holds in dangers.items() if holds),
        *(
            f"{stage} took {taken:.2f} GB, the profile declares {declared:.2f}: raise its mem_mb"
            for stage, (taken, declared) in found.memory_over.items()
        ),
        *(
            f"{stage} gets {got} threads but was measured with {measured}; the estimate takes the cores of {got} and "
            f"the time of {measured}: measure a build with this profile"
            for stage, (got, measured) in found.threads_over.items()
        ),
    ]


def _shared(question: Question) -> tuple[str, str]:
    """Return what the profile lets the jobs of one machine share, and the same as the machine has it."""
    machines, limits = question.machines, question.limits
    machine = {"mem_mb": machines.memory_mb, "downloads": machines.downloads, "gpu": machines.gpus}
    given = {name: int(machine.get(name, limit)) for name, limit in limits.items()}
    shared, wanted = (" ".join(f"{name}={value}" for name, value in of.items()) for of in (limits, given))
    return shared, wanted


def _faster_loop(question: Question) -> str:
    """Return the settings, not in use yet, that make Snakemake's loop faster."""
    steps = {
        "scheduler: greedy in the profile": question.scheduler != GREEDY,
        "parts (--batch report=1/N)": question.batches == 1,
        "groups (--group)": question.cluster and not question.group,
    }
    return ", or ".join([step for step, open_to in steps.items() if open_to] or ["more parts"])
