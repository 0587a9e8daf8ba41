"""Work in parts is done once, by the caller's threads and ours, whatever else runs."""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
import torch

from lcsd.numerics.threads import beside, in_parts, one_torch_thread

WAIT_SECONDS = 60.0
"""No wait in a test lasts longer."""


@numba.njit(nogil=True)
def count(part: int, parts: int, calls: np.ndarray) -> None:
    calls[part] += parts


@pytest.mark.parametrize("parts", [0, 1, 2, 7, 100])
def test_each_part_runs_once(parts: int) -> None:
    calls = np.zeros(parts, int)
    in_parts(count, parts, calls)
    assert calls.tolist() == [parts] * parts


class Seen:
    """The threads that call it."""

    def __init__(self) -> None:
        self.parts: list[tuple[int, int]] = []
        self.threads: set[int] = set()

    def __call__(self, part: int, parts: int) -> None:
        self.parts.append((part, parts))
        self.threads.add(threading.get_ident())


@pytest.mark.parametrize("threads", range(1, numba.config.NUMBA_NUM_THREADS + 1))
def test_as_many_threads_work_as_numba_is_told(threads: int) -> None:
    meeting, seen = threading.Barrier(threads), Seen()

    def meet(part: int, parts: int) -> None:
        meeting.wait(WAIT_SECONDS)  # fails unless as many are here at once
        seen(part, parts)

    numba.set_num_threads(threads)
    in_parts(meet, threads)
    assert len(seen.threads) == threads


def test_a_limit_of_one_stays_on_the_calling_thread() -> None:
    numba.set_num_threads(1)
    seen = Seen()
    in_parts(seen, 50)
    assert seen.threads == {threading.get_ident()}
    assert seen.parts == [(part, 50) for part in range(50)]


@pytest.mark.parametrize("broken", [0, 9])
def test_an_exception_is_raised_after_all_threads_have_stopped(broken: int) -> None:
    running: list[int] = []

    def work(part: int, parts: int) -> None:
        running.append(part)
        try:
            if part == broken:
                raise ZeroDivisionError
        finally:
            running.remove(part)

    with pytest.raises(ZeroDivisionError):
        in_parts(work, 10)
    assert not running


def test_many_threads_may_share_out_work_at_once() -> None:
    def many(_: int) -> list[int]:
        calls = np.zeros(16, int)
        for _ in range(50):
            in_parts(count, 16, calls)
        return calls.tolist()

    with ThreadPoolExecutor(8) as pool:
        for calls in pool.map(many, range(8), timeout=WAIT_SECONDS):
            assert calls == [50 * 16] * 16


def _after_fork(found: "multiprocessing.SimpleQueue[list[int]]") -> None:
    calls = np.zeros(8, int)
    in_parts(count, 8, calls)
    found.put(calls.tolist())


def test_a_forked_process_has_threads_of_its_own() -> None:
    in_parts(count, 8, np.zeros(8, int))  # our threads exist, and the fork has none of them
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    child = context.Process(target=_after_fork, args=(found,))
    child.start()
    child.join(WAIT_SECONDS)
    alive = child.is_alive()
    child.kill()
    assert not alive
    assert found.get() == [8] * 8


def _elsewhere(ask: Callable[[], int]) -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result(WAIT_SECONDS)


def test_torch_has_one_thread_here_and_as_many_as_before_elsewhere_and_afterwards() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_torch_thread():
            assert torch.get_num_threads() == 1
            assert _elsewhere(torch.get_num_threads) == 3
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_torch_has_one_thread_where_it_was_never_used() -> None:
    def inside() -> int:
        with one_torch_thread():
            return torch.get_num_threads()

    assert _elsewhere(inside) == 1


several = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="needs two threads")


@several
def test_work_runs_beside_the_block_on_one_thread_with_one_thread_of_torch() -> None:
    started, go_on = threading.Event(), threading.Event()

    def work() -> tuple[int, int, int]:
        started.set()
        assert go_on.wait(WAIT_SECONDS)
        return threading.get_ident(), numba.get_num_threads(), torch.get_num_threads()

    numba.set_num_threads(2)
    with beside(work) as result:
        assert started.wait(WAIT_SECONDS)
        go_on.set()
        thread, threads, of_torch = result()
    assert thread != threading.get_ident()
    assert (threads, of_torch) == (1, 1)
    assert numba.get_num_threads() == 2


@several
def test_work_beside_counts_as_one_of_the_callers_threads() -> None:
    started, go_on, seen = threading.Event(), threading.Event(), Seen()

    def work() -> None:
        started.set()
        assert go_on.wait(WAIT_SECONDS)

    numba.set_num_threads(2)
    with beside(work):
        assert started.wait(WAIT_SECONDS)
        in_parts(seen, 50)
        go_on.set()
    assert seen.threads == {threading.get_ident()}
    test_as_many_threads_work_as_numba_is_told(2)  # from here on there are two again


@pytest.mark.parametrize("threads", {1, min(2, numba.config.NUMBA_NUM_THREADS)})
def test_an_exception_beside_is_raised_with_the_result(threads: int) -> None:
    numba.set_num_threads(threads)
    with beside(lambda: {}["none"]) as result, pytest.raises(KeyError):
        result()


def test_with_one_thread_the_work_waits_for_the_question() -> None:
    numba.set_num_threads(1)
    calls: list[int] = []
    with beside(lambda: calls.append(threading.get_ident())) as result:
        assert not calls
        result()
    assert calls == [threading.get_ident()]


@several
def test_the_block_ends_after_the_work_even_if_it_fails() -> None:
    started, done = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        done.wait(0.2)
        done.set()

    def fail() -> None:
        with beside(work):
            assert started.wait(WAIT_SECONDS)
            raise LookupError

    numba.set_num_threads(2)
    with pytest.raises(LookupError):
        fail()
    assert done.is_set()
