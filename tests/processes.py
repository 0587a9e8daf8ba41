"""Processes that tests start and expect to end."""

import time
from pathlib import Path

LIMITS_S = (1.0, 4.0, 16.0, 64.0)
"""Time limits to try in turn until a process had the time to start: a busy machine needs the longer ones."""

WAIT_S = 60.0
"""Longest wait for the end of a killed process."""


def gone(pid: int) -> bool:
    """Whether a process has ended, or ends within ``WAIT_S``; a zombie has."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        try:
            state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False
