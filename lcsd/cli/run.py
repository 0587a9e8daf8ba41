"""``lcsd run``: build a dataset."""

from pathlib import Path

import click

from lcsd.cli.common import tool
from lcsd.cli.failures import replace_process
from lcsd.cli.options import BUILD_CONFIG, BUILD_MANIFEST, FILE


@click.command(epilog="Example: lcsd run --manifest pairs.tsv --results results --cores 8")
@click.argument("options", nargs=-1, metavar="[-- OPTIONS OF SNAKEMAKE]")
@BUILD_CONFIG
@BUILD_MANIFEST
@click.option("--results", type=FILE, help="Folder of the build.  [default: that of the configuration, or results]")
@click.option(
    "--profile",
    help="Snakemake profile: workstation, slurm, or a folder.  [default: $SNAKEMAKE_PROFILE or workstation]",
)
@click.option("--cores", type=click.IntRange(1), help="Cores to use.  [default: that of the profile]")
@click.option("--dry-run", is_flag=True, help="Only show what would be built.")
@click.option("--unlock", is_flag=True, help="Only unlock the folder after a crash.")
@tool("run", json_option=False)
def command(
    *,
    options: tuple[str, ...],
    config_file: Path | None,
    manifest: Path | None,
    results: Path | None,
    profile: str | None,
    cores: int | None,
    dry_run: bool,
    unlock: bool,
) -> None:
    """Build a dataset from a manifest, or resume its build.

    This is snakemake with the workflow of this installation, and its exit code. It prints the call,
    and passes on the options after --. Snakemake keeps its records in .snakemake/ of the current
    folder, so resume a build in the folder in which it was started.
    """
    from lcsd.build.plan import Build
    from lcsd.monitor import run

    build = Build.from_file(config_file, manifest=manifest, results=results)
    replace_process(
        run.command(
            build, config_file=config_file, profile=profile, cores=cores, dry_run=dry_run, unlock=unlock, more=options
        )
    )
