"""``lcsd weights``: the weights of TotalSegmentator on this machine."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from lcsd.cli.common import FILE, print_result, say
from lcsd.cli.failures import failures_named
from lcsd.errors import LcsdError, WorkError


@click.group(epilog="Example: lcsd weights check ~/weights --record")
def command() -> None:
    """List and check the weights of TotalSegmentator; nothing is downloaded.

    Recorded hashes stand in ~/.config/lcsd/weights.json (XDG_CONFIG_HOME/lcsd/weights.json where
    that variable is set); the setting hashes names another file.
    """


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """End with one line and the error's exit code."""
    try:
        with failures_named():
            yield
    except LcsdError as error:
        say(f"lcsd weights: error: {error.message}")
        sys.exit(error.exit_code)


@command.command("list", epilog="Example: lcsd weights list")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def list_models(*, as_json: bool) -> None:
    """List which models each use of TotalSegmentator loads, and the commands that get them."""
    from lcsd.totalsegmentator.models import TASKS

    uses = {
        f"{name}{', robust_crop' if robust else ''}": task.models(robust_crop=robust)
        for name, task in TASKS.items()
        for robust in ([False] if task.robust or name == "lobes_fastest" else [False, True])
    }
    result: dict[str, object] = {
        use: [{"folder": m.path.as_posix(), "command": m.command} for m in models] for use, models in uses.items()
    }
    if as_json:
        print_result(result, as_json=True)
        return
    for use, models in uses.items():
        click.echo(use)
        for model in models:
            click.echo(f"  {model.path.as_posix()}")
            click.echo(f"    {model.command}")


@command.command("check", epilog="Example: lcsd weights check ~/weights --record")
@click.argument("folder", type=FILE, required=False)
@click.option("--record", is_flag=True, help="Store the SHA-256 of what is there.")
@click.option(
    "--file", "record_file", type=FILE, default=None, help="Record to write or to compare with; default: the user's."
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def check(folder: Path | None, *, record: bool, record_file: Path | None, as_json: bool) -> None:
    """Check which models FOLDER holds, whether they are whole, and their SHA-256.

    Without FOLDER: TOTALSEG_WEIGHTS_PATH, else TotalSegmentator's folder in the home. Once hashes
    are recorded, every run compares them and refuses other files.
    """
    from lcsd.totalsegmentator.hashes import check_hashes, default_record, record_hashes
    from lcsd.totalsegmentator.models import MODELS
    from lcsd.totalsegmentator.weights import check_weights, weights_folder

    with _one_line():
        place = weights_folder(folder)
        present = [m for m in MODELS if (place / m.folder).exists()]
        if not present:
            raise WorkError(
                "no model that lcsd uses is here",
                code="weights_missing",
                file=place,
                expected=", ".join(m.folder for m in MODELS),
                remedy="see lcsd weights list for the commands that get them",
            )
        check_weights(place, present)
        if record:
            written = record_hashes(place, present, record_file)
            say(f"lcsd weights: recorded in {written}")
        named = record_file or default_record()
        hashes = check_hashes(place, present, record_file)
    result: dict[str, object] = {m.folder: "absent" for m in MODELS if m not in present}
    result |= hashes
    if as_json:
        print_result({"folder": str(place), "record": str(named), **result}, as_json=True)
        return
    for model in MODELS:
        click.echo(f"{model.folder}: {'present' if model in present else 'absent'}")
        for name in model.files if model in present else ():
            click.echo(f"  {hashes[name.as_posix()]}  {name.relative_to(model.path)}")
        if model not in present:
            click.echo(f"  {model.command}")
