"""``lcsd lungs``: lung mask of a CT scan."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.errors import BadInputError
from lcsd.settings.lungs import LungsSettings


@click.command(epilog="Example: lcsd lungs baseline.nii.gz lungs.nii.gz")
@click.argument("scan", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--given", type=FILE, default=None,
    help="Your own lung mask, checked and put on the scan's grid instead: a NIfTI file, or a DICOM "
    "SEG with lobes of the lung (file, or folder with one).",
)  # fmt: skip
@click.option(
    "--series-uid", default=None, metavar="UID",
    help="With a DICOM SEG: SeriesInstanceUID that it must have been made from.",
)  # fmt: skip
@stage("lungs", LungsSettings)
def command(
    run: Run[LungsSettings],
    scan: Path,
    output: Path,
    *,
    given: Path | None,
    series_uid: str | None,
) -> None:
    """Segment both lungs of the CT SCAN (.nii.gz, HU) and write the mask OUTPUT (.nii.gz)."""
    import numpy as np  # noqa: PLC0415

    from lcsd.dicom_seg import read_lobes  # noqa: PLC0415
    from lcsd.images import is_nifti, read_image, write_mask  # noqa: PLC0415
    from lcsd.lungs import given_mask, placed_mask, segment_lungs  # noqa: PLC0415

    as_seg = given is not None and not is_nifti(given)
    if series_uid is not None and not as_seg:
        raise BadInputError(
            "only a DICOM SEG says which series it was made from", code="bad_usage",
            field="--series-uid", remedy="give a DICOM SEG by --given, or leave it out",
        )  # fmt: skip
    image = read_image(scan)
    inputs = {"scan": scan}
    result: dict[str, object]
    if given is None:
        lungs = segment_lungs(image, run.settings, file=scan)
        mask = lungs.mask
        result = {"lungs": lungs.count, "airways_ml": round(lungs.airways_ml, 1)}
    else:
        result = {"given": str(given)}
        if as_seg:
            lobes = read_lobes(given, series_uid=series_uid)
            mask = placed_mask(lobes.mask, image.grid, file=given)
            result["lobes"] = lobes.count
        else:
            mask = given_mask(given, image.grid)
        inputs["given"] = given
    result["volume_ml"] = round(float(mask.array.sum() * np.prod(mask.grid.spacing)) / 1000, 1)
    write_mask(output, mask)
    run.done(output, inputs=inputs, result=result)
