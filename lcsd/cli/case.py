"""``lcsd case``: one case of a build."""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import click

from lcsd.cli.common import FILE, say
from lcsd.cli.failures import failures_named
from lcsd.errors import BadInputError, LcsdError


@click.command(epilog="Example: lcsd case case-0001 --config my.yaml --from register -- --cores 4")
@click.argument("case")
@click.argument("options", nargs=-1, metavar="[-- OPTIONS OF SNAKEMAKE]")
@click.option("--config", "config_file", type=FILE, help="Configuration of the build, as for snakemake.")
@click.option("--manifest", type=FILE, help="Pairs manifest, instead of the configuration's.")
@click.option("--results", type=FILE, help="Folder of the build, instead of the configuration's.")
@click.option("--why", "explain", is_flag=True, help="Say what the next run would make, and why.")
@click.option("--from", "stage", metavar="STAGE", help="Make this stage and what follows again.")
@click.option(
    "--profile",
    type=FILE,
    help="With --from: profile of snakemake.  [default: $SNAKEMAKE_PROFILE or workflow/profiles/workstation]",
)
@click.option("--dry-run", is_flag=True, help="With --from: only show what would be done.")
@click.option(
    "--directory",
    type=FILE,
    help="Folder in which snakemake was called, not with --from.  [default: found here or above the results]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(
    *,
    case: str,
    options: tuple[str, ...],
    config_file: Path | None,
    manifest: Path | None,
    results: Path | None,
    explain: bool,
    stage: str | None,
    profile: Path | None,
    dry_run: bool,
    directory: Path | None,
    as_json: bool,
) -> None:
    """Show what there is of CASE: its stages with state, settings' hash, date, seconds, size.

    --why says which stages the next run would make again, and because of which setting or file.
    --from STAGE makes that stage and what follows from it again, of this case alone, by snakemake;
    it prints the command and hands through what comes after --.
    """
    from lcsd.build.plan import Build
    from lcsd.monitor import case as listing
    from lcsd.monitor import rerun, why
    from lcsd.monitor.states import snapshot

    try:
        with failures_named():
            with_stage = {"--dry-run": dry_run, "--profile": profile, "after --": options}
            without = {"--why": explain, "--json": as_json, "--directory": directory}
            _check_usage(stage is not None, with_stage=with_stage, without=without)
            if config_file is None and manifest is None:
                raise BadInputError(
                    "no build is named",
                    code="missing_option",
                    field="--config",
                    expected="the configuration of the build, or --manifest",
                )
            build = Build.from_file(config_file, manifest=manifest, results=results)
            if stage is not None:
                given = {"manifest": manifest, "results": results}
                words = rerun.command(
                    build,
                    case,
                    stage,
                    config_file=config_file,
                    profile=profile,
                    more=options,
                    overridden=[name for name, value in given.items() if value is not None],
                    dry_run=dry_run,
                )
                _run(words)
            build.pair(case)
            now = snapshot(Path(build.results), directory, configured=True)
            if explain:
                found = why.why(build, case, now)
                record = [
                    {
                        "stage": job.name,
                        "runs": any(cause.runs for cause in causes),
                        "causes": [asdict(cause) for cause in causes],
                    }
                    for job, causes in found.items()
                ]
                shown = why.text(found)
            else:
                jobs = listing.show(build, case, now)
                record, shown = [asdict(job) for job in jobs], listing.text(jobs)
    except LcsdError as error:
        say(f"lcsd case: error: {error.message}")
        sys.exit(error.exit_code)
    click.echo(json.dumps(record, sort_keys=True) if as_json else shown)


def _check_usage(given: bool, *, with_stage: Mapping[str, object], without: Mapping[str, object]) -> None:
    """Refuse options that do not go together; ``given`` says whether --from is."""
    wrong = [name for name, value in (without if given else with_stage).items() if value]
    if wrong:
        raise BadInputError(
            "the options do not fit",
            code="bad_option",
            field=", ".join(wrong),
            expected=f"{'no' if given else 'also'} --from STAGE",
            remedy="see lcsd case --help; options of snakemake follow after --",
        )


def _run(words: list[str]) -> None:
    """Print a command and become it, so that signals and its exit code are Snakemake's own."""
    say(shlex.join(words))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(words[0], words)  # noqa: S606 - no shell, by purpose
