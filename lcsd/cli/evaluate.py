"""``lcsd evaluate``: errors of a registration at landmarks."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice, setting
from lcsd.errors import BadInputError
from lcsd.names import SCANS, Axes, FieldReading, Layout, ProtocolName, Space
from lcsd.settings.evaluate import EvaluateSettings

if TYPE_CHECKING:
    from lcsd.evaluation.evaluate import TreResult
    from lcsd.evaluation.protocols import Protocol
    from lcsd.geometry import Grid


@click.command(
    epilog="Example: lcsd evaluate --landmarks landmarks.csv --field field.nii.gz "
    "--rigid rigid.tfm --mask lungs.nii.gz --out divroc.json"
)
@click.option(
    "--landmarks", type=FILE, required=True, help="Landmarks: our CSV (LPS mm), or a file of another program."
)
@click.option(
    "--moving-landmarks", type=FILE, help="The follow-up's landmarks, if --landmarks has the baseline's only."
)
@click.option(
    "--field",
    type=FILE,
    help="Displacement field on the fixed grid (.nii.gz, .mha, .nrrd), or an array (.npz, .npy, .pt).",
)
@click.option("--correspondences", type=FILE, help="Point motion in common space (.csv).")
@click.option(
    "--transform",
    "transforms",
    type=FILE,
    multiple=True,
    help="ITK transform of fixed to moving points, LPS mm (.tfm, .h5, .mat, or a field .nii.gz). Repeatable, in the "
    "order in which they move a point of the fixed scan (of ANTs: the warp, then the affine).",
)
@click.option("--disp", type=FILE, help="Learn2Reg displacement field, in voxels (disp_*.nii.gz, .npz).")
@choice(
    "--protocol",
    ProtocolName,
    "Measure as a published benchmark does: lung250m (--correspondences and --grid), learn2reg (--disp) or dirlab "
    "(--snap); see docs/evaluation.md.  [default: ours]",
)
@click.option(
    "--grid",
    type=FILE,
    help="With --disp, an array or --protocol lung250m: the fixed image.  [default with --disp: its own affine]",
)
@click.option("--moving-grid", type=FILE, help="With --grid or --disp: the moving image, if its grid differs.")
@click.option("--fixed-labels", type=FILE, help="With --protocol learn2reg: label map of the fixed image.")
@click.option("--moving-labels", type=FILE, help="With --protocol learn2reg: label map of the moving image.")
@choice(
    "--field-as",
    FieldReading,
    "What the vectors of --field or --disp are.  [default: displacement (LPS mm) for --field, voxel for --disp; "
    "arrays need it]",
)
@choice("--axes", Axes, "Order of an array's axes: xyz (nibabel) or zyx (SimpleITK).  [default: what fits --grid]")
@choice("--layout", Layout, "Whether an array's components are its first or last axis.  [default: where 3 is]")
@click.option("--key", help="Name of the array in .npz or .pt.  [default: the only one]")
@click.option("--rigid", type=FILE, help="Transform (.tfm) from common space to the follow-up scan.")
@choice(
    "--landmarks-frame",
    Space,
    "Space of the moving landmarks: the follow-up scan or common space.  [default: native with --rigid, else common]",
)
@click.option("--mask", type=FILE, help="Fixed lung mask in common space, for the quality of the motion.")
@click.option(
    "--snap",
    type=FILE,
    metavar="IMAGE",
    help="Snap predicted landmarks to the nearest voxel centre of IMAGE, the scan of the moving landmarks, before the "
    "error is computed (as DIR-Lab does).",
)
@setting("--extrapolate", EvaluateSettings, "How the motion of correspondences reaches the landmarks.")
@click.option("--method", help="Name of the method.  [default: the name of --out without .json]")
@click.option("--out", type=FILE, help="Write all figures to this file (.json).")
@click.option("--table", type=FILE, help="Write the error of every landmark to this file (.csv).")
@stage("evaluate", EvaluateSettings, shortcuts={"extrapolate": "extrapolate={}"})
def command(
    run: Run[EvaluateSettings],
    *,
    landmarks: Path,
    landmarks_frame: Space | None,
    method: str | None,
    out: Path | None,
    table: Path | None,
    transforms: tuple[Path, ...],
    field_as: FieldReading | None,
    protocol: ProtocolName | None,
    axes: Axes | None,
    layout: Layout | None,
    key: str | None,
    **files: Path | None,
) -> None:
    """Score a registration at landmarks: errors before and after, mm.

    A landmark is a pair of positions, one in the baseline scan and one in the follow-up scan. Files of other
    programs are .mrk.json, .fcsv, point sets of elastix, and tables with r,a,s or l,p,s. The
    registration is one of --field, --correspondences, --transform and --disp.
    """
    from lcsd.build.jobs import method_of
    from lcsd.build.provenance import cost_of
    from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
    from lcsd.io.files import write_json, write_table
    from lcsd.landmarks.formats import read_stated

    read = read_stated([landmarks, *filter(None, [files["moving_landmarks"]])])
    if read.unset:
        run.warn(f"{landmarks}: {len(read.unset)} points without a position in a scan are left out")
    result = evaluate_tre(
        read.pairs,
        **_read(files, transforms, {"reading": field_as, "axes": axes, "layout": layout, "key": key}, protocol),
        extrapolate=run.settings.extrapolate,
        tps_smoothing=run.settings.tps_smoothing,
        landmarks_frame=landmarks_frame,
        method=method or (None if out is None else method_of(out)),
        file=landmarks,
    )
    _warn(run, result, landmarks)
    figures = result.figures()
    if table is not None:
        write_table(table, LANDMARK_COLUMNS, result.rows())
    if out is not None:
        write_json(out, figures)
    run.recorder.fact("landmarks", {"frame": result.landmarks_frame})
    scored = [path for path in (files["field"], files["correspondences"], files["disp"], *transforms) if path]
    run.recorder.fact("registration", cost_of(scored[0]) if scored else {})
    named = {f"transform_{number}": path for number, path in enumerate(transforms, 1)}
    run.done(out, inputs={"landmarks": landmarks, **files, **named}, result=figures)


def _read(
    files: dict[str, Path | None], transforms: Sequence[Path], of_field: dict[str, Any], protocol: ProtocolName | None
) -> dict[str, Any]:
    """Return the contents of the given files as arguments of :func:`evaluate_tre`."""
    from lcsd.io.images import is_image, read_image, read_mask, read_rigid
    from lcsd.io.points import read_point_pairs
    from lcsd.transforms.chain import as_itk, read_chain
    from lcsd.transforms.read import Meaning, read_motion, stored_field

    if any(of_field.values()) and files["field"] is None and files["disp"] is None:
        raise BadInputError(
            "only the vectors of a field have several meanings",
            code="bad_option",
            field="--field-as, --axes, --layout, --key",
            expected="--field or --disp",
            remedy="leave it out",
        )
    grids = {
        name: read_image(path).grid
        for name, path in files.items()
        if name in ("grid", "moving_grid", "snap") and path is not None
    }
    array = files["field"] is not None and not is_image(files["field"])
    if files["disp"] is None and not array and protocol != "lung250m" and not grids.keys() <= {"snap"}:
        raise BadInputError(
            "only a Learn2Reg field or an array needs a grid",
            code="bad_option",
            field="--grid, --moving-grid",
            expected="--disp, an array as --field, or --protocol lung250m",
            remedy="leave the grids out",
        )
    meaning = Meaning(**of_field, grid=grids.get("grid"), moving_grid=grids.get("moving_grid"))
    readers: dict[str, Callable[[Path], Any]] = {
        "field": lambda path: stored_field(path, meaning),
        "correspondences": read_point_pairs,
        "disp": lambda path: read_motion(path, replace(meaning, format="learn2reg", reading=None)),
        "rigid": read_rigid,
        "mask": read_mask,
    }
    contents = {name: read(path) for name, read in readers.items() if (path := files[name]) is not None}
    if transforms:
        contents["transform"] = as_itk(read_chain(transforms))
    return {
        **contents,
        "field_as": meaning.reading,
        "snap": grids.get("snap"),
        "protocol": _protocol(protocol, files, grids),
    }


def _protocol(name: ProtocolName | None, files: dict[str, Path | None], grids: dict[str, "Grid"]) -> "Protocol | None":
    """Return the protocol with its label maps and grids; refuse one label map alone, or without a protocol."""
    from lcsd.evaluation.learn2reg_figures import LabelMaps
    from lcsd.evaluation.lung250m import Lung250mGrids
    from lcsd.evaluation.protocols import Protocol
    from lcsd.io.images import read_image

    maps = [files[f"{scan}_labels"] for scan in SCANS]
    given = [path for path in maps if path is not None]
    if len(given) == 1 or (given and name is None):
        raise BadInputError(
            "label maps are scored in pairs, under a protocol",
            code="bad_option",
            field="--fixed-labels, --moving-labels",
            expected="both, with --protocol learn2reg",
            remedy="give both, or leave them out",
        )
    if name is None:
        return None
    fixed = grids.get("grid")
    return Protocol(
        name,
        None if name != "lung250m" or fixed is None else Lung250mGrids(fixed, grids.get("moving_grid", fixed)),
        LabelMaps(*(read_image(path) for path in given)) if given else None,
    )


def _warn(run: Run[EvaluateSettings], result: "TreResult", landmarks: Path) -> None:
    """Warn of what makes the figures look better than they are."""
    count = len(result.tre)
    if count > 1 and not result.before.any():
        run.warn(f"{landmarks}: both scans have the same positions, as if one list had been given twice")
    covered = result.quality_covered_percent
    if covered is not None and covered < 100:
        of = f"the quality of the motion is measured in {covered:.1f} % of the mask"
        none = "no voxel of the mask is known, so the quality of the motion is not measured"
        run.warn(f"the transform is not known in the whole mask; {of if covered else none}")
    if result.circular_landmarks:
        run.warn(
            f"{landmarks}: {result.circular_landmarks} of {count} landmarks are also correspondences; "
            "their error is circular"
        )
    if result.seeded_landmarks:
        run.warn(
            f"{landmarks}: {result.seeded_landmarks} of {count} landmarks were proposed by {result.method} itself; "
            "its error there is too small"
        )
