"""``lcsd register``: deformable registration of two clouds."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.register import RegisterSettings


@click.command(
    epilog="Example: lcsd register fixed.npz moving.npz --out-dir registration --grid fixed.nii.gz"
)
@click.argument("fixed_cloud", type=FILE)
@click.argument("moving_cloud", type=FILE)
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@click.option(
    "--grid", "grid_image", type=FILE, default=None,
    help="Image on whose voxels the field is written; else the fixed cloud's box plus 20 mm.",
)  # fmt: skip
@stage("register", RegisterSettings, on_device=True)
def command(
    run: Run[RegisterSettings],
    fixed_cloud: Path,
    moving_cloud: Path,
    out_dir: Path,
    grid_image: Path | None,
) -> None:
    """Move FIXED_CLOUD onto MOVING_CLOUD (.npz, LPS mm, one frame).

    Writes field.nii.gz (u in y = x + u(x), mm), points.npz (moved fixed points) and
    registration.json (distance per iteration, folding, std of log det J).
    """
    from lcsd.divroc.optimise import check_pair, register_clouds  # noqa: PLC0415
    from lcsd.divroc.report import moved_cloud, summary  # noqa: PLC0415
    from lcsd.files import read_cloud, write_cloud, write_json  # noqa: PLC0415
    from lcsd.images import read_image, write_field  # noqa: PLC0415

    fixed, moving = read_cloud(fixed_cloud), read_cloud(moving_cloud)
    check_pair(fixed, moving)  # before the progress bar, so that an error is one line
    grid = None if grid_image is None else read_image(grid_image).grid
    total = sum(level.iterations for level in run.settings.schedule())
    nothing: tuple[int, ...] = ()  # the bar counts Adam steps, not items
    with run.progress(nothing, label="distance", total=total) as bar:

        def show(iteration: int, distance: float) -> None:
            bar.set_postfix_str(f"{distance:.4f}", refresh=False)
            bar.update(iteration - bar.n)

        result = register_clouds(
            fixed, moving, settings=run.settings, grid=grid, device=run.device, progress=show
        )
    write_field(out_dir / "field.nii.gz", result.field)
    write_cloud(out_dir / "points.npz", moved_cloud(fixed, result))
    content = summary(fixed, moving, result)
    write_json(out_dir / "registration.json", content)
    inputs = {"fixed_cloud": fixed_cloud, "moving_cloud": moving_cloud}
    if grid_image is not None:
        inputs["grid"] = grid_image
    figures = {key: value for key, value in content.items() if key != "distance"}
    run.done(out_dir / "registration.json", inputs=inputs, result=figures)
