"""``lcsd status``: the progress of a build, as figures and as text."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lcsd.build.inventory import Problem, gates_line
from lcsd.build.jobs import BuildFiles, Job, case_jobs
from lcsd.build.pairs import Pair, read_pairs
from lcsd.build.plan import Build
from lcsd.monitor.speed import Pace, Records, Rest, Span, medians, pace, rest
from lcsd.monitor.states import STATES, JobState, Snapshot, cases_in, snapshot

SLOWEST = 3
"""Cases that are named for each stage."""

ERRORS = 5
"""Last errors that are shown."""

LOG_TAIL_BYTES = 4096
"""Enough for the last line of a log."""

BUILD_STATES = {
    "running": "running in {folder}",
    "locked": "locked, but no snakemake runs in {folder} on this machine: it runs on another one "
    "or was killed (then run its command once with --unlock)",
    "idle": "not running",
    "unknown": "unknown: Snakemake's folder is not found, so running jobs count as failed (give --directory)",
}


@dataclass(frozen=True)
class StageStatus:
    """The jobs of one stage; the two methods of ``evaluate`` count as two jobs of a case."""

    stage: str
    counts: Mapping[JobState, int]
    median_s: float | None  # median wall seconds of a job; None if none is done
    per_h: float  # recently finished jobs per hour
    slowest: Sequence[tuple[str, float]]  # cases with the longest jobs, and their seconds


@dataclass(frozen=True)
class Failure:
    """A job that failed or rejected its case, and its message."""

    case: str
    stage: str
    message: str


@dataclass(frozen=True)
class Status:
    """Progress of a build."""

    results: str  # folder of the build
    # state, folder: Snakemake's state and working folder (:class:`lcsd.monitor.engine.Engine`)
    state: str
    folder: str | None
    stages: Sequence[StageStatus]  # in the order of the pipeline
    cases: int  # known cases
    finished: int  # cases with all of their files
    rejected: int  # by a stage
    discarded: int  # by a gate, finished or not
    borderline: int  # flagged by a gate and not kept, finished or not
    gates: str | None  # one line on the cases that gates leave out
    broken: Sequence[Problem]  # broken files; their cases count neither as finished nor in statistics
    going: Pace | None  # pace of the build
    left: Rest  # remaining work
    failures: Sequence[Failure]  # the last ones, newest first
    selected: bool = True  # whether the cases are known; those of a selection are known after it

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain values."""
        return asdict(self)

    def count(self, state: JobState) -> int:
        """Return the number of jobs in a state."""
        return sum(stage.counts.get(state, 0) for stage in self.stages)

    @property
    def ended(self) -> bool:
        """Whether nothing runs and no job is left to run."""
        return self.state != "running" and not self.count("running") + self.count("waiting")


def jobs_of(results: Path, build: Build | None, files: set[str]) -> tuple[list[Job], dict[str, Pair], bool]:
    """Return the jobs of a build, its known pairs by case, and whether all of its cases are known.

    Without a build, the manifest of a selection gives the cases, or else the existing files.
    """
    if build is not None:
        jobs = build.jobs()
        selected = any(job.stage == "report" for job in jobs)
        return jobs, build.pairs if selected else {}, selected
    manifest = BuildFiles(results).pairs
    if manifest.is_file():
        pairs = {pair.case: pair for pair in read_pairs(manifest)}
        scored = {case: pair.landmarks is not None for case, pair in pairs.items()}
    else:
        pairs = {}
        with_scores = {path.split("/")[1] for path in files if "/evaluation/" in path}
        scored = {case: case in with_scores for case in cases_in(files)}
    return [job for case, has in scored.items() for job in case_jobs(case, scored=has)], pairs, True


def status(
    results: Path, build: Build | None = None, *, directory: Path | None = None, records: Records | None = None
) -> Status:
    """Return the progress of a build, which may be running; write nothing.

    Without ``build``, the jobs of existing cases count. ``directory`` is the working folder of Snakemake, see
    :func:`lcsd.monitor.engine.look`. With the ``records`` of an earlier call, only new files are read.

    Raises ``BadInputError`` if the folder does not exist, or its manifest is broken.
    """
    now = snapshot(results, directory, configured=build is not None)
    jobs, pairs, selected = jobs_of(results, build, now.files)
    states = now.states(jobs)
    reader = records or Records()
    done = [job for job in jobs if states[job] == "done"]
    spans = {job: span for job in done if (span := reader.span(results, job)) is not None}
    usual = medians(spans)
    by_case: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.case and job.stage != "screen":
            by_case[job.case].append(job)
    cases = {case: now.inventory.state(case, pairs.get(case)) for case in {job.case for job in jobs if job.case}}
    broken = {path: job.case for job in done if job not in spans for path in reader.broken(results, job)}
    out = {case for case, state in cases.items() if state.status in ("rejected", "broken", "waiting")} | {
        *broken.values()
    }
    finished = [c for c, own in by_case.items() if c not in out and all(states[job] == "done" for job in own)]
    ends = [max((spans[j].end for j in by_case[case] if j in spans), default=0) for case in finished]
    going = pace(spans, ends)
    left = [job for job in jobs if states[job] in ("running", "failed", "waiting")]
    return Status(
        results=str(results),
        state=now.engine.state,
        folder=None if now.engine.folder is None else str(now.engine.folder),
        stages=_stages(jobs, states, spans, usual, going),
        cases=len(by_case),
        finished=len(finished),
        rejected=sum(state.status == "rejected" for state in cases.values()),
        discarded=sum(state.status == "discarded" for state in cases.values()),
        borderline=sum(state.status == "borderline" for state in cases.values()),
        gates=gates_line(cases[case] for case in sorted(cases)),
        broken=sorted(
            [*now.inventory.problems, *(Problem(path, "broken provenance: not readable") for path in broken)],
            key=lambda problem: problem.file,
        ),
        going=going,
        left=rest(left, usual, going),
        failures=_failures(now, states),
        selected=selected,
    )


def _stages(
    jobs: Sequence[Job],
    states: Mapping[Job, JobState],
    spans: Mapping[Job, Span],
    usual: Mapping[str, float],
    going: Pace | None,
) -> list[StageStatus]:
    of: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        of[job.stage].append(job)
    found = []
    for stage, own in of.items():
        counts = Counter(states[job] for job in own)
        timed = [(job.case, spans[job].seconds) for job in own if job in spans and job.case]
        found.append(
            StageStatus(
                stage=stage,
                counts={state: counts[state] for state in STATES},
                median_s=usual.get(stage),
                per_h=0.0 if going is None else going.jobs_per_h.get(stage, 0.0),
                slowest=sorted(timed, key=lambda row: (-row[1], row[0]))[:SLOWEST],
            )
        )
    return found


def _failures(now: Snapshot, states: Mapping[Job, JobState]) -> list[Failure]:
    """Return the last failures, newest first, by the time of their record or log."""
    found: list[tuple[float, Failure]] = []
    for case, reason in now.rejections.items():
        path = BuildFiles(now.results).case(case).rejected
        found.append((_time(path), Failure(case, reason.stage, reason.message)))
    for job, state in states.items():
        if state == "failed":
            path = now.results / job.log
            message = _last_line(path) or "the log is empty"
            if now.is_marked(job):
                message = f"interrupted with the build; the log ends: {message}"
            found.append((_time(path), Failure(job.case, job.name, message)))
    found.sort(key=lambda row: (-row[0], row[1].case))
    return [failure for _, failure in found[:ERRORS]]


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _last_line(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
            lines = handle.read().decode(errors="replace").replace("\r", "\n").split("\n")
    except OSError:
        return ""
    return next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")


def line(found: Status) -> str:
    """Return a status as one line."""
    parts = [f"{found.finished} of {found.cases} cases finished"]
    if not found.selected:
        parts = ["cases not selected yet"]
    parts.append(f"{found.rejected} rejected")
    parts += [f"{found.discarded} discarded"] if found.discarded else []
    parts += [f"{found.borderline} borderline"] if found.borderline else []
    parts += [f"{len(found.broken)} broken files"] if found.broken else []
    parts += [f"{_jobs(found.count(state))} {state}" for state in ("running", "failed", "waiting")]
    return ", ".join([*parts, _rest_text(found)])


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"


def _rest_text(found: Status) -> str:
    jobs = sum(found.left.unknown.values())
    more = f", without {_jobs(jobs)} of stages with no time yet" if jobs else ""
    if found.left.eta_s is None:
        return f"time left unknown{more}"
    return f"{hours(found.left.eta_s)} left{more}"


def hours(seconds: float) -> str:
    """Return a duration in a suitable unit."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "min")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 3600:.1f} h"


def text(found: Status) -> str:
    """Return a status as a table and lines."""
    lines = [f"build     {BUILD_STATES[found.state].format(folder=found.folder)}"]
    columns = ("stage", *STATES, "median s", "per hour")
    lines.append(f"{columns[0]:<11}" + "".join(f"{name:>12}" for name in columns[1:]))
    for stage in found.stages:
        median = "" if stage.median_s is None else f"{stage.median_s:.1f}"
        cells = [*(str(stage.counts[state] or "-") for state in STATES), median]
        cells.append(f"{stage.per_h:.1f}" if stage.per_h else "")
        lines.append(f"{stage.stage:<11}" + "".join(f"{cell:>12}" for cell in cells))
    lines.append(f"cases     {line(found)}")
    lines += [f"gates     {found.gates}"] if found.gates else []
    if found.going is not None:
        lines.append(
            f"pace      {found.going.cases_per_h:.1f} cases/h, {found.going.at_once:.1f} jobs at "
            f"a time, in the last {hours(found.going.busy_h * 3600)} of work"
        )
    for stage in found.stages:
        if stage.slowest:
            named = ", ".join(f"{case} {seconds:.1f} s" for case, seconds in stage.slowest)
            lines.append(f"slowest   {stage.stage}: {named}")
    lines += [f"broken    {problem.line()}" for problem in found.broken]
    for failure in found.failures:
        where = " ".join(part for part in (failure.case, failure.stage) if part)
        lines.append(f"error     {where}: {failure.message}")
    return "\n".join(lines)
