"""``lcsd models``: list and show models of networks."""

import json
from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.options import FILE
from lcsd.settings.train import NETWORKS


@click.group(epilog="Example: lcsd models show unet")
def command() -> None:
    """List and show models of networks (docs/networks.md)."""


@command.command("list", epilog="Example: lcsd models list")
@tool("models")
def list_models() -> Shown:
    """List the models that ship with lcsd."""
    from lcsd.networks.models import shipped

    known = shipped()
    lines = [f"{name:<9} {entry['sha256']}  {entry['summary']}" for name, entry in known.items()]
    return Shown("\n".join(lines), known)


@command.command("show", epilog="Example: lcsd models show training/model.safetensors")
@click.argument("model", type=FILE)
@tool("models")
def show(model: Path) -> Shown:
    """Check MODEL, the name of one that ships or a file, and show how it was trained."""
    from lcsd.networks.models import model_of, read_model

    named = [name for name in NETWORKS if name == str(model)]
    found = model_of(named[0]) if named else read_model(model)
    weights = sum(part.numel() for part in found.network.parameters())
    record = {
        "network": found.name,
        "sha256": found.sha256,
        "weights": weights,
        "settings": found.settings.model_dump(mode="json"),
        **found.facts,
    }
    return Shown(json.dumps(record, indent=2, sort_keys=True), record)
