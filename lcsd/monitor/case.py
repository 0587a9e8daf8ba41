"""``lcsd case``: the jobs of one case with their files, settings, dates and times."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.build.plan import Build
from lcsd.build.records import read_record
from lcsd.monitor.states import JobState, Snapshot

HASH_SHOWN = 12
"""Characters of a hash of settings: enough to see that two differ."""


@dataclass(frozen=True)
class Shown:
    """A job of a case."""

    stage: str  # name of the stage, with the method of an evaluation
    state: JobState  # see :meth:`lcsd.monitor.states.Snapshot.states`
    outputs: Mapping[str, int | None]  # sizes of its files inside the results, bytes; None if a file is missing
    settings: str | None  # hash of its settings; equal settings have equal hashes
    date: str | None  # end of the last command
    seconds: float | None  # wall seconds of all commands
    reason: str | None  # why it rejected the case


def show(build: Build, case: str, now: Snapshot) -> list[Shown]:
    """Return the jobs of a case in the order of the pipeline.

    Raises ``BadInputError`` if the build has no such case.
    """
    jobs = build.case_jobs(build.pair(case))
    states = now.states(jobs)
    found = []
    for job in jobs:
        records = [read_record(now.results / path)[0] for path in job.provenance()]
        rejection = now.rejections.get(case)
        aside = states[job] == "rejected" and rejection is not None
        found.append(
            Shown(
                stage=job.name,
                state=states[job],
                outputs={path: _size(now.results / path) for path in job.outputs},
                settings=_hash(records) if all(records) else None,
                date=max((str(record["date"]) for record in records if "date" in record), default=None),
                seconds=_seconds(records),
                reason=rejection.message if aside and rejection is not None else None,
            )
        )
    return found


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _seconds(records: Sequence[Mapping[str, Any]]) -> float | None:
    walls = [record["wall_s"] for record in records if "wall_s" in record]
    return round(sum(walls), 3) if walls else None


def _hash(records: Sequence[Mapping[str, Any]]) -> str:
    """Return a hash of the settings of a job without threads, which change no output."""
    settings = [
        {key: value for key, value in record.get("settings", {}).items() if key != "threads"} for record in records
    ]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:HASH_SHOWN]


def text(shown: Sequence[Shown]) -> str:
    """Return jobs as a table, with a line below a job for missing files or an error."""
    lines = [f"{'stage':<20}{'state':<13}{'settings':<14}{'date':<27}{'seconds':>9}{'MB':>9}"]
    for job in shown:
        sizes = [size for size in job.outputs.values() if size is not None]
        seconds = "" if job.seconds is None else f"{job.seconds:.1f}"
        size = f"{sum(sizes) / 1e6:.2f}" if sizes else ""
        head = f"{job.stage:<20}{job.state:<13}{job.settings or '':<14}{job.date or '':<27}"
        lines.append(f"{head}{seconds:>9}{size:>9}")
        gone = [path for path, size_bytes in job.outputs.items() if size_bytes is None]
        if sizes and gone:
            lines.append(f"{'':<20}missing: {', '.join(gone)}")
        if job.reason:
            lines.append(f"{'':<20}{job.reason}")
    return "\n".join(lines)
