"""``lcsd register``: deformable registration of two clouds."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcsd.cli.common import FILE, Run, stage
from lcsd.settings.register import RegisterSettings

if TYPE_CHECKING:
    from lcsd.clouds.formats import CloudFile, Frame, Unit
    from lcsd.divroc.register import RegistrationResult
    from lcsd.geometry import Grid
    from lcsd.io.points import Cloud


def _register(run: Run[RegisterSettings], fixed: "Cloud", moving: "Cloud", grid: "Grid | None") -> "RegistrationResult":
    """Register with a bar of iterations that shows the distance."""
    from lcsd.divroc.register import register_clouds

    nothing: tuple[int, ...] = ()  # the bar counts steps, not items
    with run.progress(nothing, label="distance", total=run.settings.most_steps()) as bar:

        def show(iteration: int, distance: float) -> None:
            bar.set_postfix_str(f"{distance:.4f}", refresh=False)
            bar.update(iteration - bar.n)

        return register_clouds(fixed, moving, settings=run.settings, grid=grid, device=run.device, progress=show)


def _write(out_dir: Path, source: "CloudFile", moving: "Cloud", result: "RegistrationResult") -> dict[str, object]:
    """Write all results; return the figures."""
    from lcsd.divroc.register import moved_cloud, summary
    from lcsd.io.fields import write_field
    from lcsd.io.files import write_json
    from lcsd.io.points import write_cloud

    write_field(out_dir / "field.nii.gz", result.field)
    inverse = out_dir / "inverse_field.nii.gz"
    if result.inverse_field is not None:
        write_field(inverse, result.inverse_field)
    else:
        inverse.unlink(missing_ok=True)  # of an earlier, symmetric run
    write_cloud(out_dir / "points.npz", moved_cloud(source.cloud, result))
    if source.suffix != ".npz":
        source.write(out_dir / f"points{source.suffix}", result.moved_points)
    content = summary(source.cloud, moving, result)
    write_json(out_dir / "registration.json", content)
    return content


@click.command(epilog="Example: lcsd register fixed.npz moving.npz --out-dir registration --grid fixed.nii.gz")
@click.argument("fixed_cloud", type=FILE)
@click.argument("moving_cloud", type=FILE)
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@click.option(
    "--grid",
    "grid_image",
    type=FILE,
    default=None,
    help="Image on whose voxels the field is written; else the fixed cloud's box plus 20 mm.",
)
@click.option(
    "--method",
    type=click.Choice(["divroc", "chamfer", "cpd"]),
    default=None,
    help="What pulls the clouds together; short for --set method=...",
)
@click.option("--fast", is_flag=True, help="Fewer and coarser steps; short for --set effort=fast.")
@click.option("--symmetric", is_flag=True, help="Move both clouds to the middle and write inverse_field.nii.gz, too.")
@click.option(
    "--frame",
    type=click.Choice(["lps", "ras"]),
    default="lps",
    show_default=True,
    help="Frame of both clouds' coordinates.",
)
@click.option(
    "--unit", type=click.Choice(["mm", "m"]), default="mm", show_default=True, help="Unit of both clouds' coordinates."
)
@stage(
    "register",
    RegisterSettings,
    on_device=True,
    shortcuts={"method": "method={}", "fast": "effort=fast", "symmetric": "symmetric=true"},
)
def command(
    run: Run[RegisterSettings],
    fixed_cloud: Path,
    moving_cloud: Path,
    out_dir: Path,
    grid_image: Path | None,
    frame: "Frame",
    unit: "Unit",
) -> None:
    """Move FIXED_CLOUD onto MOVING_CLOUD (.npz .npy .csv .txt .ply .vtk .vtp .pth).

    Both clouds are in one frame; their numbers of points may differ. Writes field.nii.gz (u in
    y = x + u(x), LPS mm), points.npz (moved fixed points, LPS mm; also in the format, frame and
    unit of FIXED_CLOUD if that is no .npz) and registration.json (distance per iteration,
    folding, std of log det J).
    """
    from lcsd.clouds.formats import read_cloud_file
    from lcsd.divroc.register import check_pair
    from lcsd.io.images import read_image

    source = read_cloud_file(fixed_cloud, frame=frame, unit=unit)
    moving = read_cloud_file(moving_cloud, frame=frame, unit=unit).cloud
    check_pair(source.cloud, moving)  # before the progress bar, so that an error is one line
    grid = None if grid_image is None else read_image(grid_image).grid
    result = _register(run, source.cloud, moving, grid)
    content = _write(out_dir, source, moving, result)
    inputs = {"fixed_cloud": fixed_cloud, "moving_cloud": moving_cloud}
    if grid_image is not None:
        inputs["grid"] = grid_image
    figures = {key: value for key, value in content.items() if key != "distance"}
    figures["seconds"] = round(result.seconds, 3)
    run.done(out_dir / "registration.json", inputs=inputs, result=figures)
