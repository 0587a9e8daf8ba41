"""Freed memory is used again, and garbage is searched for rarely."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from lcsd.numerics.memory import keep_freed_memory
{call}
for _ in range(20):
    np.ones(1 << 26, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def _faults(call: str) -> int:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}
    environment["NUMPY_MADVISE_HUGEPAGE"] = "0"  # how many huge pages an array gets depends on where it begins
    command = [sys.executable, "-c", FAULTS.format(call=call)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps freed memory")
def test_arrays_use_the_pages_of_freed_ones() -> None:
    start = _faults("raise SystemExit(print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt))")
    usual, kept = _faults(""), _faults("keep_freed_memory()")

    # 20 arrays of 64 MiB: each has pages of its own, or all have the same.
    assert kept - start < 0.3 * (usual - start)


GARBAGE = """
import gc
from lcsd.numerics.memory import collect_rarely
class Cycle:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("found")
{call}
Cycle()
{search}
"""


@pytest.mark.parametrize(
    ("call", "search", "found"),
    [("", "", "found\n"), ("collect_rarely()", "", ""), ("collect_rarely()", "gc.collect(0)", "found\n")],
)
def test_garbage_is_not_searched_for_when_python_ends(call: str, search: str, found: str) -> None:
    command = [sys.executable, "-c", GARBAGE.format(call=call, search=search)]

    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == found


def test_a_command_that_loaded_duckdb_ends_in_silence() -> None:
    code = "from lcsd.numerics.memory import collect_rarely\ncollect_rarely()\nimport duckdb"

    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert done.stderr == ""
