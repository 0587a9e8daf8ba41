"""``rejected.json``: why a case stopped, written by the command that failed."""

from pathlib import Path

from lcsd.errors import LcsdError
from lcsd.files import read_json, write_json

REJECTED_NAME = "rejected.json"


def reject(path: Path, *, stage: str, target: str, error: LcsdError) -> None:
    """Record that ``stage`` failed to make ``target``."""
    write_json(path, {"stage": stage, "target": target, **error.to_dict()})


def clear(path: Path, *, stage: str, target: str) -> None:
    """Remove an earlier rejection by this same stage and target: it has succeeded since."""
    if path.exists():
        record = read_json(path)
        if (record.get("stage"), record.get("target")) == (stage, target):
            path.unlink()
