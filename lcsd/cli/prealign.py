"""``lcsd prealign``: rigid alignment and common grid."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
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
def command(run: Run[PrealignSettings], *, out_dir: Path, **inputs: Path) -> None:
    """Align MOVING (follow-up) rigidly to FIXED (baseline) and resample both to the common grid.

    Writes images, masks, rigid.tfm (point in common space to follow-up, LPS mm) and prealign.json.
    --set method=blocks, corrfield or deeds (needs linearBCV of deedsBCV) chooses the method.
    """
    import numpy as np

    from lcsd.io.files import write_json
    from lcsd.io.images import read_image, read_mask, write_image, write_mask, write_rigid
    from lcsd.prealign.gates import doubts
    from lcsd.prealign.prealign import prealign

    fixed, moving = read_image(inputs["fixed"]), read_image(inputs["moving"])
    pair = prealign(
        fixed,
        moving,
        fixed_mask=read_mask(inputs["fixed_mask"], like=fixed.grid),
        moving_mask=read_mask(inputs["moving_mask"], like=moving.grid),
        settings=run.settings,
        threads=run.threads,
    )
    for name in ("fixed", "moving"):
        share = pair.report[f"{name}_lung_inside"]
        if share < 1:
            run.warn(f"only {share:.2%} of the {name} lungs are inside the common grid")
    for doubt in doubts(pair.report):
        run.warn(doubt)
    write_image(out_dir / "fixed.nii.gz", pair.fixed, dtype=np.int16)
    write_image(out_dir / "moving.nii.gz", pair.moving, dtype=np.int16)
    write_mask(out_dir / "fixed_mask.nii.gz", pair.fixed_mask)
    write_mask(out_dir / "moving_mask.nii.gz", pair.moving_mask)
    write_rigid(out_dir / "rigid.tfm", pair.rigid)
    write_json(out_dir / "prealign.json", pair.report)
    result = {key: pair.report[key] for key in ("dice_centred", "dice_aligned", "rotation_deg")}
    run.done(out_dir / "prealign.json", inputs=inputs, result=result)
