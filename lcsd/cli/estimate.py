"""``lcsd estimate``: hours, disk, jobs and money of a build, and what limits it."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, PROFILE, settings_options
from lcsd.errors import BadInputError


@click.command(epilog="Example: lcsd estimate --from demo/results --pairs 550 --cores 16 --memory-gb 64")
@click.option(
    "--from", "source", type=FILE, metavar="RESULTS", help="Results of a finished build, or a file written by --save."
)
@settings_options("estimate")
@PROFILE
@click.option("--pairs", type=click.IntRange(1), help="Number of cases.  [default: those of --config]")
@click.option(
    "--candidates",
    type=click.IntRange(0),
    help="Number of candidates that are screened first.  [default: those of --config, else none]",
)
@click.option(
    "--landmarks",
    type=click.IntRange(0),
    help="Number of cases with landmarks.  [default: those of --config's manifest, else the finished build's share]",
)
@click.option("--cores", type=click.IntRange(1), required=True, help="CPU cores of a machine.")
@click.option(
    "--memory-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory of a machine, shared by its jobs; pass it to snakemake, too (--resources).  "
    "[default: the profile's mem_mb]",
)
@click.option("--gpus", type=click.IntRange(0), help="GPUs of a machine.  [default: the profile's]")
@click.option("--nodes", type=click.IntRange(1), help="Number of machines of a cluster with a scheduler.")
@click.option(
    "--group",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Cluster: cases in one job; 0: every stage of a case is a separate job.",
)
@click.option(
    "--batches",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts, planned and built one after the other (snakemake --batch report=1/N); the last one without --batch.",
)
@click.option(
    "--mbit",
    type=click.FloatRange(0, min_open=True),
    help="Speed of the link over which scans are downloaded, Mbit/s: the series of --config, or all scans "
    "without it.  [default: downloads take no time]",
)
@click.option(
    "--downloads", type=click.IntRange(1), help="Jobs that may download at the same time.  [default: the profile's]"
)
@click.option("--usd-per-hour", type=click.FloatRange(0), default=0.0, help="Price of one machine for one hour.")
@click.option(
    "--basis",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="Seconds of the finished build: wall time, or CPU time if other programs ran on its machine.",
)
@click.option("--save", type=FILE, help="Write the figures of the finished build to this file (.json).")
@tool("estimate")
def command(
    *,
    source: Path | None,
    config_file: Path | None,
    documents: tuple[str, ...],
    assignments: tuple[str, ...],
    profile_file: Path | None,
    save: Path | None,
    **options: Any,
) -> Shown:
    """Estimate how long a build takes on given machines, what it needs, and what limits it.

    Seconds, memory and bytes come from a finished build, threads and memory limits from the profile,
    cases and settings of the planned build from --config.
    docs/scale.md explains the formula.
    """
    from lcsd.config import read_config, read_sections
    from lcsd.estimate.estimate import estimate
    from lcsd.estimate.measures import read_measures, write_measures
    from lcsd.estimate.profile import WORKSTATION, read_profile
    from lcsd.estimate.question import Options, ask
    from lcsd.estimate.text import lines, risks
    from lcsd.settings.estimate import EstimateSettings

    settings, _ = read_sections("estimate", EstimateSettings, {}, config_file, assignments, documents=documents)
    config = None if config_file is None else read_config(config_file)
    if source is None:
        raise BadInputError(
            "no finished build to measure",
            code="missing_option",
            field="--from",
            remedy="make a small build (make demo) and pass its results",
        )
    profile = read_profile(profile_file or WORKSTATION)
    measures = read_measures(
        source, warn=lambda problem: say(f"lcsd estimate: warning: {problem.line()}; the case is left out")
    )
    question = ask(Options(**options), config=config, profile=profile, measures=measures, settings=settings)
    if save is not None:
        write_measures(save, measures)
    found = estimate(measures, question, profile=profile, settings=settings)
    dangers = risks(found, question, settings)
    text = [*lines(found, question, measures), *(f"risk: {danger}" for danger in dangers)]
    return Shown("\n".join(text), {**asdict(found), "risks": dangers})
