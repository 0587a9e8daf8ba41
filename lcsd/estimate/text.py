"""An estimate in words: lines for a reader, and what would give way first."""

from collections.abc import Iterator

from lcsd.estimate.measures import Measures
from lcsd.estimate.model import HOUR_S, Estimate, Question, Range
from lcsd.settings.estimate import EstimateSettings

LOOP_SHARE = 0.5
"""Share of the time that Snakemake's loop works from which jobs clearly wait for it, of 1."""

FREE_SHARE = 0.5
"""Share of the cores that do not work from which machines are mostly paid for nothing, of 1."""

PLAN_HOURS = 0.5


MANY = 100
"""Figures from here on have no decimals."""


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= MANY else f"{value:.3g}"


def _between(found: Range, unit: str) -> str:
    if found.low is None or found.high is None:
        return f"{_figure(found.middle)} {unit}, no range (two cases and ten draws at least)"
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
        "cases": f"{question.plan.cases}"
        + (f" of {question.plan.candidates} candidates" if question.plan.candidates else ""),
        "jobs": f"{sum(found.jobs.values())} ({jobs})",
        "time": _between(found.hours, "h"),
        "work": f"{_figure(found.work_hours)} core-hours, "
        f"{100 * found.busy:.0f} % of the cores' time",
        "planning": f"{found.plan_s / HOUR_S:.2g} h, {found.plan_gib:.2g} GiB",
        "report": f"{found.report_s / HOUR_S:.2g} h",
        "at once": f"{found.most_running} jobs running, {found.most_ready} ready",
        "disk": f"{_figure(found.disk_gb)} GB in {found.files} files, "
        f"{found.temporary_gb:.2g} GB more while it runs",
        "download": f"{_figure(found.download_gb)} GB",
        "loop": f"{100 * found.loop_busy:.0f} % of the time, {_figure(found.stats_per_s)} files/s",
    }
    if question.cluster:
        rows["submitted"] = f"{found.submissions} jobs, {found.most_submitted} at a time"
    if found.usd.middle:
        rows["money"] = _between(found.usd, "USD")
    width = max(len(name) for name in rows)
    for name, row in rows.items():
        yield f"{name:<{width}}  {row}"


def risks(found: Estimate, question: Question, settings: EstimateSettings) -> list[str]:
    """Return what gives way, each with the setting that avoids it."""
    dangers = []
    if found.loop_busy > LOOP_SHARE:
        dangers.append(
            f"Snakemake's loop works {100 * found.loop_busy:.0f} % of the time and jobs wait for "
            f"it (up to {found.most_ready} are ready): --scheduler greedy, and parts (--batch "
            "report=1/N)" + (" or groups" if question.cluster else "")
        )
    if found.plan_gib > settings.head_memory_gib:
        dangers.append(
            f"planning takes {found.plan_gib:.2g} GiB of {settings.head_memory_gib:g}: build in "
            "parts (--batch report=1/N) or plan on a larger machine"
        )
    if question.cluster and found.most_submitted >= question.most_submitted:
        dangers.append(
            f"{found.most_submitted} jobs are submitted at a time, as many as --jobs allows: the "
            "scheduler must accept that (SLURM: MaxSubmitJobs, MaxJobCount)"
        )
    if found.plan_s / HOUR_S > PLAN_HOURS:
        dangers.append(f"planning takes {found.plan_s / HOUR_S:.1f} h, again after each stop")
    if found.busy < FREE_SHARE:
        dangers.append(
            f"{100 * (1 - found.busy):.0f} % of the cores' time is idle: fewer machines, or what "
            "the other lines say"
        )
    for stage, (taken, declared) in found.memory_over.items():
        dangers.append(
            f"{stage} took {taken:.2f} GB, the profile declares {declared:.2f}: raise its mem_mb"
        )
    return dangers
