"""``lcsd evaluate``: errors of a registration at landmarks."""

from pathlib import Path

import click

from lcsd.cli.common import FILE, Run, say, stage
from lcsd.settings.evaluate import EvaluateSettings


@click.command(
    epilog="Example: lcsd evaluate --landmarks landmarks.csv --field field.nii.gz "
    "--rigid rigid.tfm --mask lungs.nii.gz --out divroc.json"
)
@click.option("--landmarks", type=FILE, required=True, help="Landmark CSV, LPS mm.")
@click.option("--field", type=FILE, help="Displacement field on the fixed grid (.nii.gz).")
@click.option("--correspondences", type=FILE, help="Point motion in common space (.csv).")
@click.option(
    "--rigid", type=FILE, help="Transform (.tfm) from common space to the follow-up scan."
)
@click.option(
    "--landmarks-frame", type=click.Choice(["native", "common"]),
    help="Where the moving landmarks are: in the follow-up scan or in common space.  "
    "[default: native with --rigid, else common]",
)  # fmt: skip
@click.option("--mask", type=FILE, help="Fixed lung mask in common space, for the field's quality.")
@click.option(
    "--extrapolate", type=click.Choice(["tps", "divroc"]),
    help="How correspondences reach the landmarks.  [default: the configuration's]",
)  # fmt: skip
@click.option("--method", help="Name of the method.  [default: the name of --out]")
@click.option("--out", type=FILE, help="Where to write all figures (.json).")
@click.option("--table", type=FILE, help="Where to write the error of every landmark (.csv).")
@stage("evaluate", EvaluateSettings)
def command(
    run: Run[EvaluateSettings],
    *,
    landmarks: Path,
    field: Path | None,
    correspondences: Path | None,
    rigid: Path | None,
    landmarks_frame: str | None,
    mask: Path | None,
    extrapolate: str | None,
    method: str | None,
    out: Path | None,
    table: Path | None,
) -> None:
    """Score a displacement field or correspondences at landmarks: errors before and after, mm.

    Landmarks are pairs of a position in the baseline scan and one in the follow-up scan.
    """
    from lcsd.config import override  # noqa: PLC0415
    from lcsd.evaluation.tre import LANDMARK_COLUMNS, evaluate_tre  # noqa: PLC0415
    from lcsd.files import write_json, write_table  # noqa: PLC0415
    from lcsd.images import read_field, read_mask, read_rigid  # noqa: PLC0415
    from lcsd.points import read_point_pairs  # noqa: PLC0415

    assignments = [] if extrapolate is None else [f"extrapolate={extrapolate}"]
    settings = override(run.settings, assignments, section="evaluate")
    result = evaluate_tre(
        read_point_pairs(landmarks),
        field=None if field is None else read_field(field),
        correspondences=None if correspondences is None else read_point_pairs(correspondences),
        rigid=None if rigid is None else read_rigid(rigid),
        mask=None if mask is None else read_mask(mask),
        extrapolate=settings.extrapolate,
        tps_smoothing=settings.tps_smoothing,
        landmarks_frame=landmarks_frame,  # type: ignore[arg-type]
        method=method or (None if out is None else out.name.split(".")[0]),
        file=landmarks,
    )
    if result.circular_landmarks:
        say(
            f"lcsd evaluate: warning: {landmarks}: {result.circular_landmarks} of "
            f"{len(result.tre)} landmarks are themselves correspondences; their error is circular"
        )
    figures = result.figures()
    if table is not None:
        write_table(table, LANDMARK_COLUMNS, result.rows())
    if out is not None:
        write_json(out, figures)
    given = {
        "landmarks": landmarks, "field": field, "correspondences": correspondences,
        "rigid": rigid, "mask": mask,
    }  # fmt: skip
    run.done(
        out, inputs={name: path for name, path in given.items() if path is not None}, result=figures
    )
