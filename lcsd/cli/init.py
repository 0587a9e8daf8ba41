"""``lcsd init``: files to start a build from."""

import shlex
from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.config import commented_yaml
from lcsd.cli.options import FILE


@click.command(epilog="Example: lcsd init my-dataset --pair baseline.nii.gz followup.nii.gz")
@click.argument("folder", type=FILE)
@click.option(
    "--pair",
    "scans",
    type=FILE,
    nargs=2,
    multiple=True,
    metavar="BASELINE FOLLOWUP",
    help="Scans of a patient for the manifest: two volume files or DICOM folders. Repeatable, once for each patient.",
)
@tool("init")
def command(folder: Path, *, scans: tuple[tuple[Path, Path], ...]) -> Shown:
    """Write my.yaml and pairs.tsv into FOLDER: every setting with its description, and a row for each pair.

    Without --pair, pairs.tsv has one example row; name your scans there. Existing files are never
    overwritten. Then call lcsd run --config my.yaml in FOLDER.
    """
    from lcsd.build.init import start

    configuration, manifest = start(folder, commented_yaml(), scans)
    content = f"{len(scans)} of your pairs" if scans else "name your scans here"
    text = (
        f"{manifest}: {content}; paths are relative to this file\n"
        f"{configuration}: settings, all as by default\n"
        f"Then: cd {shlex.quote(str(folder))} && lcsd run --config {configuration.name}"
    )
    return Shown(text, {"config": str(configuration), "manifest": str(manifest)})
