"""``lcsd doctor``: what a build needs and this machine has."""

from dataclasses import asdict
from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.options import BUILD_CONFIG, FILE, PROFILE


@click.command(epilog="Example: lcsd doctor --config workflow/config/nlst.yaml")
@BUILD_CONFIG
@PROFILE
@click.option(
    "--from",
    "source",
    type=FILE,
    metavar="RESULTS",
    help="Finished build whose cases show how much disk one case takes.  [default: 0.13 GB a case]",
)
@tool("doctor")
def command(*, config_file: Path | None, profile_file: Path | None, source: Path | None) -> Shown:
    """Check whether this machine has what a build needs, and say how to get what is missing.

    Checks Python, packages, cores, memory, GPU, SLURM, the weights of TotalSegmentator, external
    programs, the index and the downloader, the table of cases, and the disk. Without --config: for
    the default settings and scans on the disk. Exit code 1 if something that the configuration
    needs is missing. Nothing is downloaded or written.
    """
    from lcsd.config import read_config
    from lcsd.estimate.measures import read_measures
    from lcsd.estimate.profile import WORKSTATION
    from lcsd.monitor.doctor import CASE_GB, examine

    config = None if config_file is None else read_config(config_file)
    case_gb = CASE_GB if source is None else read_measures(source).case_gb()
    findings = examine(config, profile=profile_file or WORKSTATION, case_gb=case_gb)
    width = max(len(finding.name) for finding in findings)
    lines = [
        f"{finding.state:<7}  {finding.name:<{width}}  {finding.found}{f'; {finding.remedy}' if finding.remedy else ''}"
        for finding in findings
    ]
    missing = any(finding.state == "missing" for finding in findings)
    return Shown("\n".join(lines), [asdict(finding) for finding in findings], exit_code=int(missing))
