"""``lcsd estimate``: hours, disk, jobs and money of a build."""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from lcsd.cli.common import FILE, PLAIN_PROGRESS_SECONDS, say
from lcsd.cli.failures import failures_named
from lcsd.errors import BadInputError, LcsdError


@click.command(epilog="Example: lcsd estimate --from demo/results --pairs 550 --cores 16 --memory-gb 64")
@click.option(
    "--from", "source", type=FILE, metavar="RESULTS", help="Results of a finished build, or a file that --save wrote."
)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Configuration of the build to come: its cases, candidates, and settings.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting of the section estimate; the value is YAML. Repeatable.",
)
@click.option(
    "--profile",
    "profile_file",
    type=FILE,
    help="Snakemake profile: threads, memory, limits.  [default: workflow/profiles/workstation]",
)
@click.option("--pairs", type=click.IntRange(1), help="Cases.  [default: those of --config]")
@click.option(
    "--candidates",
    type=click.IntRange(0),
    help="Candidates that are screened before.  [default: those of --config, else none]",
)
@click.option(
    "--landmarks",
    type=click.IntRange(0),
    help="Cases with landmarks.  [default: those of --config's manifest, else the finished build's share]",
)
@click.option("--cores", type=click.IntRange(1), required=True, help="CPU cores of a machine.")
@click.option(
    "--memory-gb",
    type=click.FloatRange(0, min_open=True),
    help="Memory of a machine that jobs share; give it to snakemake, too (--resources).  "
    "[default: the profile's mem_mb]",
)
@click.option("--gpus", type=click.IntRange(0), help="GPUs of a machine.  [default: the profile's]")
@click.option("--nodes", type=click.IntRange(1), help="Machines of a cluster, through its scheduler.")
@click.option(
    "--group",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Cluster: cases that are one job; 0: every stage is a job of its own.",
)
@click.option(
    "--batches",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Parts that are planned and built one after the other (snakemake --batch report=1/N), the "
    "last one without --batch.",
)
@click.option(
    "--mbit",
    type=click.FloatRange(0, min_open=True),
    help="Scans are downloaded over such a link, Mbit/s: the series of --config, without it all.  "
    "[default: downloads of --config take no time]",
)
@click.option("--downloads", type=click.IntRange(1), help="Jobs that download at a time.  [default: the profile's]")
@click.option("--usd-per-hour", type=click.FloatRange(0), default=0.0, help="Price of a machine's hour.")
@click.option(
    "--basis",
    type=click.Choice(["wall", "cpu"]),
    default="wall",
    show_default=True,
    help="Seconds of the finished build: by the clock, or CPU time, where its machine was shared.",
)
@click.option(
    "--resamples",
    type=click.IntRange(1),
    default=20,
    show_default=True,
    help="Builds that are simulated for the range.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option("--save", type=FILE, help="Write the finished build's figures to this file (.json).")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(
    *,
    source: Path | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    profile_file: Path | None,
    save: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Say how long a build takes on given machines, what it needs, and what gives way first.

    The seconds, memory and bytes are those of a finished build; the schedule is simulated as
    Snakemake makes it, with the profile's threads and memory. docs/scale.md says what is assumed.
    """
    from lcsd.config import Config, read_sections, read_yaml, validate
    from lcsd.estimate.estimate import estimate
    from lcsd.estimate.measures import read_measures, write_measures
    from lcsd.estimate.profile import WORKSTATION, read_profile
    from lcsd.estimate.question import Options, ask
    from lcsd.estimate.text import lines, risks
    from lcsd.settings.estimate import EstimateSettings

    terminal = sys.stderr.isatty()

    def progress(draws: range) -> Iterable[int]:
        return tqdm(
            draws,
            desc="estimate",
            unit="build",
            ascii=not terminal,
            leave=False,
            mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
        )

    try:
        with failures_named():
            settings, _ = read_sections("estimate", EstimateSettings, {}, config_file, assignments)
            config = None
            if config_file is not None:
                config = validate(Config, read_yaml(config_file), file=config_file)
            if source is None:
                raise BadInputError(
                    "no finished build to measure",
                    code="missing_option",
                    field="--from",
                    remedy="make a small build (make demo) and name its results",
                )
            profile = read_profile(profile_file or WORKSTATION)
            measures = read_measures(source)
            question = ask(Options(**options), config=config, profile=profile, measures=measures, settings=settings)
            if save is not None:
                write_measures(save, measures)
            found = estimate(measures, question, profile=profile, settings=settings, progress=progress)
    except LcsdError as error:
        say(f"lcsd estimate: error: {error.message}")
        sys.exit(error.exit_code)
    dangers = risks(found, question, settings)
    if as_json:
        click.echo(json.dumps({**asdict(found), "risks": dangers}, sort_keys=True))
        return
    for line in lines(found, question, measures):
        click.echo(line)
    for danger in dangers:
        click.echo(f"risk: {danger}")
