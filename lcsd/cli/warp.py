"""``lcsd warp``: points, images and masks through transforms."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from lcsd.build.provenance import Recorder
from lcsd.cli.common import Shown, set_threads, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, THREADS, choice
from lcsd.errors import BadInputError
from lcsd.io.files import written_files
from lcsd.names import SCANS, CloudFrame, Interpolation, Unit
from lcsd.numerics.device import progress_bar

if TYPE_CHECKING:
    from lcsd.io.images import Image
    from lcsd.transforms.chain import Moved, Part

MARKUPS = ".mrk.json"

FEW_PERCENT = 50.0
"""A warped image of which less comes from the input gets a warning."""


def _warn(message: str) -> None:
    say(f"lcsd warp: warning: {message}")


def _direction(source: str | None, target: str | None, inverse: bool, *, natural: str) -> bool:
    """Return whether the transforms are inverted; ``natural`` is the scan from which they are not."""
    other = {"fixed": "moving", "moving": "fixed"}
    source = source or (other[target] if target else (other[natural] if inverse else natural))
    if (target or other[source]) != other[source] or (inverse and source == natural):
        raise BadInputError(
            "--from, --to and --inverse contradict each other",
            code="bad_usage",
            expected=f"from {source} to {other[source]}",
            found=f"--to {target}" if target else f"--from {source} --inverse",
            remedy="give --from and --to, or --inverse alone",
        )
    return source != natural


def _moved(points: Any, chain: "Sequence[Part]", *, inverse: bool) -> "Moved":
    """Return points after the chain, and say what a user must know of them."""
    from lcsd.transforms.chain import RETURNED_MM, folding_percent, through

    moved = through(chain, points, inverse=inverse)
    outside = int(np.count_nonzero(~moved.known))
    if outside:
        _warn(
            f"{outside} of {len(points)} points lie outside a transform, which is unknown there; they are not reliable"
        )
    missed = int(np.count_nonzero(moved.residual[moved.known] > RETURNED_MM))
    if missed:
        _warn(
            f"{missed} of {len(points)} points have no exact inverse (off by up to {moved.residual.max():.2f} mm); "
            f"{folding_percent(chain):.2f} % of a field's voxels fold"
        )
    return moved


def _warp_points(
    source: Path, output: Path, chain: "Sequence[Part]", *, inverse: bool, frame: CloudFrame | None, unit: Unit | None
) -> "list[Moved]":
    """Warp a file of points into a file of the same format."""
    from lcsd.clouds.formats import read_cloud_file
    from lcsd.io.points import read_point_pairs, write_point_pairs
    from lcsd.io.tables import read_text
    from lcsd.landmarks.slicer import read_fcsv, read_markups, write_fcsv, write_markups
    from lcsd.transforms.order import check_landmarks

    def moved(points: Any) -> "Moved":
        return _moved(np.asarray(points, np.float64), chain, inverse=inverse)

    if source.name.lower().endswith(MARKUPS):
        lists = read_markups(source)
        found = [moved(part.points) for part in lists]
        write_markups(output, [replace(part, points=each.points) for part, each in zip(lists, found, strict=True)])
        return found
    if source.suffix.lower() == ".fcsv":
        part = read_fcsv(source)
        found = [moved(part.points)]
        write_fcsv(output, replace(part, points=found[0].points))
        return found
    if source.suffix.lower() == ".csv" and source.is_file() and "fixed_x" in read_text(source).partition("\n")[0]:
        pairs = read_point_pairs(source)
        start, goal = (pairs.moving, pairs.fixed) if inverse else (pairs.fixed, pairs.moving)
        found = [moved(start)]
        check_landmarks(found[0].points, start, goal, chain, inverse=inverse)
        # What was carried takes the place of the other scan's points.
        carried = found[0].points
        write_point_pairs(output, replace(pairs, fixed=carried) if inverse else replace(pairs, moving=carried))
        return found
    cloud = read_cloud_file(source, frame=frame, unit=unit)
    found = [moved(cloud.cloud.points)]
    cloud.write(output, found[0].points)
    return found


def _grid(chain: "Sequence[Part]", reference: Path | None, *, inverse: bool) -> Any:
    from lcsd.io.images import read_image

    if reference is not None:
        return read_image(reference).grid
    first = chain[0].domain
    if inverse or chain[0].field is None or first is None:
        raise BadInputError(
            "the grid of the warped image is unknown",
            code="missing_reference",
            field="--reference",
            remedy="give an image of the scan that --to names, whose voxels the result shall have",
        )
    return first


def _compare(image: "Image", other: "Image", chain: "Sequence[Part]", reference: Path, *, inverse: bool) -> None:
    """Warn if an image fits its reference clearly better by another use of the transforms."""
    from lcsd.transforms.order import better_for_images

    better = better_for_images(image, other, chain, inverse=inverse)
    if better is not None:
        words, mean, before = better
        _warn(
            f"the image fits {reference} better {words}: mean difference {mean:.0f} HU in place of {before:.0f}; "
            "check the order and the direction of --transform"
        )


def _read_chain(files: "Sequence[Path]", source: Path) -> "list[Part]":
    """Return the transforms; refuse those that contradict each other or the records next to them."""
    from lcsd.build.spaces import check_spaces
    from lcsd.transforms.chain import read_chain
    from lcsd.transforms.order import check_repeated

    chain = read_chain(files)
    check_repeated(chain, files)
    check_spaces(files, source)
    return chain


def _warp_image(
    source: Path,
    output: Path,
    chain: "Sequence[Part]",
    *,
    inverse: bool,
    reference: Path | None,
    interpolation: Interpolation | None,
    outside: float | None,
) -> dict[str, Any]:
    from lcsd.io.images import read_image, write_image
    from lcsd.transforms.chain import RETURNED_MM, folding_percent
    from lcsd.transforms.warp import is_label_map, warp_image

    image = read_image(source)
    labels = is_label_map(image.array)
    chosen: Interpolation = interpolation or ("nearest" if labels else "linear")
    border = outside if outside is not None else 0.0 if labels else float(image.array.min())
    try:
        warped = warp_image(
            image,
            chain,
            _grid(chain, reference, inverse=inverse),
            interpolation=chosen,
            inverse=inverse,
            outside=border,
            progress=lambda slices: progress_bar(slices, label="warp: inversion", unit="slice"),
        )
    except BadInputError as error:
        error.file = error.file or str(source)
        raise
    if warped.covered_percent < FEW_PERCENT:
        _warn(
            f"only {warped.covered_percent:.1f} % of the voxels of {output} come from {source}; the rest is {border:g}"
        )
    if warped.residual_mm > RETURNED_MM:
        _warn(
            f"the transforms have no exact inverse everywhere (off by up to {warped.residual_mm:.2f} mm); "
            f"{folding_percent(chain):.2f} % of a field's voxels fold"
        )
    if labels and chosen in {"linear", "bspline"} and len(np.unique(image.array)) > 2:
        _warn(f"{source} looks like a label map, and --interpolation {chosen} mixes its labels; use nearest")
    if reference is not None:
        _compare(image, read_image(reference), chain, reference, inverse=inverse)
    kind = image.array.dtype
    write_image(output, warped.image, dtype=kind.type if kind.kind in "iu" else np.float32)
    return {
        "interpolation": chosen,
        "outside": border,
        "covered_percent": round(warped.covered_percent, 3),
        "residual_max_mm": round(warped.residual_mm, 6),
    }


@click.command(epilog="Example: lcsd warp baseline.ply followup.ply --transform field.nii.gz --transform rigid.tfm")
@click.argument("source", metavar="INPUT", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@click.option(
    "--transform",
    "transforms",
    type=FILE,
    multiple=True,
    required=True,
    help="Displacement field (.nii.gz, .mha, .nrrd) or ITK transform, from fixed to moving points. Repeatable, in the "
    "order in which they move a point of the fixed scan.",
)
@click.option("--from", "begin", type=click.Choice(SCANS), help="Scan of INPUT.  [default: fixed; of images: moving]")
@click.option("--to", "end", type=click.Choice(SCANS), help="Scan of OUT.  [default: the other one]")
@click.option("--inverse", is_flag=True, help="Points from moving to fixed, or images from fixed to moving.")
@click.option(
    "--reference", type=FILE, help="Image whose voxels OUT has.  [default: the first transform's, if it is a field]"
)
@choice(
    "--interpolation", Interpolation, "How voxels are mixed.  [default: nearest for masks and label maps, else linear]"
)
@click.option("--outside", type=float, help="Value where INPUT ends.  [default: 0 for labels, else its smallest value]")
@choice("--frame", CloudFrame, "Frame of a cloud's coordinates.  [default: what the file says, else lps]")
@choice("--unit", Unit, "Unit of a cloud's coordinates.  [default: what the file says, else mm]")
@THREADS
@tool("warp")
def command(
    *,
    source: Path,
    output: Path,
    transforms: tuple[Path, ...],
    begin: str | None,
    end: str | None,
    inverse: bool,
    threads: int,
    frame: CloudFrame | None,
    unit: Unit | None,
    **of_image: Any,
) -> Shown:
    """Warp INPUT to OUT: points (all cloud formats, landmark CSV, .mrk.json, .fcsv), an image, mask or label map.

    Transforms map points of the fixed scan to points of the moving scan. So points of the fixed scan and images of the
    moving scan need no inversion. OUT has the format of INPUT; images are written as NIfTI.
    """
    set_threads(threads)
    from lcsd.io.images import is_image

    chain = _read_chain(transforms, source)
    with written_files() as written:
        recorded = {"from": begin, "to": end, "inverse": inverse, "frame": frame, "unit": unit, "threads": threads}
        recorded |= {name: of_image[name] for name in ("interpolation", "outside")}
        recorder = Recorder("warp", recorded, written=written)
        if is_image(source):
            inverted = _direction(begin, end, inverse, natural="moving")
            result = _warp_image(source, output, chain, inverse=inverted, **of_image)
        else:
            inverted = _direction(begin, end, inverse, natural="fixed")
            found = _warp_points(source, output, chain, inverse=inverted, frame=frame, unit=unit)
            result = {
                "points": sum(len(each.points) for each in found),
                "outside": sum(int(np.count_nonzero(~each.known)) for each in found),
                "residual_max_mm": round(max((float(each.residual.max(initial=0)) for each in found), default=0.0), 6),
            }
        inputs = {"input": source, **{f"transform_{number}": path for number, path in enumerate(transforms, 1)}}
        if of_image["reference"] is not None:
            inputs["reference"] = of_image["reference"]
        recorder.write(output, inputs=inputs)
    record = {"output": str(output), "inverted": inverted, **result}
    width = max(map(len, record))
    return Shown("\n".join(f"{name:{width}}  {value}" for name, value in record.items()), record)
