"""``lcsd cloud``: dense cloud of a vessel mask."""

from pathlib import Path

import click

from lcsd import __version__
from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.settings.cloud import CloudSettings


@click.command(epilog="Example: lcsd cloud vessels.nii.gz dense.npz")
@click.argument("vessels", type=FILE)
@click.argument("output", type=FILE)
@click.option("--case", help="Name of the case, stored in the cloud's metadata.")
@stage("cloud", CloudSettings)
def command(run: Run[CloudSettings], vessels: Path, output: Path, case: str | None) -> None:
    """Turn the VESSELS mask (.nii.gz) into the dense cloud OUTPUT (.npz, LPS mm).

    The cloud has one point per vessel voxel, with the local vessel radius in mm.
    """
    from lcsd.clouds.cloud import dense_cloud
    from lcsd.io.images import read_mask
    from lcsd.io.points import write_cloud

    made_by = {"case": case, "settings": run.settings.model_dump(mode="json"), "lcsd": __version__}
    mask = read_mask(vessels, keep_labels=True, kind="vessels")
    cloud = dense_cloud(mask, settings=run.settings, meta=made_by, file=vessels)
    write_cloud(output, cloud)
    run.done(output, inputs={"vessels": vessels}, result={"points": len(cloud)})
