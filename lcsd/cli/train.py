"""``lcsd train``: train a network that guesses the motion between two clouds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice, setting
from lcsd.settings.train import NetworkName, Preset, TrainSettings, with_preset

if TYPE_CHECKING:
    from lcsd.networks.cases import Cases


def _source(pairs: str) -> "str | Cases":
    """Return phantoms by their text, or the training cases of a folder."""
    from lcsd.data import LCSDataset

    folder = Path(pairs)
    return LCSDataset(folder, "train", cloud="dense") if folder.is_dir() else pairs


@click.command(epilog="Example: lcsd train --network unet --pairs phantom:0-199 --minutes 60 --out-dir training")
@choice("--network", NetworkName, "The network.", default="unet")
@click.option(
    "--pairs",
    default="phantom:0-199",
    show_default=True,
    help="What to train on: phantom:FIRST-LAST, or the folder of a release or a build (--loss divroc).",
)
@click.option(
    "--teacher",
    metavar="FILE",
    help="Self-training from this model; 'shipped' is the one of the package. No truth of the pairs is used.",
)
@choice("--preset", Preset, "Sizes: compact, or as published (for a GPU; other settings win).", default="compact")
@setting("--loss", TrainSettings, "What is made small.")
@click.option("--steps", type=click.IntRange(1), help="Steps of training, one pair each.  [default: the setting steps]")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="Pause after this time; see --resume.")
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@click.option("--resume", is_flag=True, help="Continue from the checkpoint in the folder.")
@stage(
    "train",
    TrainSettings,
    seeded=True,
    on_device=True,
    shortcuts={"loss": "loss={}", "steps": "steps={}", "minutes": "minutes={}"},
)
def command(
    run: Run[TrainSettings],
    *,
    network: NetworkName,
    preset: Preset,
    pairs: str,
    teacher: str | None,
    out_dir: Path,
    resume: bool,
) -> None:
    """Train a network on phantom vessels under random motion, or on clouds without truth.

    Writes model.safetensors (the best on held-out pairs; for lcsd register --model),
    checkpoint.safetensors, curve.csv and curve.png (docs/networks.md). A run that was stopped and
    resumed gives the same bits as one that was not, on the CPU.
    """
    from lcsd.config import validate
    from lcsd.networks.models import model_of
    from lcsd.networks.train import MODEL, train

    settings = validate(TrainSettings, with_preset(run.settings, preset), where="train")
    progress = train(
        network,
        settings,
        pairs=_source(pairs),
        out_dir=out_dir,
        seed=run.seed,
        device=run.device,
        resume=resume,
        teacher=model_of(network, None if teacher == "shipped" else Path(teacher)) if teacher else None,
    )
    last = progress.rows[-1]
    run.recorder.fact(
        "training", {"network": network, "preset": preset, "pairs": pairs, "seconds": round(progress.seconds, 1)}
    )
    figures = {
        "steps": progress.step,
        "validation_mm": last["validation_mm"],
        "best_mm": progress.best_mm,
        "before_mm": last["validation_before_mm"],
    }
    tables = {f"motions_{number}": Path(path) for number, path in enumerate(run.settings.motions)}
    run.done(out_dir / MODEL, inputs=tables, result=figures)
