"""``lcsd fetch``: verified download of series from the Imaging Data Commons."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from lcsd.cli.common import Run, stage
from lcsd.cli.failures import say
from lcsd.cli.options import FILE
from lcsd.errors import BadInputError, WorkError
from lcsd.settings.fetch import FetchSettings

if TYPE_CHECKING:
    from lcsd.fetch.fetch import Fetched

PROVENANCE_OF = "fetch"


@click.command(epilog="Example: lcsd fetch --list results/cohort/candidates.tsv --sampled --out-dir series")
@click.argument("uids", nargs=-1, metavar="[UID]...")
@click.option(
    "--list",
    "lists",
    multiple=True,
    type=FILE,
    help="File that names series: a TCIA manifest (.tcia), a table of lcsd cohort, a pairs manifest (.tsv, .csv), or a "
    "text with one UID per line. Repeatable.",
)
@click.option("--sampled", is_flag=True, help="Fetch only the sampled rows of candidates.tsv.")
@click.option("--out-dir", type=FILE, required=True, help="Folder of the series.")
@click.option("--verify", is_flag=True, help="Hash complete series again, and fetch damaged files again.")
@stage("fetch", FetchSettings)
def command(
    run: Run[FetchSettings],
    uids: tuple[str, ...],
    lists: tuple[Path, ...],
    out_dir: Path,
    *,
    sampled: bool,
    verify: bool,
) -> None:
    """Download DICOM series by SeriesInstanceUID and check them against the index.

    The output folder gets a folder UID and a list of hashes UID.sha256 for each series. Complete
    series are skipped. The same command resumes an interrupted download.
    """
    from lcsd.fetch.fetch import fetch_series
    from lcsd.fetch.lists import collect
    from lcsd.fetch.store import locked

    wanted = collect(uids, lists, sampled=sampled)
    if not wanted:
        raise BadInputError(
            "no series is named",
            code="missing_option",
            field="UID, --list",
            expected="a SeriesInstanceUID",
            remedy="pass one, or a list of them",
        )
    outcomes = fetch_series(
        wanted,
        out_dir,
        run.settings,
        verify=verify,
        progress=lambda total: run.progress(label="download", total=total, unit="B"),
        # Lines go above the bar, not into it.
        say=lambda line: tqdm.write(f"lcsd fetch: {line}", file=sys.stderr),
    )
    result: dict[str, object] = {"output": str(out_dir)} | {
        state: sum(done.state == state for done in outcomes) for state in ("fetched", "present", "failed")
    }
    result["fetched_mb"] = round(sum(done.size_bytes for done in outcomes) / 1e6, 1)
    # Two downloads into one folder may end at the same time.
    with locked(out_dir / f".{PROVENANCE_OF}.lock", wait=time.sleep, waiting=lambda: None):
        run.done(out_dir / PROVENANCE_OF, inputs={f"list_{n}": p for n, p in enumerate(lists)}, result=result)
    _fail([done for done in outcomes if done.state == "failed"], len(outcomes))


def _fail(failed: "list[Fetched]", total: int) -> None:
    """Report why each series failed and raise one error; a failure of the work outranks bad input."""
    errors = [done.error for done in failed if done.error is not None]
    if not errors:
        return
    if total == 1:
        raise errors[0]
    for done in failed:
        say(f"lcsd fetch: series {done.uid}: {done.error}")
    worst = WorkError if any(isinstance(error, WorkError) for error in errors) else BadInputError
    raise worst(
        "not all series could be fetched",
        code="series_failed",
        expected=f"{total} series",
        found=f"{len(failed)} failed, the first {failed[0].uid}",
        remedy="see the lines above; run the same command again to resume",
    )
