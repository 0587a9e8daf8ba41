"""``lcsd vessels``: vessel mask of a scan in the common grid."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.vessels import VesselsSettings


@click.command(epilog="Example: lcsd vessels fixed.nii.gz vessels.nii.gz --lungs fixed_mask.nii.gz")
@click.argument("image", type=FILE)
@click.argument("output", type=FILE)
@click.option("--lungs", type=FILE, required=True, help="Lung mask on the grid of IMAGE.")
@click.option(
    "--backend", type=click.Choice(["objectness", "totalsegmentator"]), default=None,
    help="What segments; overrides the setting backend.",
)  # fmt: skip
@click.option(
    "--given", type=FILE, default=None,
    help="Your own vessel map in the scan's native space; it is put on the grid instead.",
)  # fmt: skip
@click.option(
    "--rigid", type=FILE, default=None,
    help="With --given for a follow-up scan: rigid.tfm of the pre-alignment.",
)  # fmt: skip
@stage("vessels", VesselsSettings, on_device=True, shortcuts={"backend": "backend={}"})
def command(
    run: Run[VesselsSettings],
    *,
    image: Path,
    output: Path,
    lungs: Path,
    given: Path | None,
    rigid: Path | None,
) -> None:
    """Segment the vessels inside the lungs of IMAGE (.nii.gz, HU, common grid) into OUTPUT.

    The backend totalsegmentator needs weights on this machine (see lcsd weights list); --device
    is for it. With --set 'totalsegmentator={task: lung_vessels}' OUTPUT holds arteries (1) and
    veins (2).
    """
    from lcsd.errors import BadInputError  # noqa: PLC0415
    from lcsd.images import read_image, read_mask, read_rigid, write_mask  # noqa: PLC0415
    from lcsd.vessels import given_vessels, make_vessels  # noqa: PLC0415

    if rigid is not None and given is None:
        raise BadInputError(
            "--rigid moves a given vessel map", code="bad_usage", field="--rigid",
            remedy="give --given too, or leave --rigid out",
        )  # fmt: skip
    scan = read_image(image)
    inputs = {"image": image, "lungs": lungs}
    result: dict[str, object]
    if given is None:
        found = make_vessels(
            scan, read_mask(lungs, like=scan.grid), run.settings,
            device=run.device, threads=run.threads, file=image,
            progress=lambda message: say(f"lcsd vessels: {message}"),
        )  # fmt: skip
        mask = found.mask
        result = {"backend": run.settings.backend, "cut_voxels": found.cut_voxels}
        run.recorder.fact("backend", found.facts)
    else:
        transform = read_rigid(rigid) if rigid is not None else None
        mask = given_vessels(given, scan.grid, rigid=transform)
        result = {"given": str(given)}
        inputs |= {"given": given} | ({"rigid": rigid} if rigid is not None else {})
    write_mask(output, mask)
    run.done(output, inputs=inputs, result={**result, "voxels": int((mask.array != 0).sum())})
