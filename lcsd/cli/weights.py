"""``lcsd weights``: the weights of TotalSegmentator on this machine."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE
from lcsd.errors import BadInputError, WorkError

if TYPE_CHECKING:
    from lcsd.totalsegmentator.download import Offer

USES = ("lung_vessels_LEGACY", "lung_vessels", "lobes_fast", "lobes_fastest")
"""Names in lcsd.totalsegmentator.TASKS, written out because help must load nothing."""


@click.group(epilog="Example: lcsd weights check ~/weights --record")
def command() -> None:
    """Show, fetch and check the weights of TotalSegmentator.

    Only fetch downloads, after it has said what, and never in a job of a build. Recorded hashes are
    in ~/.config/lcsd/weights.json, or in XDG_CONFIG_HOME/lcsd/weights.json if that variable is set;
    the setting hashes names another file.
    """


@command.command("list", epilog="Example: lcsd weights list")
@tool("weights")
def list_models() -> Shown:
    """List the models that each use of TotalSegmentator loads, and the commands that download them."""
    from lcsd.totalsegmentator.models import TASKS, fetch_command

    uses = {
        f"{name}{', robust_crop' if robust else ''}": task.models(robust_crop=robust)
        for name, task in TASKS.items()
        for robust in ([False] if task.robust or name == "lobes_fastest" else [False, True])
    }
    lines = [
        line
        for use, models in uses.items()
        for line in (use, *(f"  {m.path.as_posix()}" for m in models), f"    {fetch_command(models)}")
    ]
    record = {
        use: [{"folder": m.path.as_posix(), "command": fetch_command([m])} for m in models]
        for use, models in uses.items()
    }
    return Shown("\n".join(lines), record)


@command.command("check", epilog="Example: lcsd weights check ~/weights --record")
@click.argument("folder", type=FILE, required=False)
@click.option("--record", is_flag=True, help="Record the SHA-256 of the files.")
@click.option("--file", "record_file", type=FILE, help="Record to write or to compare with.  [default: the user's]")
@tool("weights")
def check(folder: Path | None, *, record: bool, record_file: Path | None) -> Shown:
    """Check which models FOLDER holds, whether they are complete, and their SHA-256.

    FOLDER is TOTALSEG_WEIGHTS_PATH by default, or else TotalSegmentator's folder in the home
    folder. Once hashes are recorded, every run compares them and refuses other files.
    """
    from lcsd.totalsegmentator.hashes import check_hashes, default_record, record_hashes
    from lcsd.totalsegmentator.models import MODELS, fetch_command
    from lcsd.totalsegmentator.weights import check_weights, weights_folder

    place = weights_folder(folder)
    present = [m for m in MODELS if (place / m.folder).exists()]
    if not present:
        raise WorkError(
            "the folder holds no model that lcsd uses",
            code="weights_missing",
            file=place,
            expected=", ".join(m.folder for m in MODELS),
            remedy="run lcsd weights list for the commands that download them",
        )
    check_weights(place, present)
    if record:
        say(f"lcsd weights: recorded in {record_hashes(place, present, record_file)}")
    hashes = check_hashes(place, present, record_file)
    lines = []
    for model in MODELS:
        if model not in present:
            lines += [f"{model.folder}: absent", f"  {fetch_command([model], place)}"]
            continue
        lines.append(f"{model.folder}: present")
        lines += [f"  {hashes[name.as_posix()]}  {name.relative_to(model.path)}" for name in model.files]
    absent = {m.folder: "absent" for m in MODELS if m not in present}
    where = {"folder": str(place), "record": str(record_file or default_record())}
    return Shown("\n".join(lines), where | absent | hashes)


def offered(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what show and fetch have in common: uses, crop, mirror."""
    for option in (
        click.option(
            "--mirror",
            metavar="URL",
            help="Server with a copy of TotalSegmentator's releases: URL/v2.0.0-weights/Dataset....zip.",
        ),
        click.option("--robust-crop", is_flag=True, help="As the setting robust_crop: crop by the 3 mm model."),
        click.argument("uses", metavar="USE...", type=click.Choice(USES), nargs=-1, required=True),
    ):
        function = option(function)
    return function


def offers_of(uses: tuple[str, ...], *, robust_crop: bool, mirror: str | None, without: Path | None) -> "list[Offer]":
    """Return what the server has for these uses; without the models that a folder holds completely."""
    from lcsd.totalsegmentator.download import offer
    from lcsd.totalsegmentator.models import TASKS
    from lcsd.totalsegmentator.weights import check_weights

    models = dict.fromkeys(model for use in uses for model in TASKS[use].models(robust_crop=robust_crop))
    wanted = []
    for model in models:
        try:
            if without is not None:
                check_weights(without, [model])
                say(f"lcsd weights: {without / model.folder} is complete")
                continue
        except WorkError:
            pass
        wanted.append(offer(model, mirror))
    return wanted


@command.command("show", epilog="Example: lcsd weights show lung_vessels_LEGACY")
@offered
@tool("weights")
def show(uses: tuple[str, ...], *, robust_crop: bool, mirror: str | None) -> Shown:
    """Show source, size, licence and published SHA-256 of the weights that a USE needs.

    USE is lung_vessels_LEGACY or lung_vessels (vessels), lobes_fast or lobes_fastest (lungs). The server is asked;
    nothing is downloaded.
    """
    offers = offers_of(uses, robust_crop=robust_crop, mirror=mirror, without=None)
    return Shown("\n".join(offer.text for offer in offers), [offer.record for offer in offers])


@command.command("fetch", epilog="Example: lcsd weights fetch lung_vessels_LEGACY --folder ~/weights")
@offered
@click.option("--folder", type=FILE, help="Folder of the weights.  [default: the one that lcsd weights check takes]")
@click.option("--yes", is_flag=True, help="Download without asking.")
@tool("weights")
def fetch(uses: tuple[str, ...], *, robust_crop: bool, mirror: str | None, folder: Path | None, yes: bool) -> Shown:
    """Show what the weights of a USE are, ask, then download and verify those that are missing.

    Size and published SHA-256 are compared. Where none is published, the SHA-256 found is recorded, and later
    downloads and runs are compared with it.
    """
    from lcsd.numerics.device import progress_bar
    from lcsd.totalsegmentator.download import fetch, refuse_in_a_job
    from lcsd.totalsegmentator.weights import weights_folder

    refuse_in_a_job()
    place = weights_folder(folder)
    offers = offers_of(uses, robust_crop=robust_crop, mirror=mirror, without=place)
    if not offers:
        return Shown("nothing is missing", {"folder": str(place), "fetched": []})
    size = sum(offer.size for offer in offers)
    say("\n".join([*(offer.text for offer in offers), f"{size / 1e6:.1f} MB to {place}"]))
    if not (yes or sys.stdin.isatty()):
        raise BadInputError(
            "nothing was downloaded: nobody can be asked", code="bad_usage", remedy="repeat the command with --yes"
        )
    if not (yes or click.confirm("Download?", err=True)):
        return Shown("nothing was downloaded", {"folder": str(place), "fetched": []})
    with progress_bar((), label="weights", total=size, unit="B") as bar:
        record = fetch(offers, place, progress=bar.update)
    fetched = {"folder": str(place), "record": str(record), "fetched": [offer.model.folder for offer in offers]}
    return Shown(f"fetched to {place}; SHA-256 recorded in {record}", fetched)
