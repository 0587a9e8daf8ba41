"""``lcsd case``: one case of a build."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.failures import replace_process
from lcsd.cli.options import BUILD_CONFIG, BUILD_MANIFEST, DIRECTORY, FILE
from lcsd.errors import BadInputError

if TYPE_CHECKING:
    from lcsd.build.plan import Build


@click.command(epilog="Example: lcsd case case-0001 --config my.yaml --from register -- --cores 4")
@click.argument("case")
@click.argument("options", nargs=-1, metavar="[-- OPTIONS OF SNAKEMAKE]")
@BUILD_CONFIG
@BUILD_MANIFEST
@click.option(
    "--results",
    type=FILE,
    help="Folder of the build; replaces the one of the configuration. Alone: the build as it was last started.",
)
@click.option("--why", "explain", is_flag=True, help="Show which stages the next run would rebuild, and why.")
@click.option("--from", "stage", metavar="STAGE", help="Rebuild this stage and all stages that follow from it.")
@click.option(
    "--profile", help="With --from: workstation, slurm, or a folder.  [default: $SNAKEMAKE_PROFILE or workstation]"
)
@click.option("--dry-run", is_flag=True, help="With --from: only show what would be rebuilt.")
@DIRECTORY
@tool("case")
def command(
    *,
    case: str,
    options: tuple[str, ...],
    config_file: Path | None,
    manifest: Path | None,
    results: Path | None,
    explain: bool,
    stage: str | None,
    profile: str | None,
    dry_run: bool,
    directory: Path | None,
    as_json: bool,
) -> Shown:
    """Show the stages of CASE: state, hash of the settings, date, seconds, size.

    --why shows which stages the next run would rebuild, and which setting or file causes it.
    --from STAGE rebuilds this stage and the stages that follow from it, of this case only. It prints
    the call of snakemake, and passes on the options after --.
    """
    from lcsd.monitor import case as listing
    from lcsd.monitor import rerun, why
    from lcsd.monitor.states import snapshot

    with_stage = {"--dry-run": dry_run, "--profile": profile, "after --": options}
    without = {"--why": explain, "--json": as_json, "--directory": directory}
    _check_usage(stage is not None, with_stage=with_stage, without=without)
    build, config_file = _named(config_file, manifest, results)
    if stage is not None:
        words = rerun.command(
            build, case, stage, config_file=config_file, profile=profile, more=options, dry_run=dry_run
        )
        replace_process(words)
    build.pair(case)
    now = snapshot(Path(build.results), directory, configured=True)
    if not explain:
        jobs = listing.show(build, case, now)
        return Shown(listing.text(jobs), [asdict(job) for job in jobs])
    found = why.why(build, case, now)
    record = [
        {"stage": job.name, "runs": any(cause.runs for cause in causes), "causes": [asdict(cause) for cause in causes]}
        for job, causes in found.items()
    ]
    return Shown(why.text(found), record)


def _named(config_file: Path | None, manifest: Path | None, results: Path | None) -> "tuple[Build, Path | None]":
    """Return the build of a configuration, a manifest or a folder of results, and its configuration file."""
    from lcsd.build.jobs import BuildFiles
    from lcsd.build.plan import Build
    from lcsd.build.recorded import recorded

    if config_file is not None or manifest is not None:
        return Build.from_file(config_file, manifest=manifest, results=results), config_file
    build = None if results is None else recorded(results)
    if build is None or results is None:
        raise BadInputError(
            "the build is not named" if results is None else "the build recorded no configuration",
            code="missing_option",
            file=results,
            field="--config",
            expected="the configuration of the build, --manifest, or --results of a build that was started",
        )
    return build, BuildFiles(results).recorded_config


def _check_usage(from_stage: bool, *, with_stage: Mapping[str, object], without: Mapping[str, object]) -> None:
    """Refuse options that do not go together; ``from_stage``: --from is given."""
    wrong = [name for name, value in (without if from_stage else with_stage).items() if value]
    if wrong:
        raise BadInputError(
            "the options do not go together",
            code="bad_option",
            field=", ".join(wrong),
            expected=f"{'no' if from_stage else 'also'} --from STAGE",
            remedy="see lcsd case --help; options of snakemake come after --",
        )
