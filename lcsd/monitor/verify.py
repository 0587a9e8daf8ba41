"""``lcsd verify``: differences from the checksums of a release or the provenance of a build."""

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
from lcsd.io.files import HASH_CHUNK_BYTES, is_temporary, require_folder
from lcsd.release.archive import read_checksums
from lcsd.release.layout import CHECKSUMS_NAME

VERIFIED_FOLDERS = (*BUILD_FOLDERS, "report")
"""Folders of a build that are verified."""

Kind = Literal["changed", "missing", "extra", "outdated"]

Progress = Callable[[int], Any]
"""Takes the number of bytes read since the last call."""


@dataclass(frozen=True)
class Difference:
    """A file that differs from its record.

    ``kind`` is ``changed``: other bytes; ``missing``; ``extra``: in no list; or ``outdated``: made from an earlier
    version of another file of the build.
    """

    kind: Kind
    file: str  # path inside the folder
    why: str  # the difference in words


@dataclass(frozen=True)
class Verified:
    """Result of a verification."""

    what: str  # ``release`` or ``build``
    files: int  # number of files that were read
    size_bytes: int  # of these files
    differences: tuple[Difference, ...]  # sorted by file


class _Reader:
    """Hashes files, each once, and reports progress."""

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
        """Return the difference of a file from its expected hash, if there is one."""
        path = self.root / name
        with contextlib.suppress(FileNotFoundError):  # it may vanish meanwhile
            if path.is_file() and not path.is_symlink():
                same = self.hash(name) == expected
                why = "the bytes differ from those that were written"
                return [] if same else [Difference("changed", name, why)]
        return [Difference("missing", name, "the file is missing")]


def is_release(folder: Path) -> bool:
    """Return whether a folder is a release, complete or not; a build has no list of checksums."""
    return (folder / CHECKSUMS_NAME).exists() or not BuildFiles(folder).cases.is_dir()


def bytes_to_check(folder: Path) -> int:
    """Return about how many bytes :func:`verify` will read, for a progress bar.

    Raises ``BadInputError`` if the folder does not exist, or is neither a release nor a build (``not_verifiable``).
    """
    require_folder(folder, "the folder of a release or the results of a build")
    nothing = is_release(folder) and not (folder / CHECKSUMS_NAME).exists()
    if nothing or not _files(folder):
        raise BadInputError(
            "neither a release nor a build",
            code="not_verifiable",
            file=folder,
            expected=f"{CHECKSUMS_NAME}, or a folder of results with cases/",
        )
    return sum(_size(folder / name) for name in _files(folder))


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 for a link or a file that a running build has removed."""
    with contextlib.suppress(FileNotFoundError):
        return 0 if path.is_symlink() else path.stat().st_size
    return 0


def _files(folder: Path) -> list[str]:
    """Return the files of a release or a build that are verified, as paths inside it, sorted.

    Temporary files of a running build are left out; in a release they are unexpected.
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

    The files of a release must be those of ``SHA256SUMS``. In the results of a build, every file of its cases, cohort
    and report must be in a provenance file, every provenance file must be unchanged, and every file must have been made
    from the present versions of its inputs. Every case in the ``manifest`` of a build that was not rejected must have
    the files of every stage. Without it, a stage whose files and provenance are gone is noticed only if a later stage
    used them. ``progress`` is called with the number of bytes read.

    Raises ``BadInputError`` if the folder does not exist or is neither a release nor a build, the list of checksums or
    the manifest is broken, or a manifest is given for a release.
    """
    bytes_to_check(folder)  # raises if there is nothing to verify
    reader = _Reader(folder, progress)
    release = is_release(folder)
    if release and manifest is not None:
        raise BadInputError(
            "a manifest is given for a release",
            code="bad_usage",
            file=folder,
            expected=f"the results of a build (the folder has {CHECKSUMS_NAME})",
            remedy="leave the manifest out",
        )
    found = {*(_of_release(folder, reader) if release else _of_build(folder, reader))}
    if manifest is not None:
        known = {difference.file for difference in found}
        found |= {lack for lack in _not_made(folder, manifest) if lack.file not in known}
    ordered = sorted(found, key=lambda difference: (difference.file, difference.kind))
    return Verified("release" if release else "build", reader.files, reader.size_bytes, tuple(ordered))


def _of_release(folder: Path, reader: _Reader) -> Iterable[Difference]:
    hashes = read_checksums(folder / CHECKSUMS_NAME)
    for name, expected in sorted(hashes.items()):
        yield from reader.compare(name, expected)
    for name in _files(folder):
        if name not in hashes and name != CHECKSUMS_NAME:
            yield Difference("extra", name, f"not in {CHECKSUMS_NAME}")


def _of_build(folder: Path, reader: _Reader) -> Iterable[Difference]:
    names = _files(folder)
    records = read_records(folder, names)
    for name, why in records.broken.items():
        yield Difference("changed", name, why)
    for name, expected in sorted(records.outputs.items()):
        # Snakemake removes the outputs of a failed command, but not their provenance.
        if not (_was_rejected(folder, name) and not (folder / records.own[name]).exists()):
            yield from reader.compare(name, expected)
    for name in names:
        known = name in records.outputs or name.endswith(PROVENANCE_SUFFIX)
        known = known or name == str(WITHIN.report_complete) or _is_rejection(name)
        if not known:
            yield Difference("extra", name, "in no provenance")
    for made in records.outdated():
        yield Difference("outdated", made.output, f"made from an earlier version of {made.source}")
    for made in records.sources:
        gone = made.source not in records.outputs and not (folder / made.source).exists()
        if gone and made.of_this_case and not _was_rejected(folder, made.output):
            yield Difference("missing", made.source, f"{made.output} was made from it")


def _not_made(folder: Path, manifest: Path) -> Iterable[Difference]:
    """Yield missing files of the manifest's cases that were not rejected."""
    for pair in read_pairs(manifest):
        for job in case_jobs(pair.case, scored=pair.landmarks is not None):
            for name in job.outputs:
                if not (folder / name).exists() and not _was_rejected(folder, name):
                    yield Difference("missing", name, f"the manifest needs it ({job.name})")


def _is_rejection(name: str) -> bool:
    """Return whether a file records a rejection; no provenance lists it."""
    parts = name.split("/")
    return len(parts) == 3 and name == str(WITHIN.case(parts[1]).rejected)


def _was_rejected(folder: Path, name: str) -> bool:
    parts = Path(name).parts
    return Path(name).is_relative_to(WITHIN.cases) and BuildFiles(folder).case(parts[1]).rejected.exists()
