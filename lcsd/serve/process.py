"""The worker as the server sees it: a process that does one job after the other, and can be killed."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

Tell = Callable[[Mapping[str, Any]], None]

PROGRAM = (sys.executable, "-c", "from lcsd.cli.main import main; main()", "serve", "--worker")

BUILD_VARIABLES = ("LCSD_BUILD",)
"""Of a build that started the server; its end is no end of a job."""


class WorkerDiedError(Exception):
    """The worker has ended before its job."""


class Worker:
    """A process with everything loaded that jobs need; it starts at once and is ready some seconds later.

    ``memory_bytes`` limits what it may allocate, ``threads`` the cores it uses.
    """

    def __init__(self, *, memory_bytes: int, threads: int) -> None:
        environment = {key: value for key, value in os.environ.items() if key not in BUILD_VARIABLES}
        self._process = subprocess.Popen(
            [*PROGRAM, str(os.getpid()), str(memory_bytes), "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        self.expired = False

    @property
    def pid(self) -> int:
        """Process id, which is also that of its group."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe was asked for
        line = self._process.stdout.readline()
        if not line.endswith("\n"):
            raise WorkerDiedError
        found: dict[str, Any] = json.loads(line)
        return found

    def wait_ready(self) -> None:
        """Wait until everything is loaded; raise ``WorkerDiedError`` if the process has ended."""
        while not self._line().get("ready"):
            pass

    def run(self, job: Mapping[str, Any], tell: Tell, *, seconds: float) -> dict[str, Any]:
        """Return the last message of a job, with ``done`` or ``failed``; call ``tell`` with those before.

        Raises ``WorkerDiedError`` if the process ends before; ``expired`` says whether its time was over.
        """
        assert self._process.stdin is not None  # noqa: S101 - a pipe was asked for
        timer = threading.Timer(seconds, self._expire)
        timer.daemon = True
        timer.start()
        try:
            self._process.stdin.write(json.dumps(job) + "\n")
            self._process.stdin.flush()
            while True:
                message = self._line()
                if "done" in message or "failed" in message:
                    return message
                tell(message)
        except BrokenPipeError as error:
            raise WorkerDiedError from error
        finally:
            timer.cancel()

    def _expire(self) -> None:
        self.expired = True
        self.kill()

    def kill(self) -> None:
        """End the process and all that it has started, now."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
