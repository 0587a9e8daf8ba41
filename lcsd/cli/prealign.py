"""``lcsd prealign``: rigid alignment and common grid."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.prealign import PrealignSettings


@click.command(
    epilog="Example: lcsd prealign baseline.nii.gz followup.nii.gz "
    "--fixed-mask baseline_lungs.nii.gz --moving-mask followup_lungs.nii.gz --out-dir images"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--fixed-mask", type=FILE, required=True, help="Lung mask of FIXED.")
@click.option("--moving-mask", type=FILE, required=True, help="Lung mask of MOVING.")
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@stage("prealign", PrealignSettings)
def command(
    run: Run[PrealignSettings], *, fixed: Path, moving: Path, fixed_mask: Path, moving_mask: Path, out_dir: Path
) -> None:
    """Align MOVING (follow-up) to FIXED (baseline) rigidly; put both on the common grid.

    Writes images, masks, rigid.tfm (common-space point to follow-up LPS) and prealign.json.
    --set method=blocks, corrfield or deeds (needs linearBCV of deedsBCV) chooses how.
    """
    import numpy as np

    from lcsd.io.files import write_json
    from lcsd.io.images import read_image, read_mask, write_image, write_mask, write_rigid
    from lcsd.prealign.prealign import prealign

    scans = read_image(fixed), read_image(moving)
    pair = prealign(
        *scans,
        fixed_mask=read_mask(fixed_mask, like=scans[0].grid),
        moving_mask=read_mask(moving_mask, like=scans[1].grid),
        settings=run.settings,
        threads=run.threads,
    )
    for name in ("fixed", "moving"):
        share = pair.report[f"{name}_lung_inside"]
        if share < 1:
            say(f"lcsd prealign: warning: {share:.2%} of the {name} lungs lie in the common grid")
    write_image(out_dir / "fixed.nii.gz", pair.fixed, dtype=np.int16)
    write_image(out_dir / "moving.nii.gz", pair.moving, dtype=np.int16)
    write_mask(out_dir / "fixed_mask.nii.gz", pair.fixed_mask)
    write_mask(out_dir / "moving_mask.nii.gz", pair.moving_mask)
    write_rigid(out_dir / "rigid.tfm", pair.rigid)
    write_json(out_dir / "prealign.json", pair.report)
    inputs = {"fixed": fixed, "moving": moving, "fixed_mask": fixed_mask, "moving_mask": moving_mask}
    result = {key: pair.report[key] for key in ("dice_centred", "dice_aligned", "rotation_deg")}
    run.done(out_dir / "prealign.json", inputs=inputs, result=result)
