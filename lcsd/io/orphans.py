"""Stop jobs whose Snakemake has died, before they overwrite newer results.

A resumed build makes the same files again, perhaps with other settings.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from lcsd.errors import WorkError

BUILD_VARIABLE = "LCSD_BUILD"
"""Environment variable with the process id of the Snakemake that started the job; unset for a command run by hand."""

POLL_S = 1.0
"""Seconds between two checks whether the build is alive."""

INIT = 1
"""Process id of the root of all processes, which adopts orphans."""


def _parent(process: int) -> int:
    """Return the id of a process's parent; 0 if it is unknown."""
    try:
        # The second field is the program's name in parentheses, which may hold any character.
        fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        return int(fields.rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def build_process() -> int | None:
    """Return the process id of the build that started this process, or None.

    Also None where ancestors are unknown: without ``/proc``, or in a container that does not see
    the processes outside.
    """
    text = os.environ.get(BUILD_VARIABLE, "")
    if not text.isdecimal() or int(text) <= INIT or not Path("/proc/self/stat").exists():
        return None
    return int(text)


def orphaned() -> bool:
    """Return whether the build that started this process has ended.

    The kernel gives orphans another parent, so a living build is an ancestor. Its process id alone
    proves nothing: another program could have it by now.
    """
    build = build_process()
    if build is None:
        return False
    process = os.getppid()
    while process > INIT and process != build:
        process = _parent(process)
    return process != build


def refuse_if_orphaned(path: Path) -> None:
    """Raise ``WorkError`` (``build_ended``) if this process must no longer write ``path``."""
    if orphaned():
        raise WorkError(
            "not written: the build that started this job has ended",
            code="build_ended",
            file=path,
            remedy="start the build again",
        )


def watch(end: Callable[[], object]) -> None:
    """Call ``end`` once the build that started this process has ended; without a build, do nothing.

    A thread checks every second, so an orphan soon frees its cores and memory.
    """
    if build_process() is None:
        return

    def look() -> None:
        while not orphaned():
            time.sleep(POLL_S)
        end()

    threading.Thread(target=look, name="orphans", daemon=True).start()
