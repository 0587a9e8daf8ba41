"""What Snakemake's own folder says of a build: whether one runs, and which files are being made.

Only read, and only by listing names, so that a running build is not disturbed. The layout is that
of Snakemake 9: ``locks/`` while it runs (and after it was killed), ``incomplete/`` with a file for
each output of a job that has begun and not ended, named like the output in base64.
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
"""Begins the parts of a name that is too long for one file name, but the last."""

LOCK_LINES = 100
"""A lock holds a line for each file of one build, up to millions: the first ones tell which."""

PROCESSES = Path("/proc")

State = Literal["running", "locked", "idle", "unknown"]


@dataclass(frozen=True)
class Engine:
    """Snakemake at work on a build.

    Parameters
    ----------
    state
        ``running``: a Snakemake works on it on this machine. ``locked``: one has begun and not
        ended, and is not on this machine: it runs elsewhere or was killed. ``idle``: none works.
        ``unknown``: Snakemake's folder is not found.
    folder
        Working folder of Snakemake.
    marked
        Outputs of jobs that have begun and not ended, as paths inside the results. Jobs that were
        handed to a cluster count, whether they wait there or run.
    """

    state: State
    folder: Path | None = None
    marked: frozenset[str] = frozenset()


def look(results: Path, directory: Path | None = None) -> Engine:
    """Return what Snakemake does with a build.

    Parameters
    ----------
    results
        Folder of the build.
    directory
        Folder in which ``snakemake`` was called; if None, it is looked for here and above the
        results: where a build is at work, else the nearest.
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
    """Yield the outputs that are being made, as paths inside the results ``root``."""
    top = folder / SNAKEMAKE_FOLDER / "incomplete"
    for place, _, names in os.walk(top):
        within = Path(place).relative_to(top).parts
        for name in names:
            parts = [part.removeprefix(CONTINUED) for part in (*within, name)]
            try:
                output = urlsafe_b64decode("".join(parts)).decode()
            except (binascii.Error, UnicodeDecodeError):
                continue  # not a name of Snakemake's
            inside = _inside(folder / output, root)
            if inside is not None:
                yield inside


def _inside(path: Path, root: Path) -> str | None:
    """Return a path inside the results, or None for one outside; it need not exist."""
    for form in (path, path.parent.resolve() / path.name):
        if form.is_relative_to(root):
            return str(form.relative_to(root))
    return None


def _state(folder: Path, root: Path) -> State:
    if not _locked(folder, root):
        return "idle"
    return "running" if any(_working_in(folder)) else "locked"


def _locked(folder: Path, root: Path) -> bool:
    """Return whether a lock names an output of the build; another one may share the folder."""
    for lock in sorted((folder / SNAKEMAKE_FOLDER / "locks").glob("*.output.lock")):
        try:
            with lock.open(encoding="utf-8") as handle:
                lines = (line.rstrip("\n") for line in islice(handle, LOCK_LINES))
                if any(_inside(folder / line, root) for line in lines):
                    return True
        except OSError:  # gone since
            continue
    return False


def _working_in(folder: Path) -> Iterator[int]:
    """Yield the ids of the processes of Snakemake that work in a folder, of those we may see."""
    for process in PROCESSES.iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if _is_snakemake(words) and (process / "cwd").readlink() == folder.resolve():
                yield int(process.name)
        except OSError:  # ended since, or of another user
            continue


def _is_snakemake(words: list[bytes]) -> bool:
    """Return whether a command line calls Snakemake, by its script or as a module."""
    program, *rest = (os.path.basename(word) for word in words)  # noqa: PTH119 - bytes
    if not program.startswith(b"python"):
        return program == b"snakemake"
    for at, word in enumerate(rest):
        if word == b"-m":
            return rest[at + 1 : at + 2] == [b"snakemake"]
        if not word.startswith(b"-"):
            return word == b"snakemake"
    return False
