"""``lcsd landmarks``: convert, check, propose and compare landmark files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.cli.common import Run, stage
from lcsd.cli.options import FILE, choice, words_of
from lcsd.errors import BadInputError
from lcsd.names import Axes, FieldReading, FormatName, PairBy, TableFrame
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.landmarks import LandmarksSettings

if TYPE_CHECKING:
    from lcsd.geometry import Grid
    from lcsd.io.fields import DisplacementField
    from lcsd.io.images import Image
    from lcsd.landmarks.formats import Given, Grids
    from lcsd.landmarks.lists import Paired


@click.group(epilog="Example: lcsd landmarks check landmarks.csv --fixed-image baseline.nii.gz")
def command() -> None:
    """Convert, check, propose and compare landmark files (docs/landmarks.md)."""


def _images(function: Any) -> Any:
    """Add the options for the scans, whose grids give voxel positions a place."""
    moving = click.option("--moving-image", type=FILE, help="Follow-up scan (.nii.gz).")
    return click.option("--fixed-image", type=FILE, help="Baseline scan (.nii.gz).")(moving(function))


def _grid(path: Path | None) -> "Grid | None":
    from lcsd.io.images import read_image

    return None if path is None else read_image(path).grid


def _spacing(_: click.Context, __: click.Parameter, text: str | None) -> Any:
    """Return the three numbers in an option's text."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3:
        raise click.BadParameter("three numbers separated by commas, mm")
    return values


def _grids(fixed: Path | None, moving: Path | None, spacing: tuple[float, float, float] | None) -> "Grids":
    from lcsd.geometry import Grid
    from lcsd.landmarks.formats import Grids

    if spacing is None:
        return Grids(_grid(fixed), _grid(moving))
    if fixed is not None or moving is not None:
        raise BadInputError(
            "the scan already gives the voxel size",
            code="unused_option",
            field="--spacing",
            remedy="leave out --spacing, or --fixed-image and --moving-image",
        )
    # Without a scan its first voxel is at the origin; distances are right anywhere.
    only = Grid((1, 1, 1), spacing, (0.0, 0.0, 0.0))
    return Grids(only, only)


def _numbering(prefix: str, table: str) -> Any:
    """Return a decorator that adds the options that say what the numbers of a table mean."""

    def decorate(function: Any) -> Any:
        function = choice(f"--{prefix}axes", Axes, f"Order of the columns of {table}.")(function)
        base = click.Choice(["0", "1"])
        function = click.option(f"--{prefix}base", type=base, help=f"Index of the first voxel of {table}.")(function)
        return choice(f"--{prefix}frame", TableFrame, f"Frame of {table}.")(function)

    return decorate


@command.command(
    epilog="Example: lcsd landmarks convert copd1_iBH.txt copd1_eBH.txt landmarks.csv "
    "--from dirlab --fixed-image inhale.nii.gz --moving-image exhale.nii.gz"
)
@click.argument("inputs", nargs=-1, required=True, type=FILE)
@click.argument("output", type=FILE)
@click.option("--from", "source", type=words_of(FormatName), help="Format of the input.  [default: by the ending]")
@click.option("--to", "target", type=words_of(FormatName), help="Format of the output.  [default: by the ending]")
@click.option("--moving-out", type=FILE, help="File of the moving points, for formats with one file per scan.")
@_images
@click.option(
    "--spacing",
    callback=_spacing,
    metavar="X,Y,Z",
    help="Voxel size in mm if there is no scan; the first voxel is then the origin.",
)
@_numbering("", "the input table")
@_numbering("to-", "a generic output table")
@choice("--pair-by", PairBy, "How the points of two lists are matched.", default="label")
@click.option(
    "--proposed", type=FILE, help="CSV of lcsd landmarks propose; marks which points were corrected (column origin)."
)
@stage("landmarks", LandmarksSettings)
def convert(
    run: Run[LandmarksSettings],
    *,
    inputs: tuple[Path, ...],
    output: Path,
    source: FormatName | None,
    target: FormatName | None,
    moving_out: Path | None,
    fixed_image: Path | None,
    moving_image: Path | None,
    spacing: tuple[float, float, float] | None,
    pair_by: PairBy,
    proposed: Path | None,
    **numbers: Any,
) -> None:
    """Convert FIXED [MOVING] to OUTPUT, through LPS mm.

    The formats are lcsd (our CSV), slicer (.mrk.json), fcsv, dirlab, learn2reg, lung250m and
    generic. Files .mrk.json and .fcsv, and a .csv with our header, are recognised.
    """
    from lcsd.landmarks.formats import format_of, read_landmarks, write_landmarks

    files = _one_or_two(inputs)
    outputs = _new_files([output, moving_out], [*files, proposed])
    source = source or format_of(files[0], reading=True)
    target = target or format_of(output, reading=False)
    given, into = _given(source, target, numbers)
    grids = _grids(fixed_image, moving_image, spacing)
    read = read_landmarks(files, source, grids=grids, given=given, by=pair_by)
    if spacing is None:
        _check_inside(read, grids, file=files[0])
    pairs = read.pairs if proposed is None else _with_origin(read, proposed, run)
    if read.unset:
        run.say(f"{len(read.unset)} points without a position in a scan left out")
    write_landmarks(outputs, target, pairs, grids=grids, given=into, notes=read.notes)
    named = {
        "fixed": files[0],
        "moving": files[-1] if len(files) == 2 else None,
        "fixed_image": fixed_image,
        "moving_image": moving_image,
        "proposed": proposed,
    }
    result: dict[str, Any] = {"landmarks": len(pairs), "from": source, "to": target}
    for kind in ("manual", "corrected", "predicted"):
        if proposed is not None:
            result[kind] = sum(o.partition(":")[0] == kind for o in pairs.origin or ())
    run.done(output, inputs=named, result=result)


def _given(source: str, target: str, options: dict[str, Any]) -> "tuple[Given, Given]":
    """Return what the user says about both tables; options that would change nothing are refused."""
    from lcsd.landmarks.formats import TABLES, Given

    found = []
    for prefix, takes, what in (
        ("", source in TABLES, f"the format {source} defines what its numbers mean"),
        ("to_", target == "generic", f"the format {target} is always written the same way"),
    ):
        named = {name: options[f"{prefix}{name}"] for name in ("frame", "base", "axes")}
        given = [f"--{prefix}{name}".replace("_", "-") for name, value in named.items() if value is not None]
        if given and not takes:
            raise BadInputError(
                what,
                code="unused_option",
                field=", ".join(given),
                remedy="leave it out; --frame, --base and --axes are for an input table, --to-frame, --to-base and "
                "--to-axes for a generic output table",
            )
        base = None if named["base"] is None else int(named["base"])
        found.append(Given(named["frame"], base, named["axes"]))
    return found[0], found[1]


def _one_or_two(inputs: tuple[Path, ...]) -> list[Path]:
    if len(inputs) > 2:
        raise BadInputError(
            "too many files", code="too_many_files", expected="FIXED [MOVING] OUTPUT", found=f"{len(inputs) + 1} files"
        )
    return list(inputs)


def _new_files(outputs: list[Path | None], inputs: list[Path | None]) -> list[Path]:
    """Return the outputs; refuse one that is an input or is given twice."""
    taken = {path.resolve() for path in inputs if path is not None}
    kept = [path for path in outputs if path is not None]
    for path in kept:
        if path.resolve() in taken:
            raise BadInputError(
                "the output is an input or another output",
                code="same_file",
                file=path,
                remedy="give every file a different name",
            )
        taken.add(path.resolve())
    return kept


def _check_inside(read: "Paired", grids: "Grids", *, file: Path) -> None:
    from lcsd.landmarks.checks import check_frame

    for which, points, grid in (("fixed", read.pairs.fixed, grids.fixed), ("moving", read.pairs.moving, grids.moving)):
        if grid is not None:
            check_frame(points, grid, which=which, file=file)


def _with_origin(read: "Paired", proposed: Path, run: Run[LandmarksSettings]) -> Any:
    from lcsd.io.points import read_point_pairs
    from lcsd.landmarks.origin import mark_origins

    return mark_origins(read, read_point_pairs(proposed), moved_mm=run.settings.moved_mm)


@command.command(
    epilog="Example: lcsd landmarks check landmarks.csv --fixed-image baseline.nii.gz "
    "--moving-image followup.nii.gz --correspondences correspondences.csv --table review.csv"
)
@click.argument("landmarks", type=FILE)
@click.argument("moving_landmarks", type=FILE, required=False)
@_images
@click.option("--fixed-mask", type=FILE, help="Lung mask of the baseline scan (.nii.gz).")
@click.option(
    "--correspondences", type=FILE, help="Point motion (.csv) in the space of the landmarks; outliers are listed."
)
@click.option("--table", type=FILE, help="Write the findings to this file (.csv).")
@stage("landmarks", LandmarksSettings)
def check(run: Run[LandmarksSettings], *, landmarks: Path, table: Path | None, **files: Path | None) -> None:
    """Check landmarks; points that a person should look at are listed, without an error.

    LANDMARKS is our CSV, or a file of another program that names its frame (.mrk.json, .fcsv, a table with r,a,s or
    l,p,s, a point set of elastix), with MOVING_LANDMARKS if it has points of the baseline only.
    """
    from lcsd.io.files import write_table
    from lcsd.io.images import read_mask
    from lcsd.io.points import read_point_pairs
    from lcsd.landmarks.checks import FINDING_COLUMNS, check_landmarks
    from lcsd.landmarks.formats import read_stated

    mask, correspondences = files["fixed_mask"], files["correspondences"]
    read = read_stated([landmarks, *filter(None, [files["moving_landmarks"]])])
    if read.unset:
        run.say(f"{len(read.unset)} points without a position in a scan left out")
    found = check_landmarks(
        read.pairs,
        fixed=_grid(files["fixed_image"]),
        moving=_grid(files["moving_image"]),
        mask=None if mask is None else read_mask(mask),
        correspondences=None if correspondences is None else read_point_pairs(correspondences),
        settings=run.settings,
        file=landmarks,
    )
    for row in found.rows if table is None else ():
        run.say("{finding}: row {row} {id} ({scan}, {mm} mm)".format(**row))
    if table is not None:
        write_table(table, FINDING_COLUMNS, found.rows)
    run.done(table, inputs={"landmarks": landmarks, **files}, result=found.figures)


@command.command(epilog="Example: lcsd landmarks agreement first.csv second.csv --json")
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--table", type=FILE, help="Write the distances of every landmark to this file (.csv).")
@stage("landmarks", LandmarksSettings)
def agreement(run: Run[LandmarksSettings], *, first: Path, second: Path, table: Path | None) -> None:
    """Measure how far apart two observers, or one observer twice, set the same landmarks, mm."""
    from lcsd.evaluation import agreement as agreements
    from lcsd.io.files import write_table
    from lcsd.landmarks.formats import read_stated

    ids, apart = agreements.distances(read_stated([first]).pairs, read_stated([second]).pairs, files=(first, second))
    if table is not None:
        columns = ("id", "fixed_mm", "moving_mm", "motion_mm")
        rows: list[dict[str, object]] = [
            dict(zip(columns, (name, *(f"{v:.4f}" for v in row)), strict=True))
            for name, row in zip(ids, apart, strict=True)
        ]
        write_table(table, columns, rows)
    run.done(table, inputs={"first": first, "second": second}, result=agreements.agreement(apart))


@command.command(
    epilog="Example: lcsd landmarks propose images/fixed.nii.gz images/moving.nii.gz "
    "--fixed-mask images/fixed_mask.nii.gz --out-dir proposal"
)
@click.argument("fixed", type=FILE)
@click.argument("moving", type=FILE, required=False)
@click.option("--fixed-mask", type=FILE, required=True, help="Lung mask of FIXED (.nii.gz).")
@click.option("--out-dir", type=FILE, required=True, help="Folder for the lists.")
@click.option(
    "--field", type=FILE, help="Displacement field (.nii.gz) that predicts the matches.  [default: by corrfield]"
)
@choice("--field-as", FieldReading, "What the vectors of --field are.  [default: displacement (LPS mm)]")
@click.option(
    "--method", default="corrfield", show_default=True, help="Method that made --field, for the column origin."
)
@click.option("--blind", is_flag=True, help="Write no matches: the moving list has labels without positions.")
@click.option("--count", type=int, help="Number of landmarks to propose.  [default: the setting count]")
@stage(
    "landmarks",
    LandmarksSettings,
    also={"correspond": CorrespondSettings},
    on_device=True,
    shortcuts={"count": "count={}"},
)
def propose(
    run: Run[LandmarksSettings],
    *,
    fixed: Path,
    moving: Path | None,
    fixed_mask: Path,
    out_dir: Path,
    field: Path | None,
    field_as: FieldReading | None,
    method: str,
    blind: bool,
) -> None:
    """Propose landmarks in FIXED and their matches in MOVING, to be corrected in 3D Slicer.

    Both scans are on one grid, such as those in the folder images/ of a case. OUT_DIR gets
    fixed.mrk.json, moving.mrk.json and, with matches, proposal.csv.
    """
    import numpy as np

    from lcsd.io.images import read_image, read_mask
    from lcsd.landmarks.proposal_files import check_new, write_blind, write_proposal
    from lcsd.landmarks.propose import distinctive_points, propose_landmarks

    check_new(out_dir)
    image = read_image(fixed)
    mask = read_mask(fixed_mask, like=image.grid)
    names = (f"fixed {fixed.name}", f"moving {'' if moving is None else moving.name}".strip())
    inputs = {"fixed": fixed, "fixed_mask": fixed_mask}
    options = {"settings": run.settings, "corrfield": run.sections["correspond"]}
    if blind:
        points = distinctive_points(image, mask, **options)
        write_blind(out_dir, points, names)
        run.done(out_dir / "fixed.mrk.json", inputs=inputs, result={"landmarks": len(points)})
        return
    if moving is None:
        raise BadInputError(
            "a match needs the follow-up scan",
            code="missing_input",
            field="MOVING",
            remedy="pass it, or use --blind for a list without matches",
        )
    other = read_image(moving)
    motion = _corrfield(run, image, other, mask) if field is None else _given_field(field, field_as, image, other)
    found = propose_landmarks(image, other, mask, motion, method=method, device=run.device, **options)
    write_proposal(out_dir, found, names)
    inside = found.doubt[np.isfinite(found.doubt)]
    result = {
        "landmarks": len(found.pairs),
        "outside": len(found.doubt) - len(inside),
        "doubt_median_mm": float(np.median(inside)),
        "doubt_max_mm": float(inside.max()),
    }
    run.done(out_dir / "proposal.csv", inputs={**inputs, "moving": moving, "field": field}, result=result)


def _given_field(path: Path, reading: FieldReading | None, fixed: "Image", moving: "Image") -> "DisplacementField":
    """Return the given field; refuse vectors that are clearly something else than they are read as."""
    from lcsd.readings.motion import check_size_of_motion, read_as
    from lcsd.transforms.order import check_field
    from lcsd.transforms.read import Meaning, stored_field

    stored = stored_field(path, Meaning(reading=reading, grid=fixed.grid))
    if reading is None:
        check_size_of_motion(stored)
    check_field(stored, reading or "displacement", moving, fixed)
    return read_as(stored, reading or "displacement")


def _corrfield(run: Run[LandmarksSettings], fixed: "Image", moving: "Image", mask: "Image") -> "DisplacementField":
    from lcsd.corrfield.correspond import find_correspondences

    return find_correspondences(
        fixed, moving, mask, settings=run.sections["correspond"], device=run.device, progress=run.say
    ).field
