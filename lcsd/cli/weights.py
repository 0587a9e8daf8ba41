"""``lcsd weights``: the weights of TotalSegmentator on this machine."""

from pathlib import Path

import click

from lcsd.cli.common import Shown, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE
from lcsd.errors import WorkError


@click.group(epilog="Example: lcsd weights check ~/weights --record")
def command() -> None:
    """List and check the weights of TotalSegmentator; nothing is downloaded.

    Recorded hashes are in ~/.config/lcsd/weights.json, or in XDG_CONFIG_HOME/lcsd/weights.json if
    that variable is set; the setting hashes names another file.
    """


@command.command("list", epilog="Example: lcsd weights list")
@tool("weights")
def list_models() -> Shown:
    """List the models that each use of TotalSegmentator loads, and the commands that download them."""
    from lcsd.totalsegmentator.models import TASKS

    uses = {
        f"{name}{', robust_crop' if robust else ''}": task.models(robust_crop=robust)
        for name, task in TASKS.items()
        for robust in ([False] if task.robust or name == "lobes_fastest" else [False, True])
    }
    lines = [
        line
        for use, models in uses.items()
        for line in (use, *(part for m in models for part in (f"  {m.path.as_posix()}", f"    {m.command}")))
    ]
    record = {
        use: [{"folder": m.path.as_posix(), "command": m.command} for m in models] for use, models in uses.items()
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
    from lcsd.totalsegmentator.models import MODELS
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
            lines += [f"{model.folder}: absent", f"  {model.command}"]
            continue
        lines.append(f"{model.folder}: present")
        lines += [f"  {hashes[name.as_posix()]}  {name.relative_to(model.path)}" for name in model.files]
    absent = {m.folder: "absent" for m in MODELS if m not in present}
    where = {"folder": str(place), "record": str(record_file or default_record())}
    return Shown("\n".join(lines), where | absent | hashes)
