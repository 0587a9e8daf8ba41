"""Read a Snakemake profile: threads and memory of each stage, and limits shared by all jobs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcsd.build.pipeline import profile_folder
from lcsd.config import read_yaml
from lcsd.errors import BadInputError

WORKSTATION = profile_folder("workstation")
"""The profile of one machine."""

PROFILE_NAME = "config.yaml"

GREEDY = "greedy"  # the scheduler of Snakemake that does not solve an optimisation problem


@dataclass(frozen=True)
class Profile:
    """The resources that a profile declares."""

    threads: Mapping[str, int]  # threads of the stages that use more than one
    memory_mb: Mapping[str, int]  # memory of the stages that declare it
    # Resources that all jobs on one machine share, such as ``mem_mb``, ``downloads``, ``gpu``
    limits: Mapping[str, int]
    default_mb: int = 0  # memory of the stages that declare none
    jobs: int | None = None  # jobs that may be submitted to a cluster at a time; None without a limit
    scheduler: str = "ilp"  # how Snakemake chooses among ready jobs: ``ilp``, its default, or ``greedy``

    def largest_job_gb(self) -> float:
        """Return the memory of the largest job, 10^9 bytes."""
        return max(self.memory_mb.values(), default=0) / 1000


def read_profile(path: Path = WORKSTATION) -> Profile:
    """Read a profile: a folder with ``config.yaml``, or the file. Raises ``BadInputError`` (``bad_profile``)."""
    file = path if path.is_file() else path / PROFILE_NAME
    content = read_yaml(file)
    threads, limits = (
        {name: _number(value, name, file, least=least) for name, value in _mapping(content, key, file).items()}
        for key, least in (("set-threads", 1), ("resources", 0))
    )
    default = _mapping(content, "default-resources", file).get("mem_mb", 0)
    jobs = content.get("jobs")
    return Profile(
        threads,
        _memory(content, file),
        limits,
        default_mb=_number(default, "default-resources.mem_mb", file),
        jobs=None if jobs in (None, "unlimited") else _number(jobs, "jobs", file, least=1),
        scheduler=str(content.get("scheduler") or "ilp"),
    )


def _memory(content: Mapping[str, Any], file: Path) -> dict[str, int]:
    """Return the memory of each stage in a mapping of mappings or a list ``stage:name=value``."""
    stages = _mapping(content, "set-resources", file)
    if isinstance(content.get("set-resources"), list):
        values = {name.removesuffix(":mem_mb"): value for name, value in stages.items() if name.endswith(":mem_mb")}
    else:
        by_stage = {stage: _mapping(stages, stage, file) for stage in stages}
        values = {stage: own["mem_mb"] for stage, own in by_stage.items() if "mem_mb" in own}
    return {stage: _number(value, f"{stage}.mem_mb", file) for stage, value in values.items()}


def _mapping(content: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    """Return a mapping, which Snakemake also takes as a list of ``name=value``."""
    found = content.get(key) or {}
    if isinstance(found, list):
        return {name: value for name, _, value in (str(text).partition("=") for text in found)}
    if not isinstance(found, dict):
        raise _bad(file, key, "name: value lines", found)
    return found


def _number(value: object, field: str, file: Path, *, least: int = 0) -> int:
    # Memory that grows with the attempts is an expression; the first attempt counts.
    text = re.sub(r"\s*\*\s*attempt\b|\battempt\s*\*\s*", "", str(value)).strip()
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) < least:
        raise _bad(file, field, f"a whole number from {least} on, or attempt * such a number", value)
    return int(text)


def _bad(file: Path, field: str, expected: str, found: object) -> BadInputError:
    return BadInputError(
        "lcsd cannot read this entry of the profile",
        code="bad_profile",
        file=file,
        field=field,
        expected=expected,
        found=repr(found),
        remedy="pass a copy of the profile with plain numbers (--profile)",
    )
