"""Whether Snakemake works on a build and which files it is making, from Snakemake's own folder.

Names are listed and nothing else is read, so a running build is not disturbed. The layout is that of Snakemake 9:
``locks/`` while it runs (and after it was killed), and ``incomplete/`` with a file for each output of a job that has
started and not ended, named like the output in base64.
"""

import binascii
import os
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

SNAKEMAKE_FOLDER = ".snakemake"
CONTINUED = "@"
"""First character of all but the last part of a name that is too long for one file name."""

LOCK_LINES = 100
"""A lock has a line for each file of a build, up to millions; the first lines identify the build."""

PROCESSES = Path("/proc")

State = Literal["running", "locked", "idle", "unknown"]


@dataclass(frozen=True)
class Engine:
    """Snakemake at work on a build.

    ``state`` is ``running``: Snakemake runs on this machine; ``locked``: it has started and not ended, but is not on
    this machine: it runs elsewhere or was killed (without ``/proc``, it may run here, too); ``idle``: none runs; or
    ``unknown``: Snakemake's folder is not found.
    """

    state: State
    folder: Path | None = None  # working folder of Snakemake
    # Outputs of jobs that have started (on a cluster: were submitted) and not ended, as paths inside the results
    marked: frozenset[str] = frozenset()


def look(results: Path, directory: Path | None = None) -> Engine:
    """Return the state of Snakemake on a build.

    ``directory`` is the folder in which ``snakemake`` was called. None: search here and above the results; take the one
    with a running build, or else the nearest.
    """
    root = results.resolve()
    places = [Path.cwd(), *root.parents] if directory is None else [directory.resolve()]
    found = [
        Engine(_state(place, root), place, frozenset(marked(place, root)))
        for place in dict.fromkeys(places)
        if (place / SNAKEMAKE_FOLDER).is_dir()
    ]
    at_work = (engine for engine in found if engine.state != "idle" or engine.marked)
    return next(at_work, found[0] if found else Engine("unknown"))


def marked(folder: Path, root: Path) -> Iterator[str]:
    """Yield the outputs in the making, as paths inside the results ``root``."""
    top = folder / SNAKEMAKE_FOLDER / "incomplete"
    for place, _, names in os.walk(top):
        within = Path(place).relative_to(top).parts
        for name in names:
            parts = [part.removeprefix(CONTINUED) for part in (*within, name)]
            try:
                output = urlsafe_b64decode("".join(parts)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue  # not a name from Snakemake
            inside = _inside(folder / output, root)
            if inside is not None:
                yield inside


def _inside(path: Path, root: Path) -> str | None:
    """Return a path relative to the results, or None for a path outside; it need not exist."""
    for form in (path, path.parent.resolve() / path.name):
        if form.is_relative_to(root):
            return str(form.relative_to(root))
    return None


def _state(folder: Path, root: Path) -> State:
    if not _locked(folder, root):
        return "idle"
    return "running" if any(_working_in(folder)) else "locked"


def _locked(folder: Path, root: Path) -> bool:
    """Return whether a lock names an output of this build; other builds may share the folder."""
    for lock in sorted((folder / SNAKEMAKE_FOLDER / "locks").glob("*.output.lock")):
        try:
            with lock.open(encoding="utf-8") as handle:
                lines = (line.rstrip("\n") for line in islice(handle, LOCK_LINES))
                if any(_inside(folder / line, root) for line in lines):
                    return True
        except OSError:  # removed meanwhile
            continue
    return False


def _working_in(folder: Path) -> Iterator[int]:
    """Yield the ids of the visible Snakemake processes that work in a folder."""
    for process in PROCESSES.iterdir() if PROCESSES.is_dir() else ():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if _is_snakemake(words) and (process / "cwd").readlink() == folder.resolve():
                yield int(process.name)
        except OSError:  # ended meanwhile, or of another user
            continue


def _is_snakemake(words: list[bytes]) -> bool:
    program, *rest = (os.path.basename(word) for word in words)  # noqa: PTH119 - bytes
    if not program.startswith(b"python"):
        return program == b"snakemake"
    for at, word in enumerate(rest):
        if word == b"-m":
            return rest[at + 1 : at + 2] == [b"snakemake"]
        if not word.startswith(b"-"):
            return word == b"snakemake"
    return False
