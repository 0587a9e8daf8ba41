"""``lcsd report``: page, tables and figures of a build."""

import functools
import os
import sys
from pathlib import Path

import click
from tqdm import tqdm

from lcsd.cli.common import (
    FILE,
    PLAIN_PROGRESS_SECONDS,
    failures_named,
    print_result,
    say,
    set_threads,
)
from lcsd.errors import LcsdError
from lcsd.report.style import DEFAULT_VIEWS


@click.command(epilog="Example: lcsd report results --manifest pairs.tsv")
@click.argument("results", type=FILE)
@click.option(
    "--manifest", type=FILE, help="Pairs manifest: which cases are expected.  [default: all found]"
)
@click.option(
    "--views", type=click.IntRange(0), default=DEFAULT_VIEWS, show_default=True,
    help="Largest number of cases with pictures on the page.",
)  # fmt: skip
@click.option(
    "--threads", type=click.IntRange(1), default=os.cpu_count() or 1, show_default="all cores",
    help="CPU threads to use.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(
    *, results: Path, manifest: Path | None, views: int, threads: int, as_json: bool
) -> None:
    """Write RESULTS/report/ over whatever the build holds: index.html, tables, figures.

    Failed and unfinished cases are listed with the reason; a broken file is named and left out.
    """
    set_threads(threads)
    from lcsd.report.build import write_report  # noqa: PLC0415

    terminal = sys.stderr.isatty()
    progress = functools.partial(
        tqdm, desc="report: pictures", unit="case", ascii=not terminal,
        mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
    )  # fmt: skip
    try:
        with failures_named():
            summary = write_report(results, manifest=manifest, views=views, progress=progress)
    except LcsdError as error:
        say(f"lcsd report: error: {error.message}")
        sys.exit(error.exit_code)
    for problem in summary.problems:
        say(f"lcsd report: warning: {problem}")
    if as_json:
        print_result(
            {
                "page": str(summary.page), "done": summary.done, "waiting": summary.waiting,
                "discarded": summary.discarded, "quarantined": summary.quarantined,
                "problems": len(summary.problems),
            },
            as_json=True,
        )  # fmt: skip
    else:
        click.echo(summary.line())
        click.echo(str(summary.page))
