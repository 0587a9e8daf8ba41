"""``lcsd convert``: one scan to one checked volume."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, SERIES_DIR
from lcsd.errors import BadInputError
from lcsd.settings.convert import ConvertSettings
from lcsd.settings.fetch import FetchSettings
from lcsd.settings.gates import GatesSettings

if TYPE_CHECKING:
    from lcsd.scans.convert import Neighbours
    from lcsd.scans.dicom import Header


@click.command(epilog="Example: lcsd convert dicom_folder baseline.nii.gz")
@click.argument("source")
@click.argument("output", type=FILE)
@click.option("--header", type=FILE, help="Write technical fields of the DICOM header here (.json); no patient data.")
@click.option(
    "--baseline", metavar="SOURCE", help="Source of the patient's other scan; a header of another person is named."
)
@SERIES_DIR
@stage("convert", ConvertSettings, also={"fetch": FetchSettings})
def command(
    run: Run[ConvertSettings],
    source: str,
    output: Path,
    *,
    header: Path | None,
    baseline: str | None,
    series_dir: Path | None,
) -> None:
    """Turn SOURCE into OUTPUT (.nii.gz, HU).

    SOURCE is a folder with one DICOM CT series, a volume (NIfTI, .nrrd, .nhdr, .mha, .mhd), or the UID
    of a series in the Imaging Data Commons. The geometry is kept. Scans with missing or duplicate
    slices, gantry tilt, wrong units and other defects are rejected with a reason.
    """
    other = None if baseline is None else _baseline(run, baseline, series_dir)
    with run.local(source, series_dir) as path:
        _convert(run, path, output, header, other)


def _baseline(run: Run[ConvertSettings], source: str, series_dir: Path | None) -> "Header | None":
    """Return a header of the baseline; None for volumes, and for a series that was not kept."""
    from lcsd.io.images import is_image
    from lcsd.names import is_series_uid
    from lcsd.scans.dicom import first_image

    if is_series_uid(source) and not run.sections["fetch"].keep:
        return None
    with run.local(source, series_dir) as path:
        return None if is_image(path) else first_image(path)


def _compare_persons(run: Run[ConvertSettings], baseline: "Header | None", followup: "Header | None") -> None:
    """Record whether two headers name one person, and warn if not; no value of them is shown."""
    from lcsd.scans.persons import compare

    if baseline is None or followup is None:
        return
    found = compare(baseline, followup)
    run.recorder.fact("person", {"compared": found.compared, "differ": found.differ})
    if found.differ:
        names = ", ".join(found.differ)
        run.warn(
            f"the headers of both scans name different people ({names}): check the pair; the gate person judges it"
        )


def _note_neighbours(run: Run[ConvertSettings], found: "Neighbours") -> None:
    """Record how neighbouring slices differ, and warn where the body may have moved, or slices lie in another order."""
    (seam, at), (order, odd), repeated = found.seam, found.order, found.repeated
    figures = {"seam": round(seam, 4), "seam_at": at, "order": round(order, 4), "order_at": odd}
    run.recorder.fact("slices", {**figures, "repeated": len(repeated)})
    limits = GatesSettings()
    usual = limits.seam.warn_above
    if usual is not None and seam > usual:
        run.warn(
            f"slices {at - 1} and {at} differ {seam:.2g} times as much as others around them, usual are up to "
            f"{usual:g}: two acquisitions may be put together there; the gate seam judges it"
        )
    usual = limits.slice_order.warn_above
    if usual is not None and order > usual:
        run.warn(
            f"slices {odd - 1} and {odd} differ {order:.2g} times as much as one of them and the next but one, usual "
            f"are up to {usual:g}: slices may be exchanged there; the gate slice_order judges it"
        )
    if repeated:
        run.warn(
            f"{len(repeated)} slices repeat the slice before them, the first is slice {repeated[0]}: slices may have "
            "been lost; the gate repeated_slices judges it"
        )


def _convert(
    run: Run[ConvertSettings], source: Path, output: Path, header: Path | None, baseline: "Header | None"
) -> None:
    import numpy as np

    from lcsd.io.files import write_json
    from lcsd.io.images import write_image
    from lcsd.scans.convert import read_scan
    from lcsd.scans.dicom import SeriesChoiceError

    try:
        scan = read_scan(source, run.settings)
    except SeriesChoiceError as error:
        for choice in error.choices:
            say(choice)
        raise
    if header is not None and scan.header is None:
        raise BadInputError(
            "a volume has no DICOM header",
            code="no_header",
            file=source,
            field="--header",
            expected="a DICOM folder",
            found=source.suffix,
            remedy="leave --header out",
        )
    grid = scan.image.grid
    result = {
        "series_uid": scan.series_uid,
        "size": list(grid.size),
        "spacing_mm": [round(float(step), 6) for step in grid.spacing],
        "lowest_hu": int(scan.image.array.min()),
        "highest_hu": int(scan.image.array.max()),
        "misplaced_mm": round(scan.misplaced_mm, 6),
        "largest_seam": round(scan.neighbours.seam[0], 3),
        **{f"skipped_{kind}": count for kind, count in scan.skipped.items()},
    }
    if header is not None and scan.header is not None:
        write_json(header, scan.header)
    _note_neighbours(run, scan.neighbours)
    _compare_persons(run, baseline, scan.first)
    write_image(output, scan.image, dtype=np.int16)
    run.done(output, inputs={"source": source}, result=result)
