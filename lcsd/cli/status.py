"""``lcsd status``: how far a build is."""

import contextlib
import datetime
import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import FILE, say
from lcsd.cli.failures import failures_named
from lcsd.errors import BadInputError, LcsdError

if TYPE_CHECKING:
    from lcsd.monitor.status import Status

WATCH_SECONDS = 5
"""Between two looks; a look at 5,000 cases takes about one of them after the first."""

START_S = 120.0
"""A build with work left may be about to begin: Snakemake locks nothing while it plans."""


@click.command(epilog="Example: lcsd status --config my.yaml --watch")
@click.argument("results", type=FILE, required=False)
@click.option(
    "--config",
    "config_file",
    type=FILE,
    help="Configuration of the build: which cases are to be done.  [default: those that are there]",
)
@click.option("--manifest", type=FILE, help="Pairs manifest, instead of the configuration's.")
@click.option(
    "--directory", type=FILE, help="Folder in which snakemake was called.  [default: found here or above RESULTS]"
)
@click.option("--watch", is_flag=True, help="Look again and again, until the build has ended.")
@click.option(
    "--interval",
    type=click.IntRange(1, 3600),
    default=WATCH_SECONDS,
    show_default=True,
    help="With --watch: seconds between two looks.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
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
    """Say how far the build RESULTS is, also while it runs: it is only read, and not locked.

    Jobs of every stage by state, pace, time left, slowest cases, last errors. RESULTS is the
    configuration's by default. With --watch on a terminal the screen is drawn again; elsewhere each
    look is one line.
    """
    from lcsd.build.plan import Build
    from lcsd.monitor.speed import Records
    from lcsd.monitor.status import status

    records = Records()
    try:
        with failures_named():
            build = None
            if config_file is not None or manifest is not None:
                build = Build.from_file(config_file, manifest=manifest, results=results)
            elif results is None:
                raise BadInputError(
                    "no build is named",
                    code="missing_option",
                    field="RESULTS",
                    expected="the folder of a build, or --config",
                )
            folder = Path(build.results) if build is not None else results
            assert folder is not None  # noqa: S101 - one of the two is there
            seen: set[str] = set()
            start = time.monotonic()
            while True:
                with _no_collector():
                    found = status(folder, build, directory=directory, records=records)
                _show(found, as_json=as_json, watch=watch)
                if not watch or _over(found, seen, time.monotonic() - start):
                    break
                seen.add(found.state)
                time.sleep(interval)
    except LcsdError as error:
        say(f"lcsd status: error: {error.message}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        # How a user ends a watch.
        say("")


def _over(found: "Status", seen: set[str], waited_s: float) -> bool:
    """Return whether a watch has seen the end; after a failure much is left all the same.

    ``seen`` are the states of the build so far, ``waited_s`` the seconds since the first look.
    """
    if found.state == "idle":
        return found.ended or not seen.isdisjoint({"running", "locked"}) or waited_s > START_S
    # The Snakemake that ran on this machine was killed.
    return found.ended or (found.state == "locked" and "running" in seen)


@contextlib.contextmanager
def _no_collector() -> Iterator[None]:
    """Switch the collector of cycles off: it would walk what lives on, for a fifth of the time."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _show(found: "Status", *, as_json: bool, watch: bool) -> None:
    from lcsd.monitor.status import line, text

    if as_json:
        click.echo(json.dumps(found.to_dict(), sort_keys=True))
    elif not watch:
        click.echo(text(found))
    elif sys.stdout.isatty():
        click.clear()
        click.echo(text(found))
    else:
        now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        click.echo(f"{now}  {line(found)}")
