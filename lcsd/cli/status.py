"""``lcsd status``: progress of a build."""

import contextlib
import datetime
import gc
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import print_result, tool
from lcsd.cli.failures import say
from lcsd.cli.options import BUILD_CONFIG, BUILD_MANIFEST, DIRECTORY, FILE
from lcsd.errors import BadInputError

if TYPE_CHECKING:
    from lcsd.build.plan import Build
    from lcsd.monitor.status import Status

WATCH_SECONDS = 5
"""Default time between two looks; a look at 5,000 cases takes about one second after the first."""

START_S = 120.0
"""A build with work left may be about to start: Snakemake holds no lock while it plans."""


@click.command(epilog="Example: lcsd status --config my.yaml --watch")
@click.argument("results", type=FILE, required=False)
@BUILD_CONFIG
@BUILD_MANIFEST
@DIRECTORY
@click.option("--watch", is_flag=True, help="Refresh until the build has ended.")
@click.option(
    "--interval",
    type=click.IntRange(1, 3600),
    default=WATCH_SECONDS,
    show_default=True,
    help="With --watch: seconds between two looks.",
)
@tool("status")
def command(
    *,
    results: Path | None,
    config_file: Path | None,
    manifest: Path | None,
    directory: Path | None,
    watch: bool,
    interval: int,
    as_json: bool,
) -> None:
    """Show the progress of the build RESULTS; safe while it runs, since it only reads.

    Shows the jobs of every stage by state, the pace, the time left, the slowest cases and the last
    errors. RESULTS is the folder of the configuration by default. Without a configuration or
    manifest, those of the build's last start are used. With --watch a terminal is redrawn at each look;
    elsewhere each look prints one line.
    """
    from lcsd.monitor.speed import Records
    from lcsd.monitor.status import status

    records = Records()
    seen: set[str] = set()
    start = time.monotonic()
    try:
        build, folder = _named(results, config_file, manifest)
        while True:
            with _no_collector():
                found = status(folder, build, directory=directory, records=records)
            _show(found, as_json=as_json, watch=watch)
            if not watch or _over(found, seen, time.monotonic() - start):
                break
            seen.add(found.state)
            time.sleep(interval)
    except KeyboardInterrupt:  # how a user ends a watch
        say("")


def _named(results: Path | None, config_file: Path | None, manifest: Path | None) -> "tuple[Build | None, Path]":
    """Return the build of a configuration or manifest, if there is one, and the folder of the results."""
    from lcsd.build.plan import Build
    from lcsd.build.recorded import recorded

    if config_file is not None or manifest is not None:
        build = Build.from_file(config_file, manifest=manifest, results=results)
        return build, Path(build.results)
    if results is None:
        raise BadInputError(
            "the build is not named",
            code="missing_option",
            field="RESULTS",
            expected="the folder of a build, or --config",
        )
    try:
        return recorded(results), results
    except BadInputError as error:  # settings of an older version do not matter here
        say(f"lcsd status: warning: {error.message}; the cases are those in the folder")
        return None, results


def _over(found: "Status", seen: set[str], waited_s: float) -> bool:
    """Return whether a watch, ``waited_s`` after its first look, has seen the build end (states ``seen``)."""
    if found.state == "idle":
        return found.ended or not seen.isdisjoint({"running", "locked"}) or waited_s > START_S
    # The Snakemake that ran on this machine was killed.
    return found.ended or (found.state == "locked" and "running" in seen)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Switch off the garbage collector, which would take a fifth of the time and free nothing."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _show(found: "Status", *, as_json: bool, watch: bool) -> None:
    from lcsd.monitor.status import line, text

    if watch and not as_json and not sys.stdout.isatty():
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        click.echo(f"{now}  {line(found)}")
        return
    if watch and not as_json:
        click.clear()
    print_result(found.to_dict(), text(found), as_json=as_json)
