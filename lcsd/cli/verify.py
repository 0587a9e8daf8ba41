"""``lcsd verify``: what differs from the checksums of a release or a build."""

import json
import sys
from pathlib import Path

import click
from tqdm import tqdm

from lcsd.cli.common import FILE, PLAIN_PROGRESS_SECONDS, say
from lcsd.cli.failures import failures_named
from lcsd.errors import LcsdError, printable


@click.command(epilog="Example: lcsd verify results/release")
@click.argument("folder", metavar="DIR", type=FILE)
@click.option("--manifest", type=FILE, help="Of a build: its cases, each of which must have the files of every stage.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def command(*, folder: Path, manifest: Path | None, as_json: bool) -> None:
    """Compare every file of DIR with the checksums that were written with it.

    DIR is a release (its SHA256SUMS) or the results of a build (the provenance beside each file of
    its cases, cohort and report). Prints a line per difference: changed, missing, extra, or
    outdated (made from a file that has changed since). Exit code 1 if there is any.
    """
    from lcsd.monitor.verify import bytes_to_check, verify

    terminal = sys.stderr.isatty()
    try:
        with (
            failures_named(),
            tqdm(
                desc="verify",
                total=bytes_to_check(folder),
                unit="B",
                unit_scale=True,
                ascii=not terminal,
                mininterval=0.1 if terminal else PLAIN_PROGRESS_SECONDS,
            ) as bar,
        ):
            result = verify(folder, manifest=manifest, progress=bar.update)
    except LcsdError as error:
        say(f"lcsd verify: error: {error.message}")
        sys.exit(error.exit_code)
    if as_json:
        record = {
            "what": result.what,
            "folder": str(folder),
            "files": result.files,
            "size_bytes": result.size_bytes,
            "differences": [vars(difference) for difference in result.differences],
        }
        click.echo(json.dumps(record, sort_keys=True))
    else:
        for difference in result.differences:
            click.echo(printable(f"{difference.kind}: {difference.file}: {difference.why}"))
        click.echo(
            f"{result.what}: {result.files} files, {result.size_bytes / 1e6:.1f} MB, "
            f"{len(result.differences)} differences"
        )
    if result.differences:
        sys.exit(1)
