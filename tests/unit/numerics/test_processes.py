"""Work in processes: order, errors that travel whole, a killed process."""

import os
import pickle
import signal

import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.numerics.processes import in_processes


def _square(number: int) -> tuple[int, int]:
    return number**2, os.getpid()


def _refuse(number: int) -> int:
    if number == 2:
        raise BadInputError("two", code="bad_usage", file="f", field="n", expected=1, found=number, remedy="give one")
    return number


def _die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("workers", "count"), [(1, 5), (2, 5), (9, 2), (2, 1), (2, 0)])
def test_results_come_in_order(workers: int, count: int) -> None:
    found = list(in_processes(_square, range(count), workers=workers))
    assert [square for square, _ in found] == [number**2 for number in range(count)]
    apart = {process for _, process in found} - {os.getpid()}
    assert bool(apart) == (min(workers, count) > 1)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_travels_whole(workers: int) -> None:
    with pytest.raises(BadInputError) as caught:
        list(in_processes(_refuse, range(4), workers=workers))
    error = caught.value
    assert (error.what, error.code, error.file, error.field) == ("two", "bad_usage", "f", "n")
    assert (error.expected, error.found, error.remedy) == ("1", "2", "give one")
    assert pickle.loads(pickle.dumps(error)).message == error.message  # noqa: S301 - made here


def test_a_killed_process_is_said() -> None:
    with pytest.raises(WorkError, match=r"\[worker_ended\]"):
        list(in_processes(_die, range(2), workers=2))
