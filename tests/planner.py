"""Plans of Snakemake without starting Python anew: a process that has loaded Snakemake forks for each of them."""

import contextlib
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["snakemake.cli"])


def _plan(arguments: Sequence[str], environment: dict[str, str], folder: str, printed: str) -> None:
    """Run Snakemake in this process, which ends with it."""
    with open(printed, "wb") as sink, open(os.devnull, "rb") as nothing:  # noqa: PTH123 - for their descriptors
        os.dup2(nothing.fileno(), 0)
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    with contextlib.suppress(BrokenPipeError):
        main(list(arguments))


def snakemake(*arguments: str) -> tuple[int, str]:
    """Run Snakemake as ``python -m snakemake`` does; return its exit code and all that it printed.

    A process of its own, so nothing of a run is left for the next, but it does not import Snakemake again. Meant for
    dry runs and unlocking, where the imports are most of the time; builds of users start Python, and so do those of
    the tests.
    """
    with tempfile.NamedTemporaryFile() as file:
        process = _CONTEXT.Process(target=_plan, args=(arguments, dict(os.environ), str(Path.cwd()), file.name))
        process.start()
        process.join()
        assert process.exitcode is not None
        return process.exitcode, file.read().decode()
