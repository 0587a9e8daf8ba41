"""How a command that fails ends: one line, a reason file, an exit code."""

import contextlib
import getpass
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import click

from lcsd.build import rejections
from lcsd.errors import INSTALLATION_FAULTS, LcsdError, WorkError
from lcsd.numerics.kernel_cache import prepare_user_cache

SIGNAL_EXIT_BASE = 128
"""Shells report a process ended by signal n as 128 + n."""

NO_TEMPORARY_FOLDER = "No usable temporary directory"
"""How Python's ``tempfile`` begins its error."""

OUT_OF_MEMORY = re.compile(r"DefaultCPUAllocator: (can't|not enough)|Failed to allocate memory|bad_?alloc")
"""How torch, ITK and the standard library of C++ say it."""


def say(message: str) -> None:
    """Print a line of information to standard error."""
    click.echo(message, err=True)


def replace_process(words: list[str]) -> NoReturn:
    """Print a command of Snakemake and replace this process by it, so that signals and the exit code are its own."""
    prepare_user_cache()
    _name_the_user()
    say(shlex.join(words))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(words[0], words)  # noqa: S606 - no shell, by purpose


def _name_the_user() -> None:
    """Set ``LOGNAME`` where a user has a number only, as in a container: Snakemake asks for the name and ends."""
    try:
        getpass.getuser()
    except (KeyError, OSError):  # the latter since Python 3.13
        os.environ["LOGNAME"] = str(os.getuid())


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """Let SIGTERM (a scheduler's time limit) unwind the block, so that temporary files are removed."""
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


def end_orphan(stage: str) -> None:
    """End this process as a scheduler would, since the build that started it has ended."""
    say(f"lcsd {stage}: the build that started this job has ended; the job stops")
    os.kill(os.getpid(), signal.SIGTERM)


def _is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of any library says that memory was refused.

    torch's class is recognised by its name, since most commands never load torch. torch's CPU allocator and ITK raise
    a plain RuntimeError.
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and bool(OUT_OF_MEMORY.search(str(error)))


def _raise_if_interrupted(error: Exception) -> None:
    """Raise the end of the program that a signal asked for while a compiled function ran.

    Python reports it as a ``SystemError`` then, perhaps through several calls. The case is not to blame.
    """
    cause: BaseException | None = error
    while isinstance(cause, SystemError):
        cause = cause.__cause__
    if isinstance(cause, SystemExit | KeyboardInterrupt):
        raise cause from None


@contextlib.contextmanager
def failures_named() -> Iterator[None]:
    """Turn every failure of the block into an ``LcsdError``: one line with a remedy."""
    try:
        yield
    except LcsdError:
        raise
    except Exception as error:
        _raise_if_interrupted(error)
        if _is_out_of_memory(error):
            raise WorkError(
                "out of memory",
                code="out_of_memory",
                remedy="free memory, run fewer jobs at once, or use a larger machine",
            ) from error
        if isinstance(error, FileNotFoundError) and NO_TEMPORARY_FOLDER in str(error):
            raise WorkError(
                "no folder for temporary files can be written: they are absent, full or read-only",
                code="cannot_write",
                found=str(error).partition(NO_TEMPORARY_FOLDER)[2].removeprefix(" found in "),
                remedy="free space there, or set TMPDIR to a folder that can be written",
            ) from error
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise WorkError(
                f"the operating system refused: {error}", code="system_error", remedy="check permissions and free space"
            ) from error
        # A defect of lcsd: the case must still be rejected, and its author needs the traceback.
        traceback.print_exception(error)
        raise WorkError(
            f"internal error: {type(error).__name__}: {error}",
            code="internal_error",
            remedy="please report it with the lines above",
        ) from error


def report_failure(command: str, error: LcsdError, *, rejected: Path | None = None, target: Path | None = None) -> None:
    """Print a failure as one line, and record it in ``rejected``, if given, as the reason why ``target`` is missing.

    A fault of the installation is not recorded, since the case is not to blame. If the record cannot be written, a
    second line says so.
    """
    say(f"lcsd {command}: error: {error.message}")
    if rejected is None or target is None or error.code in INSTALLATION_FAULTS:
        return
    try:
        rejections.reject(rejected, stage=command, target=target, error=error)
    except LcsdError as failure:
        say(f"lcsd {command}: error: {failure.message}")


def clear_rejection(rejected: Path | None, *, stage: str, target: Path) -> None:
    """Remove the record of an earlier failure, if there is one; print a line if that fails."""
    if rejected is None:
        return
    try:
        rejections.clear(rejected, stage=stage, target=target)
    except OSError as failure:
        say(f"lcsd {stage}: error: {rejected}: cannot remove: {failure.strerror}")
