"""Read all provenance of a case or a build, and find outdated outputs.

Only provenance is read. Light at import.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lcsd.build.provenance import OWN_DIGEST, PROVENANCE_SUFFIX, own_digest
from lcsd.errors import BadInputError
from lcsd.io.files import json_text, read_json

BUILD_FOLDERS = ("cases", "cohort")
"""Folders with the results of a build; report, logs and downloaded series are not results."""

GIVEN = "given"
"""Name of an input that a user gave instead of a stage's output; it is not a file of the build."""

OUTSIDE = ("source", "landmarks")
"""Names of inputs that are usually outside the build."""


@dataclass(frozen=True)
class Source:
    """A file from which another was made."""

    output: str  # path inside the build
    source: str  # possible path of the output's input, inside the build
    sha256: str  # of the input when it was read, as hex
    inside: bool = True  # whether the input must be a file of the build if it has the output's case

    @property
    def of_this_case(self) -> bool:
        """Whether input and output belong to the same case, so that the input must exist."""
        case = self.output.split("/")[:2]
        return self.inside and case[0] == "cases" and self.source.split("/")[:2] == case


@dataclass
class Records:
    """The provenance of a build or of a part of it, by paths inside the build."""

    outputs: dict[str, str] = field(default_factory=dict)  # SHA-256 of every listed file
    # Output that gives the provenance file of a listed file its name
    own: dict[str, str] = field(default_factory=dict)
    sources: list[Source] = field(default_factory=list)  # files from which the files were made
    # Content of every provenance file that can be used; ``broken``: why one cannot be used
    contents: dict[str, dict[str, Any]] = field(default_factory=dict)
    broken: dict[str, str] = field(default_factory=dict)

    def outdated(self) -> Iterator[Source]:
        """Yield every source that has changed since it was read."""
        for source in self.sources:
            if self.outputs.get(source.source, source.sha256) != source.sha256:
                yield source


def read_records(root: Path, names: Iterable[str]) -> Records:
    """Return the provenance of a build; of ``names``, paths inside ``root``, other files are ignored."""
    records = Records()
    for name in names:
        if not name.endswith(PROVENANCE_SUFFIX):
            continue
        record, why = read_record(root / name)
        if why:
            records.broken[name] = why
            continue
        records.contents[name] = record
        outputs = _outputs(record, name)
        records.outputs |= outputs
        records.own |= dict.fromkeys(outputs, _own(record, name))
        records.sources += _sources(record, name)
    return records


def read_record(path: Path) -> tuple[dict[str, Any], str]:
    """Return a provenance file's content, or nothing and why it cannot be used."""
    try:
        record = read_json(path)
    except (BadInputError, OSError):
        return {}, "not readable"
    if OWN_DIGEST not in record:
        return {}, "no checksum, so an older version made it: rebuild it"
    # Some changed bytes have the same meaning, such as 1e-08 and 1E-08.
    same = path.read_bytes() == json_text(record).encode()
    if not same or record[OWN_DIGEST] != own_digest(record):
        return {}, "the bytes differ from those that were written"
    objects = ("inputs", "outputs", "settings", "versions")
    if not isinstance(record.get("stage"), str) or not all(isinstance(record.get(name, {}), dict) for name in objects):
        return {}, "not a record of lcsd"
    return record, ""


def _outputs(record: dict[str, Any], name: str) -> dict[str, str]:
    """Return the SHA-256 of the listed files, by path inside the build."""
    folder = Path(name).parent
    found = record.get("outputs", {})
    return {_normal(folder / output): digest for output, digest in found.items()}


def _own(record: dict[str, Any], name: str) -> str:
    return _normal(Path(name).parent / str(record.get("output", "")))


def _sources(record: dict[str, Any], name: str) -> list[Source]:
    """Return the listed inputs with their possible paths in the build.

    Recorded paths depend on the working folder, and a build may have been moved, so the end of a path identifies a file
    of the build. Files of another build have such ends, too; so files that a user gave, and files at the output's path,
    are left out.
    """
    output = _own(record, name)
    found = []
    for key, entry in record.get("inputs", {}).items():
        parts = Path(entry["path"]).parts
        for at, part in enumerate(parts):
            source = "/".join(parts[at:])
            if part in BUILD_FOLDERS and key != GIVEN and source != output:
                found.append(Source(output, source, entry["sha256"], inside=key not in OUTSIDE))
    return found


def _normal(path: Path) -> str:
    """Return a relative path without ``..``; the file need not exist."""
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and parts:
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
