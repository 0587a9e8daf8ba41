"""``lcsd case --why``: why the next run of a build would rebuild a stage of a case, or not.

The provenance of the existing files is compared with the current configuration by Snakemake's rules: missing files,
settings, and inputs by their times. Snakemake compares with its own records, which other programs cannot read; a test
compares both answers.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd import __version__
from lcsd.build.jobs import Job
from lcsd.build.pairs import Pair
from lcsd.build.plan import Build
from lcsd.build.records import GIVEN, OUTSIDE, read_record
from lcsd.io.files import sha256
from lcsd.monitor.states import Snapshot
from lcsd.names import SCANS, is_series_uid

CHECKSUM_BYTES = 1_000_000
"""Snakemake compares smaller files by their bytes if they are newer than an output."""

DIGEST_SHOWN = 12
"""Characters of a hash that are shown."""

FIELD_STAGES = ("correspond", "register")
"""Stages that write a displacement field, at ``workflow.field_mm``."""

RUN_ONLY = ("threads", "seed", "device", "fetch")
"""Settings in the provenance that are no parameters of the rules."""


@dataclass(frozen=True)
class Cause:
    """A reason to run a job again, or a note on it."""

    text: str
    runs: bool = True  # whether the next run runs the job for this reason; otherwise it is a note


def why(build: Build, case: str, now: Snapshot) -> dict[Job, list[Cause]]:
    """Return the reasons and notes for each job of a case; reads the case's inputs to compare their hashes.

    Raises ``BadInputError`` if the build has no such case.
    """
    pair = build.pair(case)
    jobs = build.case_jobs(pair)
    look = _Look(build, pair, now)
    made: dict[str, str] = {}
    found: dict[Job, list[Cause]] = {}
    for job in jobs:
        earlier = list(dict.fromkeys(made[path] for path in job.inputs if path in made))
        causes = [*look.causes(job), *(Cause(f"{name} runs before") for name in earlier)]
        if any(cause.runs for cause in causes):
            made |= dict.fromkeys(job.outputs, job.name)
        found[job] = causes
    return found


class _Look:
    """Compares one case with its provenance; each file is hashed once."""

    def __init__(self, build: Build, pair: Pair, now: Snapshot) -> None:
        self.build = build
        self.pair = pair
        self.now = now
        self.results = Path(build.results)
        self._hashes: dict[Path, str] = {}

    def causes(self, job: Job) -> Iterator[Cause]:
        """Yield the reasons of a job itself, not those of the jobs before it."""
        missing = [path for path in job.outputs if path not in self.now.files]
        rejection = self.now.rejections.get(job.case)
        if missing:
            names = ", ".join(path.split("/", 2)[-1] for path in missing)
            yield Cause(f"missing: {names}")
            if rejection is not None and rejection.stage == job.stage:
                yield Cause(f"was rejected: {rejection.message}", runs=False)
            return
        if self.now.is_marked(job):
            yield Cause("it is running, or was interrupted in the last run")
            return
        records = [self._record(path) for path in job.provenance()]
        known = [record for record in records if record]
        if len(known) < len(records):
            yield Cause("the provenance is missing or broken, so the settings are unknown", False)
        seen: set[str] = set()
        for at, record in enumerate(known):
            for cause in (*self._settings(job, record, at), *self._given(job, record, at)):
                if cause.text not in seen:
                    seen.add(cause.text)
                    yield cause
        yield from self._inputs(job, known)
        made_by = {str(record.get("versions", {}).get("lcsd")) for record in known}
        for version in sorted(made_by - {__version__}):
            yield Cause(f"made by lcsd {version}, this is {__version__}; not a reason to run", False)

    def _record(self, path: str) -> dict[str, Any]:
        return read_record(self.results / path)[0]

    def _settings(self, job: Job, record: Mapping[str, Any], at: int) -> Iterator[Cause]:
        """Yield settings that differ; ``at`` is the index of the command in the job."""
        section = getattr(self.build.config, job.stage).model_dump(mode="json")
        if job.stage == "convert":
            uid = self.pair.fixed_series if at == 0 else self.pair.moving_series
            section["series_uid"] = uid or section["series_uid"]
        recorded = dict(record.get("settings", {}))
        device = str(recorded.get("device", "cpu"))
        wanted = "cuda" if self.build.on_gpu(job.stage) else "cpu"
        if device != wanted:
            yield Cause(f"setting workflow.device: {device} -> {wanted}")
        if job.stage in FIELD_STAGES:
            spacing = record.get("facts", {}).get("field", {}).get("spacing_mm")
            field_mm = self.build.config.workflow.field_mm
            if spacing != field_mm:
                yield Cause(f"setting workflow.field_mm: {'(not there)' if spacing is None else spacing} -> {field_mm}")
        old = flat({key: value for key, value in recorded.items() if key not in RUN_ONLY})
        new = flat(section)
        for key in sorted(old.keys() | new.keys()):
            before, after = _shown(old, key), _shown(new, key)
            if before != after:
                yield Cause(f"setting {job.stage}.{key}: {before} -> {after}")

    def _given(self, job: Job, record: Mapping[str, Any], at: int) -> Iterator[Cause]:
        """Yield files of the manifest that differ from those that were used."""
        for name, wanted in self._outside(job, at).items():
            entry = record.get("inputs", {}).get(name)
            taken = None if entry is None else str(entry["path"])
            if wanted is not None and is_series_uid(wanted):
                # A fetched series is in a folder with its name.
                taken = None if taken is None else Path(taken).name
            if taken != wanted:
                yield Cause(f"the manifest's {name}: {taken or 'none'} -> {wanted or 'none'}")
        taken = record.get("facts", {}).get("landmarks", {}).get("frame")
        wanted = self.pair.landmarks_frame
        # Earlier versions did not record the frame.
        if job.stage == "evaluate" and taken is not None and taken != wanted:
            yield Cause(f"the manifest's landmarks_frame: {taken} -> {wanted}")

    def _outside(self, job: Job, at: int) -> dict[str, str | None]:
        """Return the inputs of a command that the manifest names, by their name in the provenance."""
        pair, scan = self.pair, SCANS[min(at, 1)]
        if job.stage == "convert":
            return {"source": getattr(pair, f"{scan}_source")}
        if job.stage in ("lungs", "vessels"):
            column = "mask" if job.stage == "lungs" else "vessels"
            given = getattr(pair, f"{scan}_{column}")
            return {"given": None if given is None else str(given)}
        return {"landmarks": str(pair.landmarks)} if job.stage == "evaluate" else {}

    def _inputs(self, job: Job, records: Sequence[Mapping[str, Any]]) -> Iterator[Cause]:
        """Yield inputs that were other files, or whose bytes or times differ."""
        own = f"cases/{job.case}/"
        hashes: dict[Path, str] = {}
        others: set[str] = set()
        for record in records:
            for name, entry in record.get("inputs", {}).items():
                path = str(entry["path"])
                outside = name in (*OUTSIDE, GIVEN)
                # Paths are relative to another folder, and the build may have been moved.
                inside = not outside and f"/{own}" in f"/{path}"
                tail = own + path.rpartition(own)[2] if inside else None
                if tail is not None and tail not in job.inputs:
                    others.add(tail)
                place = self.results / tail if tail else (self.now.engine.folder or Path()) / path
                hashes[place] = str(entry["sha256"])
        for tail in sorted(others):
            yield Cause(f"it read {tail}, and would now read another file")
        oldest = min(_changed(self.results / path) for path in job.outputs)
        for place in dict.fromkeys((*(self.results / path for path in job.inputs), *hashes)):
            if place.exists():  # otherwise another job makes it, or it is missing for a while
                yield from self._input(place, newer=_changed(place) > oldest, recorded=hashes.get(place))

    def _input(self, path: Path, *, newer: bool, recorded: str | None) -> Iterator[Cause]:
        if recorded is None:
            if newer:
                yield Cause(f"input {path} is newer than the output")
            return
        if path not in self._hashes:
            self._hashes[path] = sha256(path)
        found = self._hashes[path]
        change = f"{recorded[:DIGEST_SHOWN]} -> {found[:DIGEST_SHOWN]}"
        if found != recorded and newer:
            yield Cause(f"input {path} has changed: SHA-256 {change}")
        elif found != recorded:
            yield Cause(
                f"input {path} has changed (SHA-256 {change}) but is older than the output, and Snakemake compares "
                "times: use --from",
                runs=False,
            )
        elif newer and (path.is_dir() or path.stat().st_size > CHECKSUM_BYTES):
            yield Cause(
                f"input {path} is newer than the output, with the same bytes: Snakemake compares large files by their "
                "times"
            )


def flat(settings: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Return settings with the keys of inner sections joined by dots."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{within}{key}.")
        else:
            found[f"{within}{key}"] = value
    return found


def _shown(settings: Mapping[str, Any], key: str) -> str:
    return json.dumps(settings[key], sort_keys=True) if key in settings else "(missing)"


def _changed(path: Path) -> int:
    """Return the modification time of a file, ns; 0 if it vanished."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def text(found: Mapping[Job, Sequence[Cause]]) -> str:
    """Return lines with what the next run does with each job, and why."""
    lines = []
    for job, causes in found.items():
        verdict = "would run" if any(cause.runs for cause in causes) else "up to date"
        said = [f"{'' if cause.runs else 'note: '}{cause.text}" for cause in causes] or [""]
        for at, sentence in enumerate(said):
            head = f"{job.name:<20}{verdict:<12}" if at == 0 else " " * 32
            lines.append(f"{head}{sentence}".rstrip())
    return "\n".join(lines)
