"""Keep freed memory for the next array, and search for garbage less often."""

import atexit
import contextlib
import ctypes
import gc
import sys

TRIM_THRESHOLD, TOP_PAD, MMAP_MAX = -1, -2, -4
"""Parameters of mallopt(3)."""

MOST_KEPT = (1 << 31) - 1
GROWTH = 1 << 26
"""Bytes by which the heap grows at a time."""

GARBAGE_THRESHOLDS = 10_000, 50, 100
"""New objects between searches among the young ones, and how many of those lie between searches among older ones."""


def keep_freed_memory() -> None:
    """Let arrays reuse the memory of freed ones; does nothing where the C library cannot do it (only glibc can).

    By default each array above 32 MiB gets new pages, and the system clears every one of them: up to half of the time
    of a command that makes many volumes. The peak grows by about 5 %.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, MOST_KEPT)
        mallopt(TOP_PAD, GROWTH)


def collect_rarely() -> None:
    """Search for cycles of garbage less often, and not when Python ends.

    Importing torch makes half a million objects, all of which stay. By default Python searches them dozens of times,
    and once more at its end: 1 to 1.5 s of a command that does nothing else.
    """
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    atexit.register(_freeze)


def _freeze() -> None:
    """Keep Python from searching for garbage at its end, except with DuckDB, which prints what is left as leaks."""
    if "duckdb" not in sys.modules:
        gc.freeze()
