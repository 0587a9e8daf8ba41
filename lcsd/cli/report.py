"""``lcsd report``: page, tables and figures of a build."""

import functools
import os
import sys
from pathlib import Path

import click
from tqdm import tqdm

from lcsd.build.provenance import Recorder
from lcsd.cli.common import FILE, PLAIN_PROGRESS_SECONDS, print_result, say, set_threads
from lcsd.cli.failures import failures_named
from lcsd.config import read_sections
from lcsd.errors import LcsdError
from lcsd.io.files import written_files
from lcsd.settings.report import DEFAULT_VIEWS, ReportSettings


@click.command(epilog="Example: lcsd report results --manifest pairs.tsv")
@click.argument("results", type=FILE)
@click.option("--manifest", type=FILE, help="Pairs manifest: which cases are expected.  [default: all found]")
@click.option(
    "--views",
    type=click.IntRange(0),
    default=DEFAULT_VIEWS,
    show_default=True,
    help="Largest number of pictures of cases on the overview.",
)
@click.option(
    "--pages",
    type=click.IntRange(0),
    help="Largest number of new pages of cases; the same as "
    "--set pages=N. 0 keeps those that are up to date.  [default: the setting, 60]",
)
@click.option("--config", "config_file", type=FILE, help="Configuration file; this command reads its section report.")
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Override one setting of the section report; the value is YAML. Repeatable.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="CPU threads to use.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(
    *,
    results: Path,
    manifest: Path | None,
    views: int,
    pages: int | None,
    config_file: Path | None,
    assignments: tuple[str, ...],
    threads: int,
    as_json: bool,
) -> None:
    """Write RESULTS/report/ over whatever the build holds: index.html, tables, figures, cases/.

    A page of a case is made again only if its files or the settings have changed. Failed and
    unfinished cases are listed with the reason; a broken file is named and left out.
    """
    set_threads(threads)
    from lcsd.report.report import PAGES_NAME, write_report

    terminal = sys.stderr.isatty()
    progress = functools.partial(
        tqdm,
        desc="report: cases",
        unit="case",
        ascii=not terminal,
        mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
    )
    if pages is not None:
        assignments = (*assignments, f"pages={pages}")
    try:
        with failures_named(), written_files() as written:
            settings, _ = read_sections("report", ReportSettings, {}, config_file, assignments)
            recorded = {**settings.model_dump(mode="json"), "views": views, "threads": threads}
            recorder = Recorder("report", recorded, written=written)
            summary = write_report(results, manifest=manifest, views=views, settings=settings, progress=progress)
            # Pages that were up to date are part of the report, too.
            written.extend(sorted((summary.page.parent / PAGES_NAME).glob("*.html")))
            inputs = {"manifest": manifest} if manifest is not None and manifest.exists() else {}
            recorder.write(summary.page, inputs=inputs)
    except LcsdError as error:
        say(f"lcsd report: error: {error.message}")
        sys.exit(error.exit_code)
    for problem in summary.problems:
        say(f"lcsd report: warning: {problem}")
    if as_json:
        print_result(
            {
                "page": str(summary.page),
                "done": summary.done,
                "waiting": summary.waiting,
                "discarded": summary.discarded,
                "rejected": summary.rejected,
                "broken": summary.broken,
                "problems": len(summary.problems),
            },
            as_json=True,
        )
    else:
        click.echo(summary.line())
        click.echo(str(summary.page))
