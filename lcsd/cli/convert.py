"""``lcsd convert``: one scan to one checked volume."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.convert import ConvertSettings


@click.command(epilog="Example: lcsd convert dicom_folder baseline.nii.gz")
@click.argument("source", type=FILE)
@click.argument("output", type=FILE)
@stage("convert", ConvertSettings)
def command(run: Run[ConvertSettings], source: Path, output: Path) -> None:
    """Turn SOURCE (folder with one DICOM CT series, or NIfTI file) into OUTPUT (.nii.gz, HU).

    Geometry is kept. Missing or doubled slices, tilt, wrong units and other defects are refused
    with a reason.
    """
    import numpy as np  # noqa: PLC0415

    from lcsd.images import write_image  # noqa: PLC0415
    from lcsd.scans import read_scan  # noqa: PLC0415

    scan = read_scan(source, run.settings)
    grid = scan.image.grid
    result = {
        "series_uid": scan.series_uid,
        "size": list(grid.size),
        "spacing_mm": [round(float(step), 6) for step in grid.spacing],
        "lowest_hu": int(scan.image.array.min()),
        "highest_hu": int(scan.image.array.max()),
    }
    write_image(output, scan.image, dtype=np.int16)
    run.done(output, inputs={"source": source}, result=result)
