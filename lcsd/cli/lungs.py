"""``lcsd lungs``: lung mask of a CT scan."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.lungs import LungsSettings


@click.command(epilog="Example: lcsd lungs baseline.nii.gz lungs.nii.gz")
@click.argument("scan", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--given", type=FILE, default=None,
    help="Your own lung mask; it is checked and put on the scan's grid instead.",
)  # fmt: skip
@click.option(
    "--method", type=click.Choice(["classical", "totalsegmentator"]), default=None,
    help="What segments; overrides the setting method.",
)  # fmt: skip
@stage("lungs", LungsSettings, on_device=True, shortcuts={"method": "method={}"})
def command(run: Run[LungsSettings], scan: Path, output: Path, given: Path | None) -> None:
    """Segment both lungs of the CT SCAN (.nii.gz, HU) and write the mask OUTPUT (.nii.gz).

    The method totalsegmentator needs weights on this machine (see lcsd weights list); --device is
    for it.
    """
    import numpy as np  # noqa: PLC0415

    from lcsd.images import read_image, write_mask  # noqa: PLC0415
    from lcsd.lobes import make_lungs  # noqa: PLC0415
    from lcsd.lungs import given_mask  # noqa: PLC0415

    image = read_image(scan)
    inputs = {"scan": scan}
    result: dict[str, object]
    if given is None:
        lungs = make_lungs(
            image, run.settings, device=run.device, threads=run.threads, file=scan,
            progress=lambda message: say(f"lcsd lungs: {message}"),
        )  # fmt: skip
        mask = lungs.mask
        result = {"lungs": lungs.count, "airways_ml": round(lungs.airways_ml, 1)}
        run.recorder.fact("method", lungs.facts)
    else:
        mask = given_mask(given, image.grid)
        inputs["given"] = given
        result = {"given": str(given)}
    result["volume_ml"] = round(float(mask.array.sum() * np.prod(mask.grid.spacing)) / 1000, 1)
    write_mask(output, mask)
    run.done(output, inputs=inputs, result=result)
