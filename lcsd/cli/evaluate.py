"""``lcsd evaluate``: errors of a registration at landmarks."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.evaluate import EvaluateSettings

if TYPE_CHECKING:
    from lcsd.evaluation.evaluate import TreResult


@click.command(
    epilog="Example: lcsd evaluate --landmarks landmarks.csv --field field.nii.gz "
    "--rigid rigid.tfm --mask lungs.nii.gz --out divroc.json"
)
@click.option("--landmarks", type=FILE, required=True, help="Landmark CSV, LPS mm.")
@click.option("--field", type=FILE, help="Displacement field on the fixed grid (.nii.gz).")
@click.option("--correspondences", type=FILE, help="Point motion in common space (.csv).")
@click.option("--transform", type=FILE, help="ITK transform of fixed to moving points, LPS mm (.tfm, .h5, .mat).")
@click.option("--disp", type=FILE, help="Learn2Reg displacement field, in voxels (disp_*.nii.gz).")
@click.option("--grid", type=FILE, help="With --disp: the fixed image.  [default: the field's own affine]")
@click.option(
    "--moving-grid", type=FILE, help="With --disp: the moving image, if it has other voxels than the fixed one."
)
@click.option("--rigid", type=FILE, help="Transform (.tfm) from common space to the follow-up scan.")
@click.option(
    "--landmarks-frame",
    type=click.Choice(["native", "common"]),
    help="Where the moving landmarks are: in the follow-up scan or in common space.  "
    "[default: native with --rigid, else common]",
)
@click.option("--mask", type=FILE, help="Fixed lung mask in common space, for the quality of the motion.")
@click.option(
    "--snap",
    type=FILE,
    metavar="IMAGE",
    help="Move carried landmarks to the nearest voxel centre of IMAGE, the scan of the moving "
    "landmarks, before the error (DIR-Lab).",
)
@click.option(
    "--extrapolate",
    type=click.Choice(["tps", "divroc", "knn"]),
    help="How correspondences reach the landmarks.  [default: the configuration's]",
)
@click.option("--method", help="Name of the method.  [default: the name of --out without .json]")
@click.option("--out", type=FILE, help="Where to write all figures (.json).")
@click.option("--table", type=FILE, help="Where to write the error of every landmark (.csv).")
@stage("evaluate", EvaluateSettings)
def command(
    run: Run[EvaluateSettings],
    *,
    landmarks: Path,
    extrapolate: str | None,
    landmarks_frame: str | None,
    method: str | None,
    out: Path | None,
    table: Path | None,
    **files: Path | None,
) -> None:
    """Score a registration at landmarks: errors before and after, mm.

    Landmarks are pairs of a position in the baseline scan and one in the follow-up scan. The
    registration is one of --field, --correspondences, --transform and --disp.
    """
    from lcsd.build.jobs import method_of
    from lcsd.config import override
    from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
    from lcsd.io.files import write_json, write_table
    from lcsd.io.points import read_point_pairs

    assignments = [] if extrapolate is None else [f"extrapolate={extrapolate}"]
    settings = override(run.settings, assignments, section="evaluate")
    result = evaluate_tre(
        read_point_pairs(landmarks),
        **_read(files),
        extrapolate=settings.extrapolate,
        tps_smoothing=settings.tps_smoothing,
        landmarks_frame=landmarks_frame,  # type: ignore[arg-type]
        method=method or (None if out is None else method_of(out)),
        file=landmarks,
    )
    _warn(result, landmarks)
    figures = result.figures()
    if table is not None:
        write_table(table, LANDMARK_COLUMNS, result.rows())
    if out is not None:
        write_json(out, figures)
    run.recorder.fact("landmarks", {"frame": result.landmarks_frame})
    given = {"landmarks": landmarks, **files}
    run.done(out, inputs={name: path for name, path in given.items() if path is not None}, result=figures)


def _read(files: dict[str, Path | None]) -> dict[str, Any]:
    """Return the contents of the given files as arguments of :func:`evaluate_tre`."""
    from lcsd.errors import BadInputError
    from lcsd.evaluation.learn2reg import read_disp
    from lcsd.evaluation.transforms import read_transform
    from lcsd.io.fields import read_field
    from lcsd.io.images import read_image, read_mask, read_rigid
    from lcsd.io.points import read_point_pairs

    grids = {
        name: read_image(path).grid
        for name, path in files.items()
        if name in ("grid", "moving_grid", "snap") and path is not None
    }
    if files["disp"] is None and not grids.keys() <= {"snap"}:
        raise BadInputError(
            "the option does not fit",
            code="bad_option",
            field="--grid, --moving-grid",
            expected="--disp",
            remedy="only a Learn2Reg field is in voxels; drop it",
        )
    readers: dict[str, Callable[[Path], Any]] = {
        "field": read_field,
        "correspondences": read_point_pairs,
        "transform": read_transform,
        "disp": lambda path: read_disp(path, grid=grids.get("grid"), moving_grid=grids.get("moving_grid")),
        "rigid": read_rigid,
        "mask": read_mask,
    }
    contents = {name: read(path) for name, read in readers.items() if (path := files[name]) is not None}
    return {**contents, "snap": grids.get("snap")}


def _warn(result: "TreResult", landmarks: Path) -> None:
    """Say what makes the figures look better than they are."""
    count = len(result.tre)
    covered = result.quality_covered_percent
    if covered is not None and covered < 100:
        of = f"the quality of the motion is that of {covered:.1f} % of the mask"
        say(
            "lcsd evaluate: warning: the transform is not known in all of the mask; "
            + (of if covered else "as nowhere in it, there are no figures of its quality")
        )
    if result.circular_landmarks:
        say(
            f"lcsd evaluate: warning: {landmarks}: {result.circular_landmarks} of "
            f"{count} landmarks are themselves correspondences; their error is circular"
        )
    if result.seeded_landmarks:
        say(
            f"lcsd evaluate: warning: {landmarks}: {result.seeded_landmarks} of {count} landmarks "
            f"were seeded by {result.method} itself; its error there is too small"
        )
