"""``rejected.json``: why a case stopped, written by the command that failed."""

import os
from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError, LcsdError
from lcsd.io.files import read_json, write_json


@dataclass(frozen=True)
class Rejection:
    """Why a case was rejected."""

    stage: str
    target: str
    code: str
    message: str
    remedy: str
    file: str = ""


def read_rejection(path: Path) -> Rejection:
    """Return the record of a rejected case; broken fields are empty."""
    content = read_json(path)
    parts = ("stage", "target", "code", "message", "remedy", "file")
    text = {part: " ".join(str(content.get(part) or "").split()) for part in parts}
    return Rejection(**text)


REJECTED_NAME = "rejected.json"


def _within_case(path: Path, target: Path) -> str:
    """Return the target relative to the case's folder, so that it reads the same from anywhere."""
    return os.path.relpath(target.absolute(), path.parent.absolute())


def reject(path: Path, *, stage: str, target: Path, error: LcsdError) -> None:
    """Record that ``stage`` failed to make ``target``."""
    record = {"stage": stage, "target": _within_case(path, target), **error.to_dict()}
    write_json(path, record)


def clear(path: Path, *, stage: str, target: Path) -> None:
    """Remove an earlier rejection by this same stage and target: it has succeeded since.

    A record that cannot be read says nothing about any stage and is removed, too.
    """
    if not path.exists():
        return
    try:
        record = read_json(path)
    except BadInputError:
        record = {"stage": stage, "target": _within_case(path, target)}
    if (record.get("stage"), record.get("target")) == (stage, _within_case(path, target)):
        path.unlink(missing_ok=True)
