"""Where to compute: refuses a device that this machine does not have."""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lcsd.errors import BadInputError

KIBIBYTE = 1024
"""Linux reports the peak resident set in KiB."""


def peak_memory_gib() -> float:
    """Return the largest resident memory of this process or of one of its children, GiB."""
    usage = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return usage * KIBIBYTE / 2**30


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended, seconds."""
    return sum(os.times()[:4])


def _silent(_: str) -> None:
    return None


@dataclass(frozen=True)
class Compute:
    """Where a scan is computed, and who is told of it.

    Parameters
    ----------
    device
        ``cpu`` or ``cuda``; there is no silent change from one to the other.
    threads
        CPU threads.
    progress
        Called with a line of text at each step that takes long.
    """

    device: str = "cpu"
    threads: int = 1
    progress: Callable[[str], None] = _silent

    def require_cpu(self, what: str) -> None:
        """Raise ``BadInputError`` unless this is the CPU, the only device that ``what`` knows."""
        if self.device != "cpu":
            raise BadInputError(
                f"{what} computes on the CPU only",
                code="bad_usage",
                field="--device",
                expected="cpu",
                found=self.device,
                remedy="leave --device out",
            )


ONE_CORE = Compute()


def check_device(device: str) -> None:
    """Raise ``BadInputError`` unless ``device`` is ``"cpu"``, or ``"cuda"`` on a machine with it.

    There is no silent way back to the CPU: who asks for a GPU plans with its speed.
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
            "no CUDA device can be used",
            code="no_cuda",
            field="device",
            found=f"torch {torch.__version__}",
            remedy="use --device cpu, or install a driver and a build of torch for CUDA",
        )


class Clock:
    """Adds up the wall seconds of named steps in ``seconds``.

    Parameters
    ----------
    wait
        Called before the clock is read: a step that hands work to a GPU returns before it is done.
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
