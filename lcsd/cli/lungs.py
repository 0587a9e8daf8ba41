"""``lcsd lungs``: lung mask of a CT scan."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, SERIES_DIR, setting
from lcsd.errors import BadInputError
from lcsd.settings.fetch import FetchSettings
from lcsd.settings.lungs import LungsSettings


@click.command(epilog="Example: lcsd lungs baseline.nii.gz lungs.nii.gz")
@click.argument("scan", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--given",
    metavar="SOURCE",
    help="Use this lung mask instead of a segmentation: a volume (NIfTI, NRRD, MetaImage), or a DICOM SEG with lobes "
    "of the lung (a file, a folder with one, or the UID of its series). It is checked and resampled to the "
    "grid of SCAN.",
)
@click.option("--series-uid", metavar="UID", help="With a DICOM SEG: SeriesInstanceUID of the scan it was made from.")
@setting("--method", LungsSettings, "Method of the segmentation.")
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

    The method totalsegmentator needs weights on this machine (see lcsd weights list). Only this
    method uses --device.
    """
    if given is None:
        _write(run, scan, output, None, series_uid)
        return
    with run.local(given, series_dir) as path:
        _write(run, scan, output, path, series_uid)


def _write(run: Run[LungsSettings], scan: Path, output: Path, given: Path | None, series_uid: str | None) -> None:
    import numpy as np

    from lcsd.io.images import read_image, write_mask
    from lcsd.lungs.anatomy import evidence, evidence_of_given
    from lcsd.lungs.fit import doubts
    from lcsd.lungs.given import given_mask
    from lcsd.lungs.lungs import make_lungs
    from lcsd.readings.anatomy import check_anatomy

    if given is None and series_uid is not None:
        raise BadInputError(
            "only a DICOM SEG names the series it was made from",
            code="bad_usage",
            field="--series-uid",
            remedy="pass a DICOM SEG with --given, or leave --series-uid out",
        )
    image = read_image(scan)
    result: dict[str, object]
    if given is None:
        lungs = make_lungs(image, run.settings, on=run.compute, file=scan)
        mask = lungs.mask
        result = {"lungs": lungs.count, "airways_ml": round(lungs.airways_ml, 1)}
        run.recorder.fact("method", lungs.facts)
    else:
        found = given_mask(given, image, run.settings, series_uid=series_uid)
        mask = found.mask
        result = {"given": str(given)}
        if found.fit is not None:
            run.recorder.fact("fit", found.fit.facts())
            for doubt in doubts(found.fit):
                run.warn(f"{given}: {doubt}")
        if found.lobes is not None:
            result["lobes"] = found.lobes
    if run.settings.anatomy == "checked":
        seen, lacking = (evidence(image, mask), False) if given is None else evidence_of_given(image, mask)
        check_anatomy(seen, file=scan)
        if lacking:
            run.warn(f"{given} does not have the shape of whole lungs: it may lack a part of them")
    result["volume_ml"] = round(float(mask.array.sum() * np.prod(mask.grid.spacing)) / 1000, 1)
    write_mask(output, mask)
    run.done(output, inputs={"scan": scan, "given": given}, result=result)
