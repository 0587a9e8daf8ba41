"""``lcsd correspond``: image correspondences by corrfield."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, field_mm
from lcsd.settings.correspond import CorrespondSettings


@click.command(
    epilog="Example: lcsd correspond fixed.nii.gz moving.nii.gz --fixed-mask lungs.nii.gz "
    "--out pairs.csv --field field.nii.gz"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE)
@click.option("--fixed-mask", type=FILE, required=True, help="Lung mask of FIXED (.nii.gz).")
@click.option("--out", type=FILE, required=True, help="Write the pairs to this file (.csv, LPS mm).")
@click.option("--field", type=FILE, help="Write the displacement field to this file (.nii.gz).")
@field_mm("FIXED")
@stage("correspond", CorrespondSettings, on_device=True)
def command(
    run: Run[CorrespondSettings], *, out: Path, field: Path | None, field_mm: float | None, **inputs: Path
) -> None:
    """Find correspondences between two scans on one grid with corrfield.

    The fixed point x is found in the moving scan at y = x + u(x). A JSON file of the same name,
    next to the pairs, holds counts and consistency.
    """
    from lcsd.corrfield.correspond import find_correspondences
    from lcsd.io.fields import field_grid, write_field
    from lcsd.io.files import write_json
    from lcsd.io.images import read_image, read_mask
    from lcsd.io.points import write_point_pairs

    image = read_image(inputs["fixed"])
    grid = field_grid(image.grid, field_mm)
    result = find_correspondences(
        image,
        read_image(inputs["moving"]),
        read_mask(inputs["fixed_mask"], like=image.grid),
        settings=run.settings,
        device=run.device,
        progress=run.say,
    )
    for step, seconds in result.seconds.items():
        run.recorder.step(step, seconds)
    write_point_pairs(out, result.pairs)
    if field is not None:
        write_field(field, result.field.on(grid))
        run.recorder.fact("field", {} if field_mm is None else {"spacing_mm": field_mm})
    write_json(out.with_suffix(".json"), result.statistics)
    run.done(out, inputs=inputs, result={"correspondences": len(result.pairs)})
