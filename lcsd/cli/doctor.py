"""``lcsd doctor``: what a build needs and this machine has."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from lcsd.cli.common import FILE, say
from lcsd.cli.failures import failures_named
from lcsd.errors import LcsdError


@click.command(epilog="Example: lcsd doctor --config workflow/config/nlst.yaml")
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Configuration of the build.  [default: scans on the disk, default settings]",
)
@click.option(
    "--profile",
    "profile_file",
    type=FILE,
    help="Snakemake profile that says how much memory jobs take.  [default: workflow/profiles/workstation]",
)
@click.option(
    "--from",
    "source",
    type=FILE,
    metavar="RESULTS",
    help="Finished build whose cases say how much disk one takes.  [default: 0.3 GB]",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(*, config_file: Path | None, profile_file: Path | None, source: Path | None, as_json: bool) -> None:
    """Say what this machine has, lacks or is short of for a build, and what to do about it.

    Python, packages, cores, memory, GPU, SLURM, weights of TotalSegmentator, external programs, the
    index and the downloader, the table of cases, the disk. Exit code 1 if anything is missing that
    the configuration asks for. Nothing is downloaded or written.
    """
    from lcsd.config import Config, read_yaml, validate
    from lcsd.estimate.measures import read_measures
    from lcsd.estimate.profile import WORKSTATION
    from lcsd.monitor.doctor import CASE_GB, examine

    try:
        with failures_named():
            config = None
            if config_file is not None:
                config = validate(Config, read_yaml(config_file), file=config_file)
            case_gb = CASE_GB if source is None else read_measures(source).case_gb()
            findings = examine(config, profile=profile_file or WORKSTATION, case_gb=case_gb)
    except LcsdError as error:
        say(f"lcsd doctor: error: {error.message}")
        sys.exit(error.exit_code)
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in findings], sort_keys=True))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            remedy = f"; {finding.remedy}" if finding.remedy else ""
            click.echo(f"{finding.state:<7}  {finding.name:<{width}}  {finding.found}{remedy}")
    if any(finding.state == "missing" for finding in findings):
        sys.exit(1)
