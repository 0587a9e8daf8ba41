"""``lcsd screen``: motion and plausibility of one candidate pair from its lung masks."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.convert import ConvertSettings
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.screen import ScreenSettings


@click.command(epilog="Example: lcsd screen baseline_folder followup_folder --out screening.json")
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--out", type=FILE, required=True, help="Where to write the verdict (.json).")
@click.option("--fixed-mask", type=FILE, help="Lung mask of FIXED to take instead of segmenting.")
@click.option("--moving-mask", type=FILE, help="Lung mask of MOVING to take instead of segmenting.")
@stage("screen", ScreenSettings, also={"convert": ConvertSettings, "lungs": LungsSettings})
def command(
    run: Run[ScreenSettings],
    fixed: Path,
    moving: Path,
    out: Path,
    fixed_mask: Path | None,
    moving_mask: Path | None,
) -> None:
    """Judge the candidate pair FIXED and MOVING (DICOM folders or NIfTI files).

    Segments both lungs, aligns the masks rigidly by the masks alone and writes their Dice
    coefficient, volumes and gates. A low Dice means much motion. A pair that cannot be used is a
    result, too: its verdict is rejected, with the reason, and the exit code is 0. No image is kept.
    """
    from lcsd.files import write_json  # noqa: PLC0415
    from lcsd.screening.judge import screen_pair  # noqa: PLC0415

    record, reason = screen_pair(
        (fixed, moving),
        (fixed_mask, moving_mask),
        settings=run.settings,
        convert=run.sections["convert"],
        lungs=run.sections["lungs"],
    )
    if reason is not None and record["stage"] != run.stage:
        # A broken scan is set aside by name; implausible or unlike lungs are but a verdict.
        run.reject(reason)
    write_json(out, record)
    masks = {"fixed_mask": fixed_mask, "moving_mask": moving_mask}
    inputs = {name: path for name, path in masks.items() if path is not None}
    shown = ("verdict", "code", "dice", "fixed_volume_l", "moving_volume_l")
    run.done(
        out,
        inputs={"fixed": fixed, "moving": moving, **inputs},
        result={key: record[key] for key in shown if record.get(key) is not None},
    )
