"""Jobs of the server: a queue, one worker, and files that are erased in time."""

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.serve.offers import Limits
from lcsd.serve.process import Worker, WorkerDiedError

State = Literal["queued", "running", "done", "failed", "cancelled"]

ENDED = frozenset({"done", "failed", "cancelled"})

FIRST_SHARE = 0.1
"""Share of a job after which the rest can be estimated."""

SWEEP_SECONDS = 5.0

RETRY_SECONDS = 2.0
"""Before another worker is started in the place of one that could not load."""


@dataclass
class Job:
    """A job; ``spec`` is what the worker is told."""

    id: str
    folder: Path
    spec: Mapping[str, Any]
    created: float = field(default_factory=time.monotonic)
    state: State = "queued"
    progress: float = 0.0
    stage: str = ""
    message: str = ""
    distance: float | None = None
    curve: list[float] = field(default_factory=list)
    result: dict[str, Any] | None = None
    error: dict[str, str | None] | None = None
    started: float | None = None
    ended: float | None = None

    def update(self, told: Mapping[str, Any]) -> None:
        """Take over what the worker has told."""
        self.stage = told.get("stage", self.stage)
        self.message = told.get("message", self.message)
        self.progress = max(self.progress, told.get("progress", 0.0))
        if "distance" in told:
            self.distance = told["distance"]
            self.curve.append(told["distance"])

    def end(
        self, state: State, *, result: dict[str, Any] | None = None, error: dict[str, str | None] | None = None
    ) -> None:
        """End the job; later calls change nothing. ``error`` has the parts of an ``LcsdError``."""
        if self.state in ENDED:
            return
        self.state, self.ended, self.result, self.error = state, time.monotonic(), result, error
        self.message = "" if error is None else str(error["message"])
        if state == "done":
            self.progress = 1.0

    def seconds(self) -> float | None:
        """Return the seconds since the start, up to the end."""
        return None if self.started is None else (self.ended or time.monotonic()) - self.started

    def public(self, ahead: int) -> dict[str, Any]:
        """Return the state as the API says it; ``ahead`` is the number of jobs before this one."""
        spent = self.seconds()
        left = None
        if self.state == "running" and spent is not None and self.progress > FIRST_SHARE:
            left = round(spent * (1 - self.progress) / self.progress, 1)
        return {
            "id": self.id,
            "state": self.state,
            "ahead": ahead,
            "progress": round(self.progress, 4),
            "stage": self.stage,
            "message": self.message,
            "distance": self.distance,
            "curve": self.curve,
            "seconds": None if spent is None else round(spent, 1),
            "seconds_left": left,
            "result": self.result,
            "error": self.error,
        }


def stored_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    total = 0
    for top, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += (Path(top) / name).stat().st_size
    return total


class Jobs:
    """All jobs of a server, in ``folder``. One at a time runs; checks of uploads go before registrations."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits = folder, limits
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._worker = self._new_worker()
        self._ready = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()
        threading.Thread(target=self._sweep, name="sweep", daemon=True).start()

    def _new_worker(self) -> Worker:
        return Worker(memory_bytes=self._limits.memory_bytes, threads=self._limits.threads)

    @property
    def worker(self) -> Worker:
        """The process that works."""
        return self._worker

    def new_folder(self) -> tuple[str, Path]:
        """Return a new id, which nobody can guess, and an empty folder for its files.

        Raises ``WorkError`` (``queue_full``, ``storage_full``) if the server has no room.
        """
        with self._changed:
            waiting = len(self._waiting)
        if waiting >= self._limits.jobs:
            raise WorkError(
                "too many jobs are waiting",
                code="queue_full",
                expected=f"fewer than {self._limits.jobs}",
                found=waiting,
                remedy="try again in a minute",
            )
        stored = stored_bytes(self._folder)
        if stored > self._limits.stored_bytes:
            raise WorkError(
                "the server has no room for more files",
                code="storage_full",
                expected=f"at most {self._limits.stored_bytes >> 20} MiB",
                found=f"{stored >> 20} MiB",
                remedy="delete finished jobs, or wait until they are erased",
            )
        name = secrets.token_hex(16)
        folder = self._folder / name
        folder.mkdir(mode=0o700)
        return name, folder

    def add(self, name: str, folder: Path, spec: Mapping[str, Any]) -> Job:
        """Put a job at the end of the queue; a check before all registrations."""
        job = Job(name, folder, {**spec, "folder": str(folder)})
        with self._changed:
            self._jobs[name] = job
            at = len(self._waiting)
            if spec.get("check_only"):
                at = next((i for i, other in enumerate(self._waiting) if not other.spec.get("check_only")), at)
            self._waiting.insert(at, job)
            self._changed.notify_all()
        return job

    def get(self, name: str) -> Job:
        """Return a job; raise ``BadInputError`` (``unknown_job``) if there is none."""
        with self._changed:
            job = self._jobs.get(name)
        if job is None:
            raise BadInputError(
                "there is no such job", code="unknown_job", field="ID", remedy="its files may have been erased"
            )
        return job

    def ahead(self, job: Job) -> int:
        """Return how many jobs are done before this one, the running one included."""
        with self._changed:
            if job not in self._waiting:
                return 0
            return self._waiting.index(job) + (self._running is not None)

    def cancel(self, name: str) -> Job:
        """End a job and erase its files: a running one by killing its process; forget it if it had ended."""
        job = self.get(name)
        with self._changed:
            over = job.state in ENDED
            if job in self._waiting:
                self._waiting.remove(job)
            job.end("cancelled")
            if self._running is job:
                self._worker.kill()
            if over:
                del self._jobs[name]
        shutil.rmtree(job.folder, ignore_errors=True)
        return job

    def close(self) -> None:
        """End the worker; nothing runs after this."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._worker.kill()
        self._thread.join(timeout=10)

    def _work(self) -> None:
        while not self._closed:
            with contextlib.suppress(WorkerDiedError):
                if not self._ready:
                    self._worker.wait_ready()
                    self._ready = True
                job = self._next()
                if job is not None:
                    self._do(job)
            if not self._worker.alive and not self._closed:
                self._refill()

    def _refill(self) -> None:
        """Start another worker in the place of one that has ended; without any work done, all jobs fail first."""
        if not self._ready:
            with self._changed:
                stranded, self._waiting = self._waiting, []
            for job in stranded:
                job.end("failed", error=self._death().to_dict())
            time.sleep(RETRY_SECONDS)
        with self._changed:
            if not self._closed:
                self._worker, self._ready = self._new_worker(), False

    def _next(self) -> Job | None:
        """Wait for a job and return it; None once the server closes or the worker has ended."""
        with self._changed:
            while not self._waiting and not self._closed and self._worker.alive:
                self._changed.wait(timeout=1.0)
            if self._closed or not self._worker.alive:
                return None
            job = self._running = self._waiting.pop(0)
            job.state, job.started = "running", time.monotonic()
            return job

    def _do(self, job: Job) -> None:
        try:
            answer = self._worker.run(job.spec, job.update, seconds=self._limits.seconds)
        except WorkerDiedError:
            self._worker.kill()
            job.end("failed", error=self._death().to_dict())
            raise
        finally:
            with self._changed:
                self._running = None
        if "done" in answer:
            job.end("done", result=answer["done"])
        else:
            job.end("failed", error=answer["failed"])
        if job.state == "cancelled":
            shutil.rmtree(job.folder, ignore_errors=True)

    def _death(self) -> LcsdError:
        """Return why the worker has ended before its job."""
        if self._worker.expired:
            return WorkError(
                "the job took too long",
                code="time_limit",
                expected=f"at most {self._limits.seconds:g} s",
                remedy="thin the clouds or choose a faster method",
            )
        return WorkError(
            "the process of the job has ended",
            code="worker_died",
            remedy="try again; if it ends again, the files need more memory than the server grants",
        )

    def _sweep(self) -> None:
        """Erase the files of jobs that ended long ago."""
        while not self._closed:
            limit = time.monotonic() - self._limits.kept_seconds
            with self._changed:
                old = [job for job in self._jobs.values() if job.ended is not None and job.ended < limit]
                for job in old:
                    del self._jobs[job.id]
            for job in old:
                shutil.rmtree(job.folder, ignore_errors=True)
            with self._changed:
                if not self._closed:
                    self._changed.wait(timeout=min(SWEEP_SECONDS, self._limits.kept_seconds))
