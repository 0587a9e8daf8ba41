"""The pace of a build and the time left, from the provenance of finished jobs."""

import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lcsd.build.jobs import Job
from lcsd.build.provenance import times_of

RECENT_S = 3600.0
"""Rates are taken from the last hour before the newest result, since machines and settings change."""

PAUSE_S = 60.0
"""A longer time without a job is a pause; shorter ones are the start-up of Snakemake and of programs."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a job ran; its commands count as if they had run without a gap."""

    begin: float  # seconds since 1970
    end: float  # seconds since 1970
    seconds: float  # wall seconds of its commands


class Records:
    """Reads the times of jobs from their provenance; an unchanged file is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int], tuple[float, float] | None]] = {}

    def span(self, results: Path, job: Job) -> Span | None:
        """Return when a job ran; None if a provenance file is missing or broken."""
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
    """Return the stamp and the times of a file, with four system calls instead of nine."""
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
    """The pace of a build in its last hour of work."""

    busy_h: float  # part of the last hour before the newest result in which jobs ran, h
    at_once: float  # mean number of jobs that ran at the same time
    jobs_per_h: Mapping[str, float]  # finished jobs, by stage
    cases_per_h: float  # finished cases


def pace(spans: Mapping[Job, Span], finished: Iterable[float]) -> Pace | None:
    """Return the pace of a build; None if no job has finished.

    ``spans`` tell when finished jobs ran; ``finished`` has the end of each finished case's last job, seconds since
    1970.
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
    """Return the seconds that sorted intervals cover, with short gaps between them."""
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
    """The remaining work of a build."""

    work_s: float  # wall seconds of the remaining jobs, from the medians of their stages
    # Seconds until they are done at the observed number of jobs at the same time; None without a pace
    eta_s: float | None
    # Remaining jobs of stages without a finished job, by stage; ``work_s`` does not count them
    unknown: Mapping[str, int]


def rest(left: Iterable[Job], usual_s: Mapping[str, float], going: Pace | None) -> Rest:
    """Return how long the remaining jobs take; ``usual_s`` are the medians of the stages."""
    work = 0.0
    unknown: dict[str, int] = defaultdict(int)
    for job in left:
        if job.stage in usual_s:
            work += usual_s[job.stage]
        else:
            unknown[job.stage] += 1
    eta = None if going is None else work / going.at_once
    return Rest(work, eta, dict(unknown))
