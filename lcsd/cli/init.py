"""``lcsd init``: files to start a build from."""

import shlex
from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.config import commented_yaml
from lcsd.cli.options import FILE


@click.command(epilog="Example: lcsd init my-dataset")
@click.argument("folder", type=FILE)
@tool("init")
def command(folder: Path) -> Shown:
    """Write my.yaml and pairs.tsv into FOLDER: every setting with its description, and one example row.

    Existing files are never overwritten. Name your scans in pairs.tsv, then call lcsd run --config
    my.yaml in FOLDER.
    """
    from lcsd.build.init import start

    configuration, manifest = start(folder, commented_yaml())
    text = (
        f"{manifest}: name your scans here; paths are relative to this file\n"
        f"{configuration}: settings, all as by default\n"
        f"Then: cd {shlex.quote(str(folder))} && lcsd run --config {configuration.name}"
    )
    return Shown(text, {"config": str(configuration), "manifest": str(manifest)})
