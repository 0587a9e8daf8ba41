"""The queue, with a worker that does nothing: order, limits, ends."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lcsd.errors import LcsdError
from lcsd.serve.jobs import Job, Jobs
from lcsd.serve.offers import Limits
from lcsd.serve.process import Tell, WorkerDiedError


class IdleWorker:
    """A worker whose jobs end when the test says so."""

    made: ClassVar["list[IdleWorker]"] = []
    answers: ClassVar["queue.Queue[dict[str, Any] | None]"] = queue.Queue()
    begun: ClassVar[list[str]] = []

    def __init__(self, **_: int) -> None:
        self.expired, self.alive = False, True
        self.made.append(self)

    def wait_ready(self) -> None:
        pass

    def run(self, job: Mapping[str, Any], tell: Tell, *, seconds: float) -> dict[str, Any]:
        self.begun.append(job["name"])
        tell({"stage": "working", "progress": 0.5, "distance": 0.25})
        end = time.monotonic() + seconds
        while self.alive:
            try:
                answer = self.answers.get(timeout=0.02)
            except queue.Empty:
                if time.monotonic() > end:
                    self.expired = True
                    self.kill()
                continue
            if answer is None:
                break
            return answer
        self.alive = False
        raise WorkerDiedError

    def kill(self) -> None:
        self.alive = False


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """A queue; a test may give its limits."""
    monkeypatch.setattr("lcsd.serve.jobs.Worker", IdleWorker)
    monkeypatch.setattr("lcsd.serve.jobs.SWEEP_SECONDS", 0.02)
    IdleWorker.made, IdleWorker.begun, IdleWorker.answers = [], [], queue.Queue()
    found = Jobs(tmp_path, getattr(request, "param", Limits()))
    yield found
    found.close()


def add(jobs: Jobs, name: str, *, check_only: bool = False) -> Job:
    number, folder = jobs.new_folder()
    (folder / "fixed.csv").write_text("x" * 1000)
    return jobs.add(number, folder, {"name": name, "check_only": check_only})


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_two_users_wait_in_order_and_checks_go_first(jobs: Jobs) -> None:
    first = add(jobs, "first")
    until(lambda: first.state == "running")
    second, third, check = add(jobs, "second"), add(jobs, "third"), add(jobs, "check", check_only=True)
    assert [jobs.ahead(job) for job in (first, check, second, third)] == [0, 1, 2, 3]
    assert second.public(2)["state"] == "queued"
    for _ in range(4):
        IdleWorker.answers.put({"done": {"good": True}})
    until(lambda: third.state == "done")
    assert IdleWorker.begun == ["first", "check", "second", "third"]
    assert (first.result, first.progress, first.curve) == ({"good": True}, 1.0, [0.25])
    assert len(IdleWorker.made) == 1


def test_time_left_is_estimated_from_what_is_done(jobs: Jobs) -> None:
    job = add(jobs, "a")
    until(lambda: job.state == "running" and job.progress == 0.5)
    job.started = time.monotonic() - 30
    assert job.public(0)["seconds_left"] == pytest.approx(30, abs=2)


def test_a_cancelled_job_never_runs_and_a_finished_one_is_forgotten(jobs: Jobs) -> None:
    first, second = add(jobs, "first"), add(jobs, "second")
    until(lambda: first.state == "running")
    assert jobs.cancel(second.id).state == "cancelled"
    assert not second.folder.exists()
    jobs.cancel(first.id)
    until(lambda: len(IdleWorker.made) == 2)
    assert not IdleWorker.made[0].alive
    assert (first.state, first.error) == ("cancelled", None)
    third = add(jobs, "third")
    IdleWorker.answers.put({"done": {}})
    until(lambda: third.state == "done")
    assert IdleWorker.begun == ["first", "third"]
    jobs.cancel(third.id)
    assert not third.folder.exists()
    with pytest.raises(LcsdError, match="unknown_job"):
        jobs.get(third.id)


@pytest.mark.parametrize("jobs", [Limits(seconds=0.1)], indirect=True)
def test_a_job_without_end_is_ended(jobs: Jobs) -> None:
    job = add(jobs, "endless")
    until(lambda: job.state == "failed")
    assert job.error is not None
    assert job.error["code"] == "time_limit"
    until(lambda: len(IdleWorker.made) == 2)


def test_a_dead_worker_is_replaced(jobs: Jobs) -> None:
    job, after = add(jobs, "a"), add(jobs, "b")
    IdleWorker.answers.put(None)
    until(lambda: job.state == "failed")
    assert job.error is not None
    assert job.error["code"] == "worker_died"
    IdleWorker.answers.put({"failed": {"code": "bad_input", "message": "told"}})
    until(lambda: after.state == "failed")
    assert (after.message, after.error) == ("told", {"code": "bad_input", "message": "told"})


@pytest.mark.parametrize("jobs", [Limits(kept_seconds=0.05)], indirect=True)
def test_results_are_erased_in_time(jobs: Jobs) -> None:
    job = add(jobs, "a")
    IdleWorker.answers.put({"done": {}})
    until(lambda: not job.folder.exists())
    with pytest.raises(LcsdError, match="unknown_job"):
        jobs.get(job.id)


@pytest.mark.parametrize(
    ("jobs", "code"), [(Limits(jobs=1), "queue_full"), (Limits(stored_bytes=1500), "storage_full")], indirect=["jobs"]
)
def test_a_full_server_takes_no_more(jobs: Jobs, code: str) -> None:
    first = add(jobs, "first")
    until(lambda: first.state == "running")
    add(jobs, "second")
    with pytest.raises(LcsdError, match=code):
        add(jobs, "third")


def test_names_cannot_be_guessed_and_folders_are_private(jobs: Jobs) -> None:
    names = {jobs.new_folder() for _ in range(50)}
    assert len(names) == 50
    for name, folder in names:
        assert len(name) == 32
        assert folder.stat().st_mode & 0o077 == 0


def test_closing_ends_the_worker(jobs: Jobs) -> None:
    job = add(jobs, "a")
    until(lambda: job.state == "running")
    closing = threading.Thread(target=jobs.close)
    closing.start()
    closing.join(timeout=20)
    assert not IdleWorker.made[0].alive
    assert len(IdleWorker.made) == 1
