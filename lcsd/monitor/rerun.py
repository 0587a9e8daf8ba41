"""``lcsd case --from``: the Snakemake command that rebuilds a case from a stage on."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lcsd.build.jobs import CASE_STAGES, following, last
from lcsd.build.pipeline import snakemake_words
from lcsd.build.plan import Build
from lcsd.errors import BadInputError, suggestion
from lcsd.monitor.run import configuration_words


def command(
    build: Build,
    case: str,
    stage: str,
    *,
    config_file: Path | None,
    profile: str | None = None,
    dry_run: bool = False,
    more: Sequence[str] = (),
) -> list[str]:
    """Return the words of the command that rebuilds a stage of a case and the stages that depend on it.

    Where manifest and results are not those of ``config_file``, the command names them. ``profile`` is that of
    :func:`lcsd.build.pipeline.snakemake_words`. ``more`` are further options of Snakemake.

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
    words = [*snakemake_words(sys.executable, profile, more), *configuration_words(build, config_file)]
    words += ["--dry-run"] if dry_run else []
    return [*words, "--forcerun", stage, "--", *targets]
