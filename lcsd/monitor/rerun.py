"""``lcsd case --from``: the Snakemake command that rebuilds a case from a stage on."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lcsd.build.jobs import CASE_STAGES, following, last
from lcsd.build.plan import Build
from lcsd.config import Config, read_yaml
from lcsd.errors import BadInputError, suggestion
from lcsd.io.files import require_folder

PROFILE_VARIABLE = "SNAKEMAKE_PROFILE"
"""Variable in which Snakemake itself looks for a profile."""

DEFAULT_PROFILE = Path("workflow", "profiles", "workstation")


def command(
    build: Build,
    case: str,
    stage: str,
    *,
    config_file: Path | None,
    profile: Path | None = None,
    dry_run: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the words of the command that rebuilds a stage of a case and the stages that depend on it.

    Where manifest and results are not those of ``config_file``, the command names them. ``profile`` is a folder; None
    is the profile of the environment, or the workstation's if it exists. ``more`` are further options of Snakemake.

    Raises ``BadInputError`` for an unknown case or stage, a stage that this case does not have, or a missing profile.
    """
    jobs = build.case_jobs(build.pair(case))
    if stage not in CASE_STAGES:
        raise BadInputError(
            "unknown stage",
            code="unknown_stage",
            field="--from",
            expected=f"one of {', '.join(CASE_STAGES)}",
            found=stage,
            remedy=suggestion(stage, CASE_STAGES),
        )
    wanted = following(jobs, stage)
    if not wanted:
        raise BadInputError(
            "the case has no landmarks to evaluate",
            code="no_landmarks",
            file=build.manifest,
            field=f"{case}, column landmarks",
            expected="a landmark file",
            remedy="name one, or choose another stage",
        )
    targets = [f"{build.results}/{path}" for job in last(wanted) for path in job.outputs[:1]]
    # Users' options come first, since some of them take all words up to the next option.
    words = [sys.executable, "-m", "snakemake", *more, *_profile(profile)]
    if config_file is not None:
        words += ["--configfile", str(config_file)]
    pairs = [f"{name}={json.dumps(value)}" for name, value in _other(build, config_file).items()]
    words += ["--config", *pairs] if pairs else []
    words += ["--dry-run"] if dry_run else []
    return [*words, "--forcerun", stage, "--", *targets]


def _other(build: Build, config_file: Path | None) -> dict[str, str | None]:
    """Return manifest, candidates and results of a build that are not those of its configuration file."""
    file = {} if config_file is None else read_yaml(config_file)
    own = build.config.model_dump(mode="json", include={"manifest", "candidates", "results"})
    file.setdefault("results", Config.model_fields["results"].default)
    return {name: value for name, value in own.items() if str(file.get(name)) != str(value)}


def _profile(profile: Path | None) -> list[str]:
    if profile is None and not os.environ.get(PROFILE_VARIABLE) and DEFAULT_PROFILE.is_dir():
        profile = DEFAULT_PROFILE
    if profile is None:
        return []
    require_folder(profile, "a folder with config.yaml", field="--profile", remedy="name one of workflow/profiles/")
    return ["--profile", str(profile)]
