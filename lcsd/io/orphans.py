"""Jobs that outlive their build: Snakemake was killed alone, and they must not write any more.

A build that goes on makes the same files again, perhaps with other settings. What an orphan of the
killed one writes then would replace newer results.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lcsd.errors import WorkError

BUILD_VARIABLE = "LCSD_BUILD"
"""Environment variable with the process id of the Snakemake that started a job; unset by hand."""

POLL_S = 1.0
"""Seconds between two looks whether the build is still there."""

INIT = 1
"""Process id from which on there are no ancestors, and which adopts orphans."""


def _parent(process: int) -> int:
    """Return the parent's id of a process; 0 if there is no such process or none can be asked."""
    try:
        # The second field is the program's name in parentheses, which may hold any character.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(fields.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def build_process() -> int | None:
    """Return the process id of the build that this process is a job of; None if it is of none.

    None, too, where ancestors cannot be told: without ``/proc``, or inside a container whose
    processes do not see those outside.
    """
    text = os.environ.get(BUILD_VARIABLE, "")
    if not text.isdecimal() or int(text) <= INIT or not Path("/proc/self/stat").exists():
        return None
    return int(text)


def orphaned() -> bool:
    """Return whether the build that started this process has ended.

    The kernel gives orphans another parent, so the build is there as long as it is an ancestor; its
    process id alone could be another program's by now.
    """
    build = build_process()
    if build is None:
        return False
    process = os.getppid()
    while process > INIT and process != build:
        process = _parent(process)
    return process != build


def refuse_if_orphaned(path: Path) -> None:
    """Raise ``WorkError`` (``build_ended``) if this process may not write ``path`` any more."""
    if orphaned():
        raise WorkError(
            "not written: the build that started this job has ended",
            code="build_ended",
            file=path,
            remedy="start the build again",
        )


def watch(end: Callable[[], object]) -> None:
    """Call ``end`` once the build that started this process has ended; nothing if it has none.

    A thread looks every second, so that an orphan gives its cores and memory back soon.
    """
    if build_process() is None:
        return

    def look() -> None:
        while not orphaned():
            time.sleep(POLL_S)
        end()

    threading.Thread(target=look, name="orphans", daemon=True).start()
