"""``lcsd lungs``: lung mask of a CT scan."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, SERIES_DIR, Run, stage
from lcsd.errors import BadInputError
from lcsd.settings.fetch import FetchSettings
from lcsd.settings.lungs import LungsSettings


@click.command(epilog="Example: lcsd lungs baseline.nii.gz lungs.nii.gz")
@click.argument("scan", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--given",
    default=None,
    metavar="SOURCE",
    help="Lung mask to check and put on the scan's grid instead: a NIfTI file, or a DICOM SEG with "
    "lobes of the lung (file, folder with one, or the UID of its series).",
)
@click.option(
    "--series-uid",
    default=None,
    metavar="UID",
    help="With a DICOM SEG: SeriesInstanceUID that it must have been made from.",
)
@click.option(
    "--method",
    type=click.Choice(["classical", "totalsegmentator"]),
    default=None,
    help="What segments; overrides the setting method.",
)
@SERIES_DIR
@stage("lungs", LungsSettings, also={"fetch": FetchSettings}, on_device=True, shortcuts={"method": "method={}"})
def command(
    run: Run[LungsSettings],
    scan: Path,
    output: Path,
    *,
    given: str | None,
    series_uid: str | None,
    series_dir: Path | None,
) -> None:
    """Segment both lungs of the CT SCAN (.nii.gz, HU) and write the mask OUTPUT (.nii.gz).

    The method totalsegmentator needs weights on this machine (see lcsd weights list); --device is
    for it.
    """
    if given is None:
        _write(run, scan, output, None, series_uid)
        return
    with run.local(given, series_dir) as path:
        _write(run, scan, output, path, series_uid)


def _write(run: Run[LungsSettings], scan: Path, output: Path, given: Path | None, series_uid: str | None) -> None:
    import numpy as np

    from lcsd.io.images import read_image, write_mask
    from lcsd.lungs.given import given_mask
    from lcsd.lungs.lungs import make_lungs

    if given is None and series_uid is not None:
        raise BadInputError(
            "only a DICOM SEG says which series it was made from",
            code="bad_usage",
            field="--series-uid",
            remedy="give a DICOM SEG by --given, or leave it out",
        )
    image = read_image(scan)
    inputs = {"scan": scan}
    result: dict[str, object]
    if given is None:
        lungs = make_lungs(image, run.settings, on=run.compute, file=scan)
        mask = lungs.mask
        result = {"lungs": lungs.count, "airways_ml": round(lungs.airways_ml, 1)}
        run.recorder.fact("method", lungs.facts)
    else:
        found = given_mask(given, image.grid, series_uid=series_uid)
        mask = found.mask
        inputs["given"] = given
        result = {"given": str(given)}
        if found.lobes is not None:
            result["lobes"] = found.lobes
    result["volume_ml"] = round(float(mask.array.sum() * np.prod(mask.grid.spacing)) / 1000, 1)
    write_mask(output, mask)
    run.done(output, inputs=inputs, result=result)
