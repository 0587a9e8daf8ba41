"""Read seconds, memory, bytes and files of each case from the provenance of a finished build."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import ClassVar

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
)

from lcsd.build.inventory import Inventory, Problem
from lcsd.build.jobs import BuildFiles, visible_files
from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.build.records import Records, read_records
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_json
from lcsd.names import Basis

FORMAT = "lcsd measures 1"

EVALUATE = "evaluate"
SCREEN = "screen"
TWO_SCANS = ("convert", "lungs", "vessels", "cloud", "keypoints")
"""Stages whose jobs run their command once for each scan."""

BUILD_FIRST = "make a small build first (make demo) and pass its results"

STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)

MOST_START_S = 60.0  # a longer time between the commands of a job is not a start: one scan was rebuilt later


class _Settings(BaseModel):
    threads: PositiveInt | None = None
    device: str | None = None


class _Record(BaseModel):
    stage: str
    wall_s: NonNegativeFloat
    cpu_s: NonNegativeFloat | None = None
    peak_memory_gib: NonNegativeFloat
    settings: _Settings
    date: AwareDatetime


@dataclass(frozen=True)
class Job:
    """A job of the finished build."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stage: str  # its name
    wall_s: NonNegativeFloat  # wall time measured by its commands, both scans together
    cpu_s: NonNegativeFloat | None  # their CPU time; None if the provenance has none
    commands: PositiveInt  # how many
    threads: PositiveInt  # threads of each
    memory_gib: NonNegativeFloat  # peak resident memory of one command
    gpu: bool  # whether they computed on a GPU


@dataclass(frozen=True)
class Case:
    """A finished case: jobs, bytes, and number of files."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    jobs: tuple[Job, ...]
    size_bytes: NonNegativeInt
    files: NonNegativeInt


@dataclass(frozen=True)
class Measures:
    """The figures of a finished build, without names and paths of cases."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    cases: tuple[Case, ...]  # the finished ones
    screenings: tuple[Job, ...]  # jobs that screened a candidate
    starts_s: float | None  # mean seconds between the two commands of a job; None if no job has two
    left_out: int  # cases that are unfinished, were rejected, or have broken provenance
    # report_bytes, page_bytes: size of the report without pages of cases, and of one such page with its files
    report_bytes: int
    page_bytes: int
    # first, last: dates of the first and the last record, ISO 8601
    first: str
    last: str

    def case_gb(self) -> float:
        """Return the mean disk of a case, 10^9 bytes."""
        return statistics.fmean(case.size_bytes for case in self.cases) / 1e9

    def by_stage(self) -> dict[str, list[Job]]:
        """Return the jobs of each stage, of all cases and screenings."""
        found: dict[str, list[Job]] = defaultdict(list)
        for job in chain(*(case.jobs for case in self.cases), self.screenings):
            found[job.stage].append(job)
        return dict(found)

    def seconds(self, job: Job, *, start_s: float, basis: Basis) -> float:
        """Return the seconds of a job with the starts of its commands.

        ``cpu`` means CPU time over threads, as on a machine without other work, if that is less than the wall time.
        """
        work = job.wall_s
        if basis == "cpu":
            if job.cpu_s is None:
                raise BadInputError(
                    "the provenance has no CPU time",
                    code="no_cpu_time",
                    field=job.stage,
                    remedy="use --basis wall, or repeat the small build",
                )
            work = min(work, job.cpu_s / job.threads)
        return work + job.commands * start_s


def read_measures(path: Path, *, warn: Callable[[Problem], object] = lambda _: None) -> Measures:
    """Return the figures of the results of a build, or those in a file.

    ``warn`` gets every broken file that leaves a case out. Raises ``BadInputError`` if the results are missing
    (``missing_file``), no case is finished (``no_finished_case``), or the file was not written by
    :func:`write_measures` (``bad_measures``).
    """
    if path.is_file():
        return _from_file(path)
    if not BuildFiles(path).cases.is_dir():
        what = "the folder has no results of a build"
        raise BadInputError(what, code="missing_file", file=path, expected="a folder cases", remedy=BUILD_FIRST)
    cases, dates, gaps, left_out = [], [], [], 0
    for state in Inventory(path).states():
        for problem in state.broken:
            warn(problem)
        found = list(_records(state.records))
        records = [(name, record) for name, record in found if record is not None]
        jobs = _jobs(records)
        if state.status in ("rejected", "broken") or len(records) < len(found) or not _finished(jobs):
            left_out += bool(found or state.broken)
            continue
        gaps += _gaps(records)
        dates += [record.date for _, record in records]
        cases.append(Case(jobs, *_size(state.folder)))
    if not cases:
        raise BadInputError("no case is finished", code="no_finished_case", file=path, remedy=BUILD_FIRST)
    screenings = visible_files(BuildFiles(path).screening("any").parent, f"*{PROVENANCE_SUFFIX}")
    names = (str(file.relative_to(path)) for file in screenings)
    screened = [record for _, record in _records(read_records(path, names))]
    return Measures(
        tuple(cases),
        tuple(_job([record]) for record in screened if record is not None),
        statistics.fmean(gaps) if gaps else None,
        left_out,
        *_report_size(path / "report"),
        min(dates).isoformat(),
        max(dates).isoformat(),
    )


def write_measures(path: Path, measures: Measures) -> None:
    """Write figures as JSON, for an estimate elsewhere."""
    write_json(path, {"format": FORMAT, **asdict(measures)})


def _from_file(path: Path) -> Measures:
    content = read_json(path)
    kind = content.pop("format", None)
    try:
        found = TypeAdapter(Measures).validate_python(content)
    except ValidationError:
        kind = None
    if kind != FORMAT or not found.cases or not all(_finished(case.jobs) for case in found.cases):
        raise BadInputError(
            "the file has no figures of a build",
            code="bad_measures",
            file=path,
            expected="a file of lcsd estimate --save",
        )
    return found


def _records(records: Records) -> Iterator[tuple[str, _Record | None]]:
    """Yield provenance by its path; None where it lacks something that is measured."""
    for name, content in records.contents.items():
        try:
            yield name, _Record.model_validate(content)
        except ValidationError:
            yield name, None


def _job(records: list[_Record]) -> Job:
    cpu = [record.cpu_s for record in records]
    return Job(
        stage=records[0].stage,
        wall_s=round(sum(record.wall_s for record in records), 3),
        cpu_s=None if None in cpu else round(sum(cpu), 3),  # type: ignore[arg-type]
        commands=len(records),
        threads=max(record.settings.threads or 1 for record in records),
        memory_gib=max(record.peak_memory_gib for record in records),
        gpu=any(record.settings.device == "cuda" for record in records),
    )


def _jobs(records: list[tuple[str, _Record]]) -> tuple[Job, ...]:
    """Return the jobs of a case: one for each stage, and for each evaluation."""
    grouped: dict[str, list[_Record]] = defaultdict(list)
    for name, record in records:
        grouped[name if record.stage == EVALUATE else record.stage].append(record)
    return tuple(_job(found) for found in grouped.values())


def _finished(jobs: tuple[Job, ...]) -> bool:
    return {"gates", "keypoints", "correspond", "register"} <= {job.stage for job in jobs}


def _gaps(records: list[tuple[str, _Record]]) -> list[float]:
    """Return the seconds between the two commands of each job; dates have whole seconds, so only the mean is exact."""
    pairs = defaultdict(list)
    for name, record in records:
        if record.stage in TWO_SCANS:
            pairs[record.stage, Path(name).parent].append(record)
    gaps = []
    for found in pairs.values():
        if len(found) == 2:
            first, second = sorted(found, key=lambda record: record.date)
            gap = (second.date - first.date).total_seconds() - second.wall_s
            if gap < MOST_START_S:
                gaps.append(gap)
    return gaps


def _size(folder: Path) -> tuple[int, int]:
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return sum(sizes), len(sizes)


def _report_size(folder: Path) -> tuple[int, int]:
    whole, _ = _size(folder)
    pages, _ = _size(folder / "cases")
    count = len(list((folder / "cases").glob("*.html")))
    return whole - pages, pages // count if count else 0
