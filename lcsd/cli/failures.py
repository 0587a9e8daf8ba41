"""How a command that fails ends: one line, a reason file, an exit code."""

import contextlib
import re
import signal
import sys
import threading
from collections.abc import Iterator

from lcsd.errors import LcsdError, WorkError

SIGNAL_EXIT_BASE = 128
"""Shells report a process ended by signal n as 128 + n."""

OUT_OF_MEMORY = re.compile(r"DefaultCPUAllocator: (can't|not enough)|Failed to allocate memory|bad_?alloc")
"""How torch, ITK and the standard library of C++ say it."""


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM (a scheduler's time limit) unwind the block, so that temporary files go."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: object) -> None:
        sys.exit(SIGNAL_EXIT_BASE + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an error says that memory was refused, in the words of any library.

    torch's own class is told by its name, since most commands never load torch; its allocator of
    the CPU and ITK raise a plain RuntimeError.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


class failures_named:  # noqa: N801 - reads as a statement: with failures_named()
    """Context that turns failures of the machine into one-line errors with a remedy."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if _is_out_of_memory(error):
            raise WorkError(
                "out of memory",
                code="out_of_memory",
                remedy="free memory, run fewer jobs at once, or use a larger machine",
            ) from error
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise WorkError(
                f"the operating system refused: {error}", code="system_error", remedy="check permissions and free space"
            ) from error
        if isinstance(error, Exception) and not isinstance(error, LcsdError):
            # A defect of lcsd: the case must still be rejected, and the traceback is wanted.
            import traceback

            traceback.print_exception(error)
            raise WorkError(
                f"internal error: {type(error).__name__}: {error}",
                code="internal_error",
                remedy="please report it with the lines above",
            ) from error
