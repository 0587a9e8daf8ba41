"""``lcsd screen``: motion and plausibility of one candidate pair from its lung masks."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, SERIES_DIR
from lcsd.settings.convert import ConvertSettings
from lcsd.settings.fetch import FetchSettings
from lcsd.settings.lungs import LungsSettings
from lcsd.settings.screen import ScreenSettings


@click.command(epilog="Example: lcsd screen baseline_folder followup_folder --out screening.json")
@click.argument("fixed")
@click.argument("moving")
@click.option("--out", type=FILE, required=True, help="Write the verdict to this file (.json).")
@click.option("--fixed-mask", help="Lung mask of FIXED; replaces the segmentation.")
@click.option("--moving-mask", help="Lung mask of MOVING; replaces the segmentation.")
@SERIES_DIR
@stage(
    "screen",
    ScreenSettings,
    also={"fetch": FetchSettings, "convert": ConvertSettings, "lungs": LungsSettings},
    on_device=True,
)
def command(
    run: Run[ScreenSettings],
    fixed: str,
    moving: str,
    *,
    out: Path,
    fixed_mask: str | None,
    moving_mask: str | None,
    series_dir: Path | None,
) -> None:
    """Judge the candidate pair FIXED and MOVING.

    Each is a DICOM folder, a NIfTI file, or the UID of a series in the Imaging Data Commons; the
    same holds for masks (NIfTI or DICOM SEG). Segments both lungs, aligns the masks rigidly without
    the images, and writes their Dice coefficient, volumes and gates. A low Dice coefficient means
    much motion. A pair that cannot be used is a result, too: its verdict is rejected, with the
    reason, and the exit code is 0. No image is kept.
    """
    from lcsd.io.files import write_json
    from lcsd.names import is_series_uid
    from lcsd.selection.screen import screen_pair

    record, reason = screen_pair(
        (fixed, moving),
        (fixed_mask, moving_mask),
        opened=lambda source: run.local(source, series_dir),
        settings=run.settings,
        convert=run.sections["convert"],
        lungs=run.sections["lungs"],
        device=run.device,
        threads=run.threads,
    )
    if reason is not None and record["stage"] != run.stage:
        # A broken scan is recorded as rejected; implausible or unlike lungs are only a verdict.
        run.reject(reason)
    write_json(out, record)
    sources = {"fixed": fixed, "moving": moving, "fixed_mask": fixed_mask, "moving_mask": moving_mask}
    # Series have their own checksums, and may be gone by now.
    inputs = {
        name: Path(source) for name, source in sources.items() if source is not None and not is_series_uid(source)
    }
    shown = ("verdict", "code", "dice", "fixed_volume_l", "moving_volume_l")
    run.done(out, inputs=inputs, result={key: record[key] for key in shown if record.get(key) is not None})
