"""``lcsd keypoints``: sparse cloud from a dense one."""

from pathlib import Path

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE
from lcsd.settings.keypoints import KeypointsSettings


@click.command(epilog="Example: lcsd keypoints dense.npz keypoints.npz --set min_points=9000")
@click.argument("dense", type=FILE)
@click.argument("output", type=FILE)
@stage("keypoints", KeypointsSettings)
def command(run: Run[KeypointsSettings], dense: Path, output: Path) -> None:
    """Choose the sparse cloud OUTPUT from the DENSE cloud (.npz, LPS mm).

    A point is kept if its kNN density is the largest among its nearest neighbours. The density
    weight grows until enough points are kept.
    """
    from lcsd.clouds.keypoints import sparse_cloud
    from lcsd.io.points import read_cloud, write_cloud

    cloud, report = sparse_cloud(read_cloud(dense), run.settings, file=dense, workers=run.threads)
    for warning in report.warnings:
        run.warn(f"{dense}: {warning}")
    write_cloud(output, cloud)
    run.done(output, inputs={"dense": dense}, result=report.figures())
