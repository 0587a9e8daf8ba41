"""``rejected.json``: why a stage failed on a case, written by the command that failed."""

import os
from dataclasses import dataclass
from pathlib import Path

from lcsd.errors import BadInputError, LcsdError
from lcsd.io.files import read_json, write_json


@dataclass(frozen=True)
class Rejection:
    """Why a case was rejected; ``target`` is relative to the folder of the case."""

    stage: str
    target: str
    code: str
    message: str
    remedy: str
    file: str = ""


UNREADABLE_REJECTION = Rejection(
    stage="unknown",
    target="",
    code="unreadable_rejection",
    message="rejected.json cannot be read, so the reason is unknown",
    remedy="run the case again",
)


def read_rejection(path: Path) -> Rejection:
    """Return why a case was rejected; parts that the record lacks are empty."""
    content = read_json(path)
    parts = ("stage", "target", "code", "message", "remedy", "file")
    text = {part: " ".join(str(content.get(part) or "").split()) for part in parts}
    return Rejection(**text)


def _within_case(path: Path, target: Path) -> str:
    """Return the target relative to the case's folder, so that it reads the same from anywhere."""
    return os.path.relpath(target.absolute(), path.parent.absolute())


def reject(path: Path, *, stage: str, target: Path, error: LcsdError) -> None:
    """Record that ``stage`` failed to make ``target``."""
    record = {"stage": stage, "target": _within_case(path, target), **error.to_dict()}
    write_json(path, record)


def clear(path: Path, *, stage: str, target: Path) -> None:
    """Remove an earlier rejection by the same stage and target, which has succeeded since.

    A record that cannot be read names no stage and is removed, too.
    """
    if not path.exists():
        return
    try:
        record = read_json(path)
    except BadInputError:
        record = {"stage": stage, "target": _within_case(path, target)}
    if (record.get("stage"), record.get("target")) == (stage, _within_case(path, target)):
        path.unlink(missing_ok=True)
