"""``lcsd correspond``: image correspondences by corrfield."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.correspond import CorrespondSettings


@click.command(
    epilog="Example: lcsd correspond fixed.nii.gz moving.nii.gz --fixed-mask lungs.nii.gz "
    "--out pairs.csv --field field.nii.gz"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--fixed-mask", type=FILE, required=True, help="Lung mask of FIXED (.nii.gz).")
@click.option("--out", type=FILE, required=True, help="Where to write the pairs (.csv, LPS mm).")
@click.option("--field", type=FILE, help="Where to write the displacement field (.nii.gz).")
@stage("correspond", CorrespondSettings, on_device=True)
def command(
    run: Run[CorrespondSettings], fixed: Path, moving: Path, fixed_mask: Path, out: Path, field: Path | None
) -> None:
    """Find correspondences between two scans on one grid with corrfield.

    A fixed point x lies in the moving scan at y = x + u(x). Counts and consistency stand beside
    the pairs in a JSON file of the same name.
    """
    from lcsd.corrfield.correspond import find_correspondences
    from lcsd.io.fields import write_field
    from lcsd.io.files import write_json
    from lcsd.io.images import read_image, read_mask
    from lcsd.io.points import write_point_pairs

    image = read_image(fixed)
    result = find_correspondences(
        image,
        read_image(moving),
        read_mask(fixed_mask, like=image.grid),
        settings=run.settings,
        device=run.device,
        progress=lambda message: say(f"lcsd correspond: {message}"),
    )
    for step, seconds in result.seconds.items():
        run.recorder.step(step, seconds)
    write_point_pairs(out, result.pairs)
    if field is not None:
        write_field(field, result.field)
    write_json(out.with_suffix(".json"), result.statistics)
    run.done(
        out,
        inputs={"fixed": fixed, "moving": moving, "fixed_mask": fixed_mask},
        result={"correspondences": len(result.pairs)},
    )
