"""Small builds: a phantom case, settings that do little work, and what a build consists of."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from lcsd.build.provenance import OWN_DIGEST, PROVENANCE_SUFFIX, own_digest
from lcsd.errors import BadInputError
from lcsd.io.files import is_temporary, read_json, sha256
from tests.workflow.conftest import ROOT, Workspace, make_cohort

MICRO = ROOT / "tests" / "workflow" / "micro.yaml"

SOURCES = ("fixed_source", "moving_source", "landmarks")
"""Columns of a manifest of the phantom that hold paths."""

OPTIONS = ("--cores", "2", "--set-threads", "correspond=1", "register=1")
"""Two jobs at once, also where the profile would give one of them both cores."""


def small_cohort(folder: Path, *, cases: int = 1) -> Path:
    """Write tiny phantom cases, the last one with landmarks, and return their manifest."""
    return make_cohort(folder, cases=cases, seed=0)


def absolute(manifest: Path, row: dict[str, str]) -> dict[str, str]:
    """Return a row of a manifest for use in another folder: sources by absolute paths."""
    return {**row, **{name: str(manifest.parent / row[name]) for name in SOURCES if row[name]}}


def small_build(folder: Path, manifest: Path) -> Workspace:
    """Return a folder to build the cases of a manifest in, with little work for each stage."""
    folder.mkdir(parents=True)
    return Workspace(folder, manifest, base=MICRO)


def files_of(results: Path) -> Iterator[Path]:
    """Yield every file of the cases of a build, whatever its name."""
    yield from (path for path in sorted((results / "cases").rglob("*")) if path.is_file())


def hashes_of(results: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of the cases under a final name, but of provenance."""
    return {
        str(path.relative_to(results)): sha256(path)
        for path in files_of(results)
        if not path.name.endswith(PROVENANCE_SUFFIX) and not is_temporary(path)
    }


def faults_of(results: Path, expected: dict[str, str]) -> list[str]:
    """Return what is wrong under final names: files with other bytes, broken provenance.

    Jobs that outlived their build may remove files meanwhile, which is no fault.
    """
    faults = []
    for path in files_of(results):
        name = str(path.relative_to(results))
        with contextlib.suppress(FileNotFoundError):
            if path.name.endswith(PROVENANCE_SUFFIX):
                if not _is_whole(path):
                    faults.append(f"{name}: provenance is not as it was written")
            elif name in expected:
                if sha256(path) != expected[name]:
                    faults.append(f"{name}: other bytes than in the undisturbed build")
            elif not is_temporary(path):
                faults.append(f"{name}: not in the undisturbed build")
    return faults


def _is_whole(provenance: Path) -> bool:
    try:
        content = read_json(provenance)
    except BadInputError:
        # Gone since it was listed, or broken: the caller tells these apart.
        provenance.stat()
        return False
    return content.get(OWN_DIGEST) == own_digest(content)


def rests(results: Path) -> list[str]:
    """Return the temporary files that ended jobs have left."""
    return [f"{path}: a rest of a job" for path in sorted(results.rglob("*")) if is_temporary(path)]
