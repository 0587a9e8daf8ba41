"""Threads that sleep while they wait: work in parts, and torch without threads of its own.

Threads of OpenMP spin at the end of every parallel loop. Next to another busy process they then cost up to 30 times the
time, and only an environment variable that is set before the process starts can stop them. numba's ``workqueue`` does
not spin, but it ends the process if two threads use it at once, and the choice holds for the caller's own kernels too.
So kernels that run thousands of times are compiled for one thread, without Python's lock, and shared out here.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import numba
from threadpoolctl import threadpool_limits

Result = TypeVar("Result")


class _Lent(threading.local):
    """Work that the current thread has given to others as a whole."""

    def __init__(self) -> None:
        self.works: list[Future[Any]] = []


_lent = _Lent()


@cache
def _pool() -> ThreadPoolExecutor:
    """Return the threads that help: with the calling one, as many as numba may use."""
    count = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    return ThreadPoolExecutor(max(1, count - 1), thread_name_prefix="lcsd")


# Threads do not survive a fork.
os.register_at_fork(after_in_child=_pool.cache_clear)


def in_parts(kernel: Callable[..., object], parts: int, *arguments: object) -> None:
    """Call ``kernel(part, parts, *arguments)`` for each part, on at most ``numba.get_num_threads()`` threads.

    ``kernel`` is compiled with ``nogil=True`` and writes what no other part writes, so the bits do not depend on the
    number of threads. Parts start in order, each on the next free thread. The calling thread takes part, so calls from
    many threads at once never wait for each other. An exception of a part is raised here.
    """
    left = iter(range(parts))  # threads take parts in turn

    def work() -> None:
        for part in left:
            kernel(part, parts, *arguments)

    threads = numba.get_num_threads() - sum(lent.running() for lent in _lent.works)
    helpers = [_pool().submit(work) for _ in range(min(threads, parts) - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            if not helper.cancel():
                helper.result()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch's work on the calling thread; its limit elsewhere, and here afterwards, stays as it was."""
    import torch

    # The first use of either sets OpenMP's limit, which would undo ours.
    numba.get_num_threads()
    torch.get_num_threads()
    with threadpool_limits(1, user_api="openmp"):
        yield


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` threads in the whole process, for matrix products and convolutions, too.

    Once a program has called ``torch.set_num_threads``, their libraries keep that number, which
    :func:`one_torch_thread` does not change; and their last bits depend on it.
    """
    import torch

    numba.get_num_threads()  # its first use would undo ours, as above
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def beside(work: Callable[[], Result]) -> Iterator[Callable[[], Result]]:
    """Run ``work`` on another thread during the ``with`` block; yield what waits for it and returns its result.

    The other thread counts as one of ``numba.get_num_threads()`` and gets no help, not from torch either, if that is
    loaded. If only one is allowed, or all are busy, ``work`` runs when its result is asked for. Its exception is raised
    there. The block ends after ``work``.
    """
    if numba.get_num_threads() == 1:
        yield work
        return

    def alone() -> Result:
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            with one_torch_thread() if "torch" in sys.modules else nullcontext():
                return work()
        finally:
            numba.set_num_threads(before)

    lent = _pool().submit(alone)
    _lent.works.append(lent)
    try:
        yield lambda: work() if lent.cancel() else lent.result()
    finally:
        _lent.works.remove(lent)
        if not lent.cancel():
            wait([lent])
