"""How fast a build goes and how long the rest takes, from the provenance of what is done."""

import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.jobs import Job
from lcsd.build.provenance import times_of

RECENT_S = 3600.0
"""Rates are those of the last hour before the newest result: machines and settings change."""

PAUSE_S = 60.0
"""A longer time in which no job ran is a pause of the build and not its pace; shorter ones are what
Snakemake and the start of programs take."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a job was at work.

    Parameters
    ----------
    begin, end
        Seconds since 1970; a job of two commands begins as if its second one had followed at once.
    seconds
        Wall seconds of its commands.
    """

    begin: float
    end: float
    seconds: float


class Records:
    """Reads the times of jobs from their provenance, each file once as long as it is the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int], tuple[float, float] | None]] = {}

    def span(self, results: Path, job: Job) -> Span | None:
        """Return when a job worked; None if a provenance is missing or says nothing."""
        known: list[tuple[float, float]] = []
        for path in job.provenance():
            times = self._times(f"{results}/{path}")
            if times is None:
                return None
            known.append(times)
        if not known:
            return None
        end = max(date for date, _ in known)
        seconds = sum(wall for _, wall in known)
        return Span(end - seconds, end, seconds)

    def broken(self, results: Path, job: Job) -> list[str]:
        """Return the provenance files of a job that exist and have no times."""
        known = ((path, self._known.get(f"{results}/{path}")) for path in job.provenance())
        return [path for path, found in known if found is not None and found[1] is None]

    def _times(self, path: str) -> tuple[float, float] | None:
        """Return the date (seconds since 1970) and the wall seconds of a provenance file."""
        try:
            known = self._known.get(path)
            if known is not None and known[0] == _stamp(os.stat(path)):  # noqa: PTH116 - faster
                return known[1]
            self._known[path] = _read(path)
        except OSError:  # vanished
            return None
        return self._known[path][1]


def _read(path: str) -> tuple[tuple[int, int], tuple[float, float] | None]:
    """Return the stamp and the times of a file, by four calls of the system instead of nine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        status = os.fstat(handle)
        return _stamp(status), times_of(os.read(handle, status.st_size))
    finally:
        os.close(handle)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_size


@dataclass(frozen=True)
class Pace:
    """How a build went in the last hour in which it worked.

    Parameters
    ----------
    busy_h
        Hours in which jobs ran, of the last one before the newest result.
    at_once
        Jobs at once in them, on average.
    jobs_per_h
        Finished jobs in an hour by stage.
    cases_per_h
        Finished cases in an hour.
    """

    busy_h: float
    at_once: float
    jobs_per_h: Mapping[str, float]
    cases_per_h: float


def pace(spans: Mapping[Job, Span], finished: Iterable[float]) -> Pace | None:
    """Return the pace of a build; None if nothing was finished.

    Parameters
    ----------
    spans
        When finished jobs worked.
    finished
        When the last job of each finished case ended, seconds since 1970.
    """
    newest = max((span.end for span in spans.values()), default=None)
    if newest is None:
        return None
    start = newest - RECENT_S
    recent = {job: span for job, span in spans.items() if span.end > start}
    clipped = sorted((max(span.begin, start), span.end) for span in recent.values())
    busy = _busy(clipped)
    if busy <= 0:
        return None
    counts: dict[str, int] = defaultdict(int)
    for job in recent:
        counts[job.stage] += 1
    hours = busy / 3600
    return Pace(
        busy_h=hours,
        at_once=sum(end - begin for begin, end in clipped) / busy,
        jobs_per_h={stage: count / hours for stage, count in counts.items()},
        cases_per_h=sum(end > start for end in finished) / hours,
    )


def _busy(intervals: Sequence[tuple[float, float]]) -> float:
    """Return the seconds that sorted intervals cover, short gaps between them included."""
    total = 0.0
    reached = intervals[0][0] if intervals else 0.0
    for begin, end in intervals:
        from_here = reached if begin - reached <= PAUSE_S else begin
        if end > reached:
            total += end - from_here
            reached = end
    return total


def medians(spans: Mapping[Job, Span]) -> dict[str, float]:
    """Return the median wall seconds of a job by stage."""
    seconds: dict[str, list[float]] = defaultdict(list)
    for job, span in spans.items():
        seconds[job.stage].append(span.seconds)
    return {stage: statistics.median(values) for stage, values in seconds.items()}


@dataclass(frozen=True)
class Rest:
    """What is left of a build.

    Parameters
    ----------
    work_s
        Wall seconds of the jobs that are left, by the medians of their stages.
    eta_s
        Seconds until they are done with as many jobs at once as were observed; None if nothing was.
    unknown
        Number of jobs left of stages of which none is done, by stage; ``work_s`` leaves them out.
    """

    work_s: float
    eta_s: float | None
    unknown: Mapping[str, int]


def rest(left: Iterable[Job], usual_s: Mapping[str, float], going: Pace | None) -> Rest:
    """Return how long jobs take that are left; ``usual_s`` are the medians of the stages."""
    work = 0.0
    unknown: dict[str, int] = defaultdict(int)
    for job in left:
        if job.stage in usual_s:
            work += usual_s[job.stage]
        else:
            unknown[job.stage] += 1
    eta = None if going is None else work / going.at_once
    return Rest(work, eta, dict(unknown))
