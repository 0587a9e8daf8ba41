"""Small builds for the campaigns: a phantom case, fast settings, the files of a build."""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lcsd.build.provenance import OWN_DIGEST, PROVENANCE_SUFFIX, own_digest
from lcsd.errors import BadInputError
from lcsd.io.files import is_temporary, read_json, sha256
from tests.workflow.conftest import MICRO, Workspace, make_cohort

SOURCES = ("fixed_source", "moving_source", "landmarks")  # columns with paths in the manifest of the phantom

OPTIONS = ("--cores", "2", "--set-threads", "correspond=1", "register=1")
"""Two jobs at a time, also of the stages that use two threads where there is one case."""


def small_cohort(folder: Path, *, cases: int = 1) -> Path:
    """Write tiny phantom cases, the last one with landmarks, and return their manifest."""
    return make_cohort(folder, cases=cases, seed=0)


def absolute(manifest: Path, row: dict[str, str]) -> dict[str, str]:
    """Return a row of a manifest with absolute paths, for use in another folder."""
    return {**row, **{name: str(manifest.parent / row[name]) for name in SOURCES if row[name]}}


def small_build(folder: Path, manifest: Path) -> Workspace:
    """Return a build of the cases of a manifest in a new folder, with fast settings."""
    folder.mkdir(parents=True)
    return Workspace(folder, manifest, base=MICRO)


@dataclass(frozen=True)
class Undisturbed:
    """A finished build of one case, with which the disturbed ones are compared, and the seconds that it took."""

    build: Workspace
    seconds: float


def undisturbed_build(folder: Path, manifest: Path) -> Undisturbed:
    """Build the cases of a manifest in a new folder, without a disturbance."""
    build = small_build(folder, manifest)
    began = time.monotonic()
    build.snakemake(*OPTIONS)
    return Undisturbed(build, time.monotonic() - began)


def files_of(results: Path) -> Iterator[Path]:
    """Yield every file of the cases of a build, also temporary ones."""
    yield from (path for path in sorted((results / "cases").rglob("*")) if path.is_file())


def hashes_of(results: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the cases, without provenance and temporary files."""
    return {
        str(path.relative_to(results)): sha256(path)
        for path in files_of(results)
        if not path.name.endswith(PROVENANCE_SUFFIX) and not is_temporary(path)
    }


def faults_of(results: Path, expected: dict[str, str]) -> list[str]:
    """Return faults of files under final names (bytes, provenance); jobs that live on may remove files meanwhile."""
    faults = []
    for path in files_of(results):
        name = str(path.relative_to(results))
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(PROVENANCE_SUFFIX):
                if not _is_whole(path):
                    faults.append(f"{name}: the provenance is damaged")
            elif name in expected:
                if sha256(path) != expected[name]:
                    faults.append(f"{name}: differs from the undisturbed build")
            elif not is_temporary(path):
                faults.append(f"{name}: not in the undisturbed build")
    return faults


def _is_whole(provenance: Path) -> bool:
    try:
        content = read_json(provenance)
    except BadInputError:
        # If the file was removed meanwhile, this raises FileNotFoundError; otherwise it is broken.
        provenance.stat()
        return False
    return content.get(OWN_DIGEST) == own_digest(content)


def leftovers(results: Path) -> list[str]:
    """Return the temporary files that ended jobs have left."""
    return [f"{path}: leftover of a job" for path in sorted(results.rglob("*")) if is_temporary(path)]


class Result(Protocol):
    """What a campaign found: its faults, and the tally as one line."""

    faults: list[str]

    def line(self) -> str: ...


def run_campaign(campaign: Callable[[Path, Callable[[str], None]], Result], folder: Path | None) -> None:
    """Run a campaign in a folder, else in a temporary one; print faults and tally, and exit.

    The campaign gets the folder and a function that prints a line of progress. The exit code is 1 if there are faults.
    """
    with tempfile.TemporaryDirectory() as name:
        found = campaign((folder or Path(name)).resolve(), lambda line: print(line, flush=True))
    print(*found.faults, found.line(), sep="\n")
    sys.exit(bool(found.faults))


def add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="new folder for the builds, which is kept")
