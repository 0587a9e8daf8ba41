"""``lcsd report``: page, tables and figures of a build."""

from pathlib import Path

import click

from lcsd.build.provenance import Recorder
from lcsd.cli.common import Shown, set_threads, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, THREADS, settings_options
from lcsd.config import read_sections
from lcsd.io.files import written_files
from lcsd.numerics.device import progress_bar
from lcsd.settings.report import DEFAULT_VIEWS, ReportSettings


@click.command(epilog="Example: lcsd report results --manifest pairs.tsv")
@click.argument("results", type=FILE)
@click.option("--manifest", type=FILE, help="Pairs manifest with the expected cases.  [default: the one of the build]")
@click.option(
    "--views",
    type=click.IntRange(0),
    default=DEFAULT_VIEWS,
    show_default=True,
    help="Largest number of cases with pictures on the overview.",
)
@click.option(
    "--pages",
    type=click.IntRange(0),
    help="Largest number of new pages of cases; short for --set pages=N. 0 keeps the pages that are up to date.  "
    "[default: the setting pages]",
)
@settings_options("report")
@THREADS
@tool("report")
def command(
    *,
    results: Path,
    manifest: Path | None,
    views: int,
    pages: int | None,
    config_file: Path | None,
    documents: tuple[str, ...],
    assignments: tuple[str, ...],
    threads: int,
) -> Shown:
    """Write RESULTS/report/ from whatever the build holds: index.html, tables, figures, cases/.

    A page of a case is rebuilt only if its files or the settings have changed. Rejected and
    unfinished cases are listed with the reason. A broken file is named and left out.
    """
    # Pages are drawn in processes of one thread each.
    set_threads(1)
    from lcsd.build.recorded import recorded_manifest
    from lcsd.report.report import PAGES_NAME, write_report

    if pages is not None:
        assignments = (*assignments, f"pages={pages}")
    manifest = manifest or recorded_manifest(results)
    with written_files() as written:
        settings, _ = read_sections("report", ReportSettings, {}, config_file, assignments, documents=documents)
        recorded = {**settings.model_dump(mode="json"), "views": views, "threads": threads}
        recorder = Recorder("report", recorded, written=written)
        summary = write_report(
            results,
            manifest=manifest,
            views=views,
            settings=settings,
            workers=threads,
            progress=lambda cases: progress_bar(cases, label="report: cases", unit="case"),
        )
        # Pages that were up to date are part of the report, too.
        written.extend(sorted((summary.page.parent / PAGES_NAME).glob("*.html")))
        inputs = {"manifest": manifest} if manifest is not None and manifest.exists() else {}
        recorder.write(summary.page, inputs=inputs)
    for problem in summary.problems:
        say(f"lcsd report: warning: {problem}")
    if summary.gates:
        say(f"lcsd report: warning: {summary.gates}")
    record = {
        "page": str(summary.page),
        "done": summary.done,
        "waiting": summary.waiting,
        "borderline": summary.borderline,
        "discarded": summary.discarded,
        "rejected": summary.rejected,
        "broken": summary.broken,
        "problems": len(summary.problems),
    }
    return Shown(f"{summary.line()}\n{summary.page}", record)
