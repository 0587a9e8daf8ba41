"""The command of Snakemake that makes a case again from a stage on."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from lcsd.build.jobs import CASE_STAGES, following, last
from lcsd.build.plan import Build
from lcsd.errors import BadInputError, suggestion

PROFILE_VARIABLE = "SNAKEMAKE_PROFILE"
"""Where Snakemake itself looks for a profile."""

DEFAULT_PROFILE = Path("workflow", "profiles", "workstation")


def command(
    build: Build,
    case: str,
    stage: str,
    *,
    config_file: Path | None,
    overridden: Sequence[str],
    profile: Path | None = None,
    dry_run: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the command, word by word, that makes ``stage`` of a case and what follows from it.

    Parameters
    ----------
    config_file
        Configuration of the build.
    overridden
        Keys of the configuration that were given beside the file: ``manifest``, ``results``.
    profile
        Folder of a profile; if None, that of the environment, or the workstation's if it is there.
    more
        Further options, handed through.

    Raises
    ------
    BadInputError
        No such case or stage, a stage that this case does not have, or a profile that is not there.
    """
    jobs = build.case_jobs(build.pair(case))
    if stage not in CASE_STAGES:
        raise BadInputError(
            "no such stage",
            code="unknown_stage",
            field="--from",
            expected=f"one of {', '.join(CASE_STAGES)}",
            found=stage,
            remedy=suggestion(stage, CASE_STAGES),
        )
    wanted = following(jobs, stage)
    if not wanted:
        raise BadInputError(
            "the case has no such stage",
            code="no_landmarks",
            file=build.manifest,
            field=f"{case}, column landmarks",
            expected="landmarks to evaluate",
            remedy="name a landmark file, or another stage",
        )
    targets = [f"{build.results}/{path}" for job in last(wanted) for path in job.outputs[:1]]
    # The others follow: some of them take all words up to the next option.
    words = [sys.executable, "-m", "snakemake", *more, *_profile(profile)]
    if config_file is not None:
        words += ["--configfile", str(config_file)]
    values = {"manifest": build.manifest, "results": build.results}
    pairs = [f"{name}={json.dumps(values[name])}" for name in overridden]
    words += ["--config", *pairs] if pairs else []
    words += ["--dry-run"] if dry_run else []
    return [*words, "--forcerun", stage, "--", *targets]


def _profile(profile: Path | None) -> list[str]:
    if profile is None and not os.environ.get(PROFILE_VARIABLE) and DEFAULT_PROFILE.is_dir():
        profile = DEFAULT_PROFILE
    if profile is None:
        return []
    if not profile.is_dir():
        raise BadInputError(
            "there is no such profile",
            code="missing_folder",
            field="--profile",
            found=profile,
            expected="a folder with config.yaml",
            remedy="name one of workflow/profiles/",
        )
    return ["--profile", str(profile)]
