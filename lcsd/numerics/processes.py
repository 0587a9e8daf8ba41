"""Work on many items in processes of their own, where threads would wait for Python's lock."""

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from lcsd.errors import WorkError
from lcsd.numerics.memory import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that the kernel sends when the parent ends."""


def in_processes(work: Callable[[T], R], items: Sequence[T], *, workers: int) -> Iterator[R]:
    """Yield the result of ``work`` for each item, in their order, as soon as it is there.

    With more than one worker and item, ``work``, items and results travel between processes, so they must be picklable;
    else ``work`` runs here. On Linux the processes end with this one, even if it is killed.

    Raises what ``work`` raises, and ``WorkError`` (``worker_ended``) if a process is killed, as by lack of memory.
    """
    workers = min(workers, len(items))
    if workers < 2:
        yield from map(work, items)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin) as pool:
        try:
            yield from pool.map(work, items)
        except BrokenProcessPool as error:
            raise WorkError(
                "a process that worked in parallel was killed",
                code="worker_ended",
                remedy="probably memory ran out; give more memory, or fewer --threads",
            ) from error


def _begin() -> None:
    keep_freed_memory()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
