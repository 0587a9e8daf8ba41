"""Find and kill the processes of a build (Linux)."""

import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")


def _status(process: int) -> tuple[int, str]:
    """Return the parent of a process and its state (a letter)."""
    state, parent, *_ = (PROC / str(process) / "stat").read_text().rpartition(")")[2].split()
    return int(parent), state


def descendants(root: int) -> list[int]:
    """Return all descendants of a process, parents first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                parent, state = _status(int(entry.name))
                if state != "Z":
                    children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for process in found:
        found += children.get(process, [])
    return found[1:]


def commands_of(root: int) -> list[int]:
    """Return the processes below ``root`` that are a command of lcsd, sorted."""
    found = []
    for process in descendants(root):
        with contextlib.suppress(OSError):
            words = (PROC / str(process) / "cmdline").read_bytes().split(b"\0")
            if any(Path(os.fsdecode(word)).name == "lcsd" for word in words[:2]):
                found.append(process)
    return sorted(found)


def working_in(folder: Path) -> list[int]:
    """Return the processes whose working folder is ``folder``."""
    found = []
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == folder.resolve():
                    found.append(int(entry.name))
    return sorted(found)


def kill(*processes: int) -> None:
    """Kill processes with SIGKILL; those that have ended are ignored."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def kill_tree(root: int) -> None:
    """Kill a process and its descendants like a power failure; stop all first, so none starts another."""
    stopped: list[int] = []
    while found := [process for process in [root, *descendants(root)] if process not in stopped]:
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        stopped += found
    kill(*stopped)
