"""The process that reads uploads and registers them: one line of JSON in for each job, lines of JSON out.

It loads everything before the first job, so that no user waits for it. Only this process opens a file of a user.
"""

import gc
import json
import os
import resource
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from lcsd.errors import LcsdError
from lcsd.serve.stages import Commands, Work

POLL_S = 1.0
"""Seconds between two looks whether the server is alive."""


def _end_with(server: int) -> None:
    """End this process once the server has ended; the kernel gives orphans another parent."""

    def look() -> None:
        while os.getppid() == server:
            time.sleep(POLL_S)
        os._exit(1)

    threading.Thread(target=look, name="server", daemon=True).start()


def _only_ours() -> TextIO:
    """Return the pipe to the server; libraries that print reach nothing."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    return pipe


def serve_jobs(commands: Commands, *, server: int, memory_bytes: int, threads: int) -> None:
    """Do jobs from standard input until it ends.

    ``server`` is the process that this one serves; ``memory_bytes`` limits what this one may allocate.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = _only_ours()
    _end_with(server)

    def send(message: Mapping[str, Any]) -> None:
        pipe.write(json.dumps(message) + "\n")
        pipe.flush()

    from lcsd.serve.work import do, load

    load()
    gc.freeze()  # the collector would look through all that is loaded for each table of an upload
    home = Path.cwd()
    send({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        try:
            with commands.named():
                os.chdir(job["folder"])
                answer = {"done": do(job, Work(commands, send, threads=threads))}
        except LcsdError as error:
            answer = {"failed": error.to_dict()}
        os.chdir(home)
        send(answer)
