"""``lcsd register``: deformable registration of two clouds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice, field_mm, setting
from lcsd.names import CloudFrame, Unit
from lcsd.settings.gates import Limits
from lcsd.settings.register import UNTRUSTED_MM, RegisterSettings

RefineName = Literal["accurate", "fast", "none"]

if TYPE_CHECKING:
    from lcsd.clouds.formats import CloudFile
    from lcsd.divroc.register import RegistrationResult
    from lcsd.geometry import Grid
    from lcsd.io.points import Cloud


def _grid(image: Path | None, field_mm: float | None) -> "Grid | None":
    """Return the grid of the field; None: the default one around the fixed cloud."""
    from lcsd.errors import BadInputError
    from lcsd.io.fields import field_grid
    from lcsd.io.images import read_image

    if image is not None:
        return field_grid(read_image(image).grid, field_mm)
    if field_mm is not None:
        raise BadInputError(
            "the option does not fit",
            code="bad_option",
            field="--field-mm",
            expected="--grid",
            remedy="name the image whose extent the field covers",
        )
    return None


def _gates(result: "RegistrationResult", limits: Limits) -> list[dict[str, Any]]:
    from lcsd.build.verdicts import verdict

    return (
        []
        if result.trust is None
        else [verdict("untrusted_share", result.trust.untrusted_share, limits, of="registration")]
    )


def _write(
    out_dir: Path, source: "CloudFile", moving: "Cloud", result: "RegistrationResult", more: dict[str, Any]
) -> dict[str, Any]:
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
    write_json(out_dir / "registration.json", {**content, **more})
    return content


def _registered(
    run: Run[RegisterSettings], fixed: "Cloud", moving: "Cloud", grid: "Grid | None", model: Path | None
) -> "tuple[RegistrationResult, dict[str, Any]]":
    """Return the registration by any method, and what a network's started from."""
    from lcsd.divroc.register import register_clouds
    from lcsd.errors import BadInputError

    settings = run.settings
    if not settings.learnt():
        if model is not None:
            raise BadInputError(
                "the option does not fit",
                code="unused_option",
                field="--model",
                expected="--method with the name of a network",
                found=settings.method,
            )
        if settings.effort == "none" and settings.method != "cpd":
            run.warn("effort none runs no level: the result is the affine start alone")
        return register_clouds(fixed, moving, settings=settings, grid=grid, device=run.device, progress=True), {}
    from lcsd.networks.register import register_with_network

    result, facts = register_with_network(
        fixed, moving, settings=settings, model=model, grid=grid, device=run.device, progress=True
    )
    if settings.effort == "none":
        run.warn("the guess alone has no expected errors: nothing here tells whether it is right")
    if not facts.taken:
        run.warn(f"the guess of {facts.network} is no better than the affine start, which was taken instead")
    return result, facts.figures()


def _warning(gate: dict[str, Any], content: dict[str, Any]) -> str | None:
    """Return a warning if too much of a registration is untrusted."""
    most = min((limit for limit in (gate["usual_high"], gate["high"]) if limit is not None), default=1.0)
    if gate["value"] <= most:
        return None
    return (
        f"the registration is untrusted: {gate['value']:.1%} of the points have an expected error above "
        f"{UNTRUSTED_MM:g} mm, expected at most {most:.1%}; 95 % of the points are off by less than "
        f"{content['expected_error_p95_mm']:.1f} mm; look at expected_error_mm in points.npz, and check that both "
        "clouds show the same lungs"
    )


@click.command(epilog="Example: lcsd register fixed.npz moving.npz --out-dir registration --grid fixed.nii.gz")
@click.argument("fixed_cloud", type=FILE)
@click.argument("moving_cloud", type=FILE)
@click.option("--out-dir", type=FILE, required=True, help="Folder of the results.")
@click.option(
    "--grid",
    "grid_image",
    type=FILE,
    help="Image whose voxels carry the field.  [default: the fixed cloud's box plus 20 mm]",
)
@field_mm("--grid")
@setting("--method", RegisterSettings, "Method of the registration.")
@click.option(
    "--fast",
    is_flag=True,
    help="One run of Adam instead of two, without the finest level; short for --set effort=fast.",
)
@choice("--refine", RefineName, "What follows the guess of a network; short for --set effort=VALUE.")
@click.option("--model", type=FILE, help="Model file of the network (lcsd train).  [default: the one that ships]")
@click.option("--symmetric", is_flag=True, help="Move both clouds to the middle and also write inverse_field.nii.gz.")
@choice("--frame", CloudFrame, "Frame of both clouds' coordinates.  [default: what the file says, else lps]")
@choice("--unit", Unit, "Unit of both clouds' coordinates.  [default: what the file says, else mm]")
@choice("--moving-frame", CloudFrame, "Frame of MOVING_CLOUD, if it differs.  [default: as --frame]")
@choice("--moving-unit", Unit, "Unit of MOVING_CLOUD, if it differs.  [default: as --unit]")
@stage(
    "register",
    RegisterSettings,
    on_device=True,
    shortcuts={"method": "method={}", "fast": "effort=fast", "refine": "effort={}", "symmetric": "symmetric=true"},
)
def command(
    run: Run[RegisterSettings],
    fixed_cloud: Path,
    moving_cloud: Path,
    out_dir: Path,
    grid_image: Path | None,
    field_mm: float | None,
    model: Path | None,
    frame: CloudFrame | None,
    unit: Unit | None,
    moving_frame: CloudFrame | None,
    moving_unit: Unit | None,
) -> None:
    """Register FIXED_CLOUD to MOVING_CLOUD (.npz .npy .csv .tsv .txt .pts .xyz .asc .swc .ply .vtk .vtp .pth).

    Both clouds are in the same space; their numbers of points may differ. Writes field.nii.gz (u in
    y = x + u(x), LPS mm), points.npz (moved fixed points, LPS mm, and the expected error of each)
    and registration.json (distance per iteration, folding, std of log det J, expected errors, and the
    start if the method is a network). Warns if more than 5 % of the points are expected to be off by
    more than 5 mm. If FIXED_CLOUD is not .npz, the moved points are also written in its format, frame
    and unit.
    """
    from lcsd.clouds.formats import read_cloud_file
    from lcsd.divroc.checks import check_pair, doubts
    from lcsd.readings.overlap import check_in_image, check_overlap

    source = read_cloud_file(fixed_cloud, frame=frame, unit=unit)
    moving = read_cloud_file(moving_cloud, frame=moving_frame or frame, unit=moving_unit or unit).cloud
    check_pair(source.cloud, moving)  # before the progress bar, so that an error is one line
    for doubt in doubts(source.cloud, moving):
        run.warn(doubt)
    check_overlap(source.cloud.points, moving.points, file=moving_cloud)
    grid = _grid(grid_image, field_mm)
    if grid is not None:
        check_in_image(source.cloud.points, grid, file=fixed_cloud)
    result, start = _registered(run, source.cloud, moving, grid, model)
    gates = _gates(result, run.settings.untrusted_share)
    content = _write(out_dir, source, moving, result, {"gates": gates, **start})
    inputs = {"fixed_cloud": fixed_cloud, "moving_cloud": moving_cloud, "grid": grid_image, "model": model}
    run.recorder.fact("field", {} if field_mm is None else {"spacing_mm": field_mm})
    figures = {key: value for key, value in content.items() if key != "distance"}
    figures["seconds"] = round(result.seconds, 3)
    for gate in gates:
        warning = _warning(gate, content)
        if warning is not None:
            run.warn(warning)
    run.done(out_dir / "registration.json", inputs=inputs, result=figures)
