"""What differs from the checksums of a release, or from the provenance of a build."""

import contextlib
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lcsd.build.jobs import WITHIN, BuildFiles, case_jobs
from lcsd.build.pairs import read_pairs
from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.build.records import BUILD_FOLDERS, read_records
from lcsd.errors import BadInputError
from lcsd.io.files import HASH_CHUNK_BYTES, is_temporary
from lcsd.release.archive import read_manifest
from lcsd.release.layout import MANIFEST_NAME

VERIFIED_FOLDERS = (*BUILD_FOLDERS, "report")
"""What of a build is verified: its results, and the report that is made of them."""

Kind = Literal["changed", "missing", "extra", "outdated"]

Progress = Callable[[int], Any]
"""Takes the number of bytes read since the last call."""


@dataclass(frozen=True)
class Difference:
    """A file that is not what it was.

    Parameters
    ----------
    kind
        ``changed``: other bytes; ``missing``; ``extra``: in no list; ``outdated``: made from other
        bytes of a file of the build than it has now.
    file
        Path inside the folder.
    why
        In words.
    """

    kind: Kind
    file: str
    why: str


@dataclass(frozen=True)
class Verified:
    """What was checked.

    Parameters
    ----------
    what
        ``release`` or ``build``.
    files, size_bytes
        Files and bytes that were read.
    differences
        Sorted by file.
    """

    what: str
    files: int
    size_bytes: int
    differences: tuple[Difference, ...]


class _Reader:
    """Hashes files, each once, and says how far it is."""

    def __init__(self, root: Path, progress: Progress) -> None:
        self.root = root
        self.size_bytes = 0
        self._progress = progress
        self._known: dict[str, str] = {}

    def hash(self, name: str) -> str:
        """Return the SHA-256 of a file, as hex."""
        if name not in self._known:
            digest = hashlib.sha256()
            with (self.root / name).open("rb") as handle:
                while chunk := handle.read(HASH_CHUNK_BYTES):
                    digest.update(chunk)
                    self.size_bytes += len(chunk)
                    self._progress(len(chunk))
            self._known[name] = digest.hexdigest()
        return self._known[name]

    @property
    def files(self) -> int:
        """Number of files read."""
        return len(self._known)

    def compare(self, name: str, expected: str) -> list[Difference]:
        """Return what is wrong with a file."""
        path = self.root / name
        with contextlib.suppress(FileNotFoundError):  # it may go meanwhile
            if path.is_file() and not path.is_symlink():
                same = self.hash(name) == expected
                why = "its bytes are not those that were written"
                return [] if same else [Difference("changed", name, why)]
        return [Difference("missing", name, "the file is not there")]


def is_release(folder: Path) -> bool:
    """Return whether a folder is a release, whole or not: a build has no list of checksums."""
    return (folder / MANIFEST_NAME).exists() or not BuildFiles(folder).cases.is_dir()


def bytes_to_check(folder: Path) -> int:
    """Return about how many bytes :func:`verify` will read, for a progress bar.

    Raises
    ------
    BadInputError
        There is no such folder, or it is neither a release nor a build.
    """
    if not folder.is_dir():
        there = folder.exists()
        raise BadInputError(
            "not a folder" if there else "there is no such folder",
            code="not_a_folder" if there else "missing_folder",
            file=folder,
            expected="the folder of a release or of a build" if there else None,
        )
    nothing = is_release(folder) and not (folder / MANIFEST_NAME).exists()
    if nothing or not _files(folder):
        raise BadInputError(
            "neither a release nor a build",
            code="not_verifiable",
            file=folder,
            expected=f"{MANIFEST_NAME}, or a folder of results with cases/",
        )
    return sum(_size(folder / name) for name in _files(folder))


def _size(path: Path) -> int:
    """Return a file's bytes; none for a link, and if a build that goes on took the file away."""
    with contextlib.suppress(FileNotFoundError):
        return 0 if path.is_symlink() else path.stat().st_size
    return 0


def _files(folder: Path) -> list[str]:
    """Return the files of a release or a build that count, as paths inside it, sorted.

    Those that a build just writes, under temporary names, do not; in a release they are foreign.
    """
    release = is_release(folder)
    roots = [folder] if release else [folder / name for name in VERIFIED_FOLDERS]
    found = (path for root in roots for path in root.rglob("*"))
    return sorted(
        str(path.relative_to(folder))
        for path in found
        if (path.is_file() or path.is_symlink()) and (release or not is_temporary(path))
    )


def verify(folder: Path, *, manifest: Path | None = None, progress: Progress = lambda _: None) -> Verified:
    """Compare every file of a release or a build with the checksums that were written with it.

    Parameters
    ----------
    folder
        A release: every file must be in ``SHA256SUMS`` and the other way round. Or the results of
        a build: every file of its cases, cohort and report must be in the provenance beside it,
        every provenance must be whole, and files must have been made from those that are there.
    manifest
        Of a build: every case in it that was not rejected must have the files of every stage.
        Without it, a stage whose files are gone with their provenance is not missed unless a later
        one was made from them.
    progress
        Called with the bytes read.

    Raises
    ------
    BadInputError
        There is no such folder, it is neither a release nor a build, the list of checksums of a
        release or the manifest is broken, or there is a manifest for a release.
    """
    bytes_to_check(folder)  # raises if there is nothing to verify
    reader = _Reader(folder, progress)
    release = is_release(folder)
    if release and manifest is not None:
        raise BadInputError(
            "a release is verified without a manifest",
            code="bad_usage",
            file=folder,
            expected=f"the results of a build (a release has {MANIFEST_NAME})",
            remedy="leave the manifest out",
        )
    found = {*(_of_release(folder, reader) if release else _of_build(folder, reader))}
    if manifest is not None:
        known = {difference.file for difference in found}
        found |= {lack for lack in _not_made(folder, manifest) if lack.file not in known}
    ordered = sorted(found, key=lambda difference: (difference.file, difference.kind))
    return Verified("release" if release else "build", reader.files, reader.size_bytes, tuple(ordered))


def _of_release(folder: Path, reader: _Reader) -> Iterable[Difference]:
    hashes = read_manifest(folder / MANIFEST_NAME)
    for name, expected in sorted(hashes.items()):
        yield from reader.compare(name, expected)
    for name in _files(folder):
        if name not in hashes and name != MANIFEST_NAME:
            yield Difference("extra", name, f"not in {MANIFEST_NAME}")


def _of_build(folder: Path, reader: _Reader) -> Iterable[Difference]:
    names = _files(folder)
    records = read_records(folder, names)
    for name, why in records.broken.items():
        yield Difference("changed", name, why)
    for name, expected in sorted(records.outputs.items()):
        # Snakemake removes what a failed command was to make, but not the provenance beside it.
        if not (_was_rejected(folder, name) and not (folder / records.own[name]).exists()):
            yield from reader.compare(name, expected)
    for name in names:
        known = name in records.outputs or name.endswith(PROVENANCE_SUFFIX)
        known = known or name == str(WITHIN.report_complete) or _is_rejection(name)
        if not known:
            yield Difference("extra", name, "in no provenance")
    for made in records.outdated():
        yield Difference("outdated", made.output, f"made from another {made.source} than is there")
    for made in records.sources:
        gone = made.source not in records.outputs and not (folder / made.source).exists()
        if gone and made.of_this_case and not _was_rejected(folder, made.output):
            yield Difference("missing", made.source, f"{made.output} was made from it")


def _not_made(folder: Path, manifest: Path) -> Iterable[Difference]:
    """Yield what a manifest asks for and is not there, of cases that were not rejected."""
    for pair in read_pairs(manifest):
        for job in case_jobs(pair.case, scored=pair.landmarks is not None):
            for name in job.outputs:
                if not (folder / name).exists() and not _was_rejected(folder, name):
                    yield Difference("missing", name, f"the manifest asks for it ({job.name})")


def _is_rejection(name: str) -> bool:
    """Return whether a file says why a case was rejected; no provenance lists it."""
    parts = name.split("/")
    return len(parts) == 3 and name == str(WITHIN.case(parts[1]).rejected)


def _was_rejected(folder: Path, name: str) -> bool:
    """Return whether the case of a file was rejected."""
    parts = Path(name).parts
    return Path(name).is_relative_to(WITHIN.cases) and BuildFiles(folder).case(parts[1]).rejected.exists()
