"""Where to compute, with a check that the machine has the device; progress, time and memory of the work."""

import contextlib
import io
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from lcsd.errors import BadInputError

PLAIN_PROGRESS_SECONDS = 10.0
"""Between two progress lines if standard error is not a terminal."""

TOLD_PROGRESS_SECONDS = 0.1
"""Between two reports to :func:`progress_told`."""

Tell = Callable[[str, float, float | None, str], None]
"""Called with the label of a bar, the steps done, all steps (None: unknown) and the text at its end."""

_tell: ContextVar[Tell | None] = ContextVar("tell", default=None)

RESIDENT_UNIT = 1 if sys.platform == "darwin" else 1024
"""Bytes in which the system reports the peak resident set: macOS in bytes, Linux in KiB."""


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process or of one of its children, GiB."""
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return usage * RESIDENT_UNIT / 2**30


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, seconds."""
    return sum(os.times()[:4])


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True)
class Compute:
    """Where a scan is computed, and what is called at each step."""

    device: str = "cpu"  # ``cpu`` or ``cuda``; never changed silently
    threads: int = 1  # CPU threads
    progress: Callable[[str], None] = _silent  # called with a line of text at each long step

    def require_cpu(self, what: str) -> None:
        """Raise ``BadInputError`` unless this is the CPU, the only device that ``what`` supports."""
        if self.device != "cpu":
            raise BadInputError(
                f"{what} runs on the CPU only",
                code="bad_usage",
                field="--device",
                expected="cpu",
                found=self.device,
                remedy="leave --device out",
            )


ONE_CORE = Compute()


def check_device(device: str) -> None:
    """Raise ``BadInputError`` unless ``device`` is ``"cpu"``, or ``"cuda"`` on a machine with it.

    It never falls back to the CPU silently: a user who asks for a GPU expects its speed.
    """
    if device == "cpu":
        return
    if device != "cuda":
        raise BadInputError(
            "unknown device", code="unknown_device", field="device", expected="cpu or cuda", found=device
        )
    import torch

    if not torch.cuda.is_available():
        raise BadInputError(
            "no CUDA device is usable",
            code="no_cuda",
            field="device",
            found=f"torch {torch.__version__}",
            remedy="use --device cpu, or install a driver and a build of torch for CUDA",
        )


class _ToldBar(tqdm):  # type: ignore[type-arg]
    """A bar that is told to a program instead of drawn."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
        """Report the state where other bars would draw it."""
        tell = _tell.get()
        if tell is not None:
            tell(str(self.desc).removesuffix(": "), self.n, self.total, str(self.postfix or ""))


@contextlib.contextmanager
def progress_told(tell: Tell) -> Iterator[None]:
    """Call ``tell`` for every progress bar of this thread in the block, instead of drawing it."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def progress_bar(
    items: Iterable[Any] = (), *, label: str, total: float | None = None, unit: str = "it", disable: bool = False
) -> "tqdm[Any]":
    """Return ``items`` with a progress bar on a terminal, and with plain lines elsewhere."""
    if _tell.get() is not None:
        return _ToldBar(
            items, desc=label, total=total, mininterval=TOLD_PROGRESS_SECONDS, file=io.StringIO(), disable=disable
        )
    terminal = sys.stderr.isatty()
    return tqdm(
        items,
        desc=label,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
        ascii=not terminal,
        dynamic_ncols=terminal,
        disable=disable,
    )


class Clock:
    """Add up the wall seconds of named steps in ``seconds``.

    ``wait`` is called before the clock is read, since a step that starts work on a GPU returns before it is done.
    """

    def __init__(self, wait: Callable[[], None] = lambda: None) -> None:
        self.seconds: dict[str, float] = {}
        self._wait = wait

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the wall seconds of the block to a step."""
        start = time.monotonic()
        yield
        self._wait()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
