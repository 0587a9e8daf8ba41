"""``lcsd verify``: what differs from the checksums of a release or a build."""

from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.options import FILE
from lcsd.errors import printable
from lcsd.numerics.device import progress_bar


@click.command(epilog="Example: lcsd verify results/release")
@click.argument("folder", metavar="DIR", type=FILE)
@click.option(
    "--manifest",
    type=FILE,
    help="Manifest of a build; each of its cases must have the files of every stage.  [default: the one of the build]",
)
@tool("verify")
def command(*, folder: Path, manifest: Path | None) -> Shown:
    """Compare every file of DIR with the checksums that were written with it.

    DIR is a release (with its SHA256SUMS) or the results of a build (with a provenance file next to
    each file of its cases, cohort and report). Prints one line per difference: changed, missing,
    extra, or outdated (made from a file that has changed since). Exit code 1 if there is any.
    """
    from lcsd.build.recorded import recorded_manifest
    from lcsd.monitor.verify import bytes_to_check, verify

    manifest = manifest or recorded_manifest(folder)
    with progress_bar(label="verify", total=bytes_to_check(folder), unit="B") as bar:
        result = verify(folder, manifest=manifest, progress=bar.update)
    found = result.differences
    lines = [printable(f"{difference.kind}: {difference.file}: {difference.why}") for difference in found]
    lines.append(f"{result.what}: {result.files} files, {result.size_bytes / 1e6:.1f} MB, {len(found)} differences")
    record = {
        "what": result.what,
        "folder": str(folder),
        "files": result.files,
        "size_bytes": result.size_bytes,
        "differences": [vars(difference) for difference in found],
    }
    return Shown("\n".join(lines), record, exit_code=int(bool(found)))
