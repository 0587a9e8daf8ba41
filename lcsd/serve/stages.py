"""The stages of a job: commands of lcsd that run in this process, and how far they are."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from lcsd.numerics.device import progress_told

DISTANCE = "distance "
"""What the bar of a registration shows at its end, before a number."""

WARNING = "warning: "


@dataclass(frozen=True)
class Commands:
    """How commands of lcsd run in this process."""

    run: Callable[[Sequence[str]], None]  # raises the LcsdError with which a command fails
    named: Callable[[], AbstractContextManager[None]]  # turns every failure of a block into an LcsdError


class _Lines(io.TextIOBase):
    """Passes each line that is written to a function."""

    def __init__(self, take: Callable[[str], None]) -> None:
        self._take, self._rest = take, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._take(line)
        return len(text)


class Work:
    """A job at work: runs commands and tells the server how far it is."""

    def __init__(self, commands: Commands, send: Callable[[Mapping[str, Any]], None], *, threads: int) -> None:
        self._commands, self._send, self._threads = commands, send, threads
        self._low, self._high = 0.0, 0.0
        self.warnings: list[str] = []
        self.said: list[list[str]] = []

    def stage(self, words: str, until: float) -> None:
        """Begin a stage that ends at this share of the job."""
        self._low, self._high = self._high, until
        self._send({"stage": words, "message": "", "progress": self._low})

    def run(self, *words: str) -> None:
        """Run a command and remember it as a user would type it; the number of threads changes no byte."""
        self.said.append(["lcsd", *words])
        quiet = contextlib.redirect_stdout(io.StringIO())
        with progress_told(self._tell), contextlib.redirect_stderr(_Lines(self._take)), quiet:
            self._commands.run([*words, "--threads", str(self._threads)])

    def _tell(self, _: str, done: float, total: float | None, text: str) -> None:
        told: dict[str, Any] = {}
        if total:
            told = {"progress": self._low + (self._high - self._low) * done / total}
            told["message"] = f"step {done:g} of {total:g}"
        if text.startswith(DISTANCE):
            told["distance"] = float(text.removeprefix(DISTANCE))
        self._send(told)

    def _take(self, line: str) -> None:
        before, warned, text = line.partition(WARNING)
        if warned and before.startswith("lcsd "):
            self.warnings.append(text)
