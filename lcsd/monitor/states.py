"""In which state each job of a build is, told from its files alone."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lcsd.build.inventory import Inventory
from lcsd.build.jobs import WITHIN, Job
from lcsd.build.rejections import Rejection
from lcsd.errors import BadInputError
from lcsd.monitor.engine import Engine, look
from lcsd.names import CASE_PATTERN

JobState = Literal["done", "running", "failed", "rejected", "held", "waiting"]
STATES: tuple[JobState, ...] = ("done", "running", "failed", "rejected", "held", "waiting")

FOLDERS = ("cases", "cohort", "report", "logs")
"""Where the files of jobs stand."""

BEGINS_S = 10.0
"""Seconds within which Snakemake marks a job that it has started; under load they are not few."""


@dataclass
class Snapshot:
    """What there is of a build at one moment.

    Parameters
    ----------
    results
        Folder of the build.
    engine
        What Snakemake does with it.
    files
        Every file, as a path inside the results.
    rejections
        Why cases were rejected, by case.
    """

    results: Path
    engine: Engine
    files: set[str] = field(default_factory=set)
    rejections: dict[str, Rejection] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.inventory = Inventory(self.results, self.files, provenance=False)

    def states(self, jobs: Sequence[Job]) -> dict[Job, JobState]:
        """Return the state of every job; ``jobs`` are in the order of the pipeline.

        ``done``: all of its outputs are there. ``running``: Snakemake has begun it. ``failed``: it
        has begun, made nothing and runs no more: failed, killed, or cut off with the build.
        ``rejected``: it rejected its case. ``held``: it reads what such a job would make.
        ``waiting``: it has not begun.
        """
        lost: set[str] = set()
        found: dict[Job, JobState] = {}
        for job in jobs:
            state = self._state(job, lost)
            if state == "failed" and not self.is_marked(job):
                if self._ended_since(job):
                    state = "done"
                elif self._begins(job):
                    state = "running"
            if state in ("rejected", "held") and job.case:
                lost |= set(job.outputs)
            found[job] = state
        return found

    def is_marked(self, job: Job) -> bool:
        """Return whether Snakemake has begun a job and not ended it."""
        return not self.engine.marked.isdisjoint(job.outputs)

    def _state(self, job: Job, lost: set[str]) -> JobState:
        if self.is_marked(job):
            return "failed" if self.engine.state == "idle" else "running"
        rejection = self.rejections.get(job.case)
        if rejection is not None and _is_of(rejection, job):
            return "rejected"
        if self.files.issuperset(job.outputs):
            return "done"
        # A job of the whole build may go on without a case.
        if job.case and not lost.isdisjoint(job.inputs):
            return "held"
        return "failed" if job.log in self.files else "waiting"

    def _ended_since(self, job: Job) -> bool:
        """Return whether a job has ended well while the files were listed."""
        return all((self.results / path).exists() for path in job.outputs)

    def _begins(self, job: Job) -> bool:
        """Return whether a job has just begun: its log is made, Snakemake's mark follows.

        A job that failed has said something in its log, unless it was killed.
        """
        if self.engine.state == "idle":
            return False
        try:
            log = (self.results / job.log).stat()
        except OSError:
            return False
        return log.st_size == 0 and abs(time.time() - log.st_mtime) < BEGINS_S


def _is_of(rejection: Rejection, job: Job) -> bool:
    """Return whether a job rejected its case; an evaluation is told by what it was to make."""
    targets = [path.split("/", 2)[-1] for path in job.outputs]
    return rejection.stage == job.stage and (not job.method or rejection.target in targets)


def snapshot(results: Path, directory: Path | None = None, *, configured: bool = False) -> Snapshot:
    """Return what there is of a build, which may be running; nothing is written.

    Parameters
    ----------
    configured
        Whether a configuration names the results: before the first job there are none.

    Raises
    ------
    BadInputError
        There is no such folder.
    """
    if directory is not None and not directory.is_dir():
        raise BadInputError(
            "there is no such folder",
            code="missing_folder",
            field="--directory",
            found=directory,
            expected="the folder in which snakemake was called",
        )
    if not results.is_dir() and not (configured and not results.exists()):
        there = results.exists()
        raise BadInputError(
            "not a folder" if there else "there is no such build",
            code="not_a_folder" if there else "missing_folder",
            file=results,
            expected="the folder of a build",
            remedy="name it, or give --config",
        )
    # In this order: of a job that began meanwhile there is a mark, of one that ended its outputs.
    files = set(list_files(results, FOLDERS))
    found = Snapshot(results, look(results, directory), files)
    rejected = (case for case in cases_in(files) if str(WITHIN.case(case).rejected) in files)
    known = ((case, found.inventory.rejection(case)) for case in rejected)
    found.rejections = {case: rejection for case, rejection in known if rejection is not None}
    return found


def list_files(root: Path, folders: Iterable[str]) -> Iterable[str]:
    """Yield the files in some folders of ``root``, as paths inside it; what vanishes is left out.

    Not ``rglob``, which is five times slower and stops where a folder vanishes.
    """
    left = list(folders)
    while left:
        folder = left.pop()
        try:
            with os.scandir(root / folder) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        left.append(path)
                    else:
                        yield path
        except OSError:
            continue


def cases_in(files: Iterable[str]) -> list[str]:
    """Return the cases of which there is any file, by name."""
    names = {path.split("/")[1] for path in files if path.startswith("cases/")}
    return sorted(name for name in names if CASE_PATTERN.fullmatch(name))
