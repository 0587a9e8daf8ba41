"""The state of each job of a build, from its files alone."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lcsd.build.inventory import Inventory
from lcsd.build.jobs import WITHIN, Job
from lcsd.build.rejections import Rejection
from lcsd.io.files import require_folder
from lcsd.monitor.engine import Engine, look
from lcsd.names import CASE_PATTERN

JobState = Literal["done", "running", "failed", "rejected", "held", "waiting"]
STATES: tuple[JobState, ...] = ("done", "running", "failed", "rejected", "held", "waiting")

FOLDERS = ("cases", "cohort", "report", "logs")
"""Folders with the files of jobs."""

BEGINS_S = 10.0
"""Seconds within which Snakemake marks a started job, also under load."""


@dataclass
class Snapshot:
    """The files and jobs of a build at one moment."""

    results: Path  # folder of the build
    engine: Engine  # Snakemake's work on it
    files: set[str] = field(default_factory=set)  # all files, as paths inside the results
    rejections: dict[str, Rejection] = field(default_factory=dict)  # of rejected cases, by case

    def __post_init__(self) -> None:
        self.inventory = Inventory(self.results, self.files, provenance=False)

    def states(self, jobs: Sequence[Job]) -> dict[Job, JobState]:
        """Return the state of every job; ``jobs`` are in the order of the pipeline.

        ``done``: all outputs exist. ``running``: Snakemake has started it. ``failed``: it started, made nothing and
        has ended: it failed, was killed or was interrupted with the build. ``rejected``: it rejected its case.
        ``held``: it needs a file of a rejected job. ``waiting``: it has not started.
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
        """Return whether Snakemake has started a job and not ended it."""
        return not self.engine.marked.isdisjoint(job.outputs)

    def _state(self, job: Job, lost: set[str]) -> JobState:
        if self.is_marked(job):
            return "failed" if self.engine.state == "idle" else "running"
        rejection = self.rejections.get(job.case)
        if rejection is not None and _is_of(rejection, job):
            return "rejected"
        if self.files.issuperset(job.outputs):
            return "done"
        # A job of the whole build may run without a case.
        if job.case and not lost.isdisjoint(job.inputs):
            return "held"
        return "failed" if job.log in self.files else "waiting"

    def _ended_since(self, job: Job) -> bool:
        """Return whether a job has finished since the files were listed."""
        return all((self.results / path).exists() for path in job.outputs)

    def _begins(self, job: Job) -> bool:
        """Return whether a job has just started: its log exists, and Snakemake's mark follows.

        A failed job has written to its log, unless it was killed.
        """
        if self.engine.state == "idle":
            return False
        try:
            log = (self.results / job.log).stat()
        except OSError:
            return False
        return log.st_size == 0 and abs(time.time() - log.st_mtime) < BEGINS_S


def _is_of(rejection: Rejection, job: Job) -> bool:
    """Return whether a job rejected its case; the target tells which evaluation it was."""
    targets = [path.split("/", 2)[-1] for path in job.outputs]
    return rejection.stage == job.stage and (not job.method or rejection.target in targets)


def snapshot(results: Path, directory: Path | None = None, *, configured: bool = False) -> Snapshot:
    """Return the present files and jobs of a build, which may be running; write nothing.

    ``configured``: a configuration names the results, which do not exist before the first job. Raises ``BadInputError``
    if a folder does not exist.
    """
    if directory is not None:
        require_folder(directory, "the folder in which snakemake was called", field="--directory")
    if results.exists() or not configured:
        require_folder(results, "the results of a build", remedy="name them, or give --config")
    # In this order, a job that starts meanwhile has a mark, and one that ends meanwhile has its outputs.
    files = set(list_files(results, FOLDERS))
    found = Snapshot(results, look(results, directory), files)
    rejected = (case for case in cases_in(files) if str(WITHIN.case(case).rejected) in files)
    known = ((case, found.inventory.rejection(case)) for case in rejected)
    found.rejections = {case: rejection for case, rejection in known if rejection is not None}
    return found


def list_files(root: Path, folders: Iterable[str]) -> Iterable[str]:
    """Yield the files in some folders of ``root``, as paths inside it; files may vanish meanwhile.

    ``rglob`` is five times slower and fails where a folder vanishes.
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
    """Return the names of the cases that have any file, sorted."""
    names = {path.split("/")[1] for path in files if path.startswith("cases/")}
    return sorted(name for name in names if CASE_PATTERN.fullmatch(name))
