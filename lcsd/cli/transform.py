"""``lcsd transform``: transforms in the conventions of other programs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lcsd.build.provenance import Recorder
from lcsd.cli.common import Shown, aligned, set_threads, tool
from lcsd.cli.failures import say
from lcsd.cli.options import FILE, THREADS, choice
from lcsd.io.files import written_files
from lcsd.names import Axes, FieldReading, Layout, TransformFormat

if TYPE_CHECKING:
    from lcsd.transforms.convert import Converted
    from lcsd.transforms.read import Meaning

MOSTLY_PERCENT = 50.0
"""If more end points are outside the moving scan, the transform belongs to other scans, or goes the other way."""

SMALL_VOXELS = 0.5
"""A field in voxels whose vectors are all shorter may hold other units."""


@click.group(epilog="Example: lcsd transform convert disp_0001_0002.nii.gz field.h5 --grid baseline.nii.gz")
def command() -> None:
    """Convert transforms between the conventions of programs (docs/transforms.md)."""


@command.command(
    epilog="Example: lcsd transform convert flow.npy field.nii.gz --field-as voxel --axes xyz --grid baseline.nii.gz"
)
@click.argument("source", metavar="INPUT", type=FILE)
@click.argument("output", metavar="OUTPUT", type=FILE)
@choice("--from-format", TransformFormat, "Convention of INPUT.  [default: by name and content]")
@choice("--to-format", TransformFormat, "Convention of OUTPUT.  [default: by name]")
@click.option("--grid", type=FILE, help="Fixed image: the voxels of files without geometry, and of the written field.")
@click.option("--moving-grid", type=FILE, help="Moving image, if its grid differs from the fixed one (Learn2Reg).")
@choice("--field-as", FieldReading, "What the vectors of INPUT are; arrays need it.  [default: by the convention]")
@choice("--axes", Axes, "Order of the axes of an array: xyz (nibabel) or zyx (SimpleITK).  [default: what fits --grid]")
@choice("--layout", Layout, "Whether the components are the first or the last axis of an array.  [default: where 3 is]")
@click.option("--key", help="Name of the array in .npz or .pt.  [default: the only one]")
@choice("--to-as", FieldReading, "What the vectors of a written array are.")
@choice("--to-axes", Axes, "Order of the axes of a written array.  [default: xyz]")
@choice("--to-layout", Layout, "Axis of the components of a written array.  [default: first]")
@click.option("--half", is_flag=True, help="Write Learn2Reg's first edition: .npz of half resolution, float16.")
@THREADS
@tool("transform convert")
def convert(
    *,
    source: Path,
    output: Path,
    from_format: TransformFormat | None,
    to_format: TransformFormat | None,
    grid: Path | None,
    moving_grid: Path | None,
    field_as: FieldReading | None,
    axes: Axes | None,
    layout: Layout | None,
    key: str | None,
    to_as: FieldReading | None,
    to_axes: Axes | None,
    to_layout: Layout | None,
    half: bool,
    threads: int,
) -> Shown:
    """Convert the transform INPUT to the convention of OUTPUT; both map fixed to moving points.

    Conventions: itk (displacement .nii.gz, .mha, .nrrd, .tfm, .h5), ants (warp .nii.gz), slicer (.h5, .tfm), learn2reg
    (disp_*.nii.gz, .npz), array (.npz, .npy, .pt of VoxelMorph and others), landmarks (CSV, read as a thin-plate
    spline).
    """
    set_threads(threads)
    from lcsd.io.images import read_image
    from lcsd.transforms.convert import convert as convert_to
    from lcsd.transforms.convert import target_of
    from lcsd.transforms.read import Meaning, read_motion

    target = target_of(output, to_format, to_as, axes=to_axes, layout=to_layout, half=half)
    grids = {name: read_image(path).grid for name, path in (("grid", grid), ("moving_grid", moving_grid)) if path}
    meaning = Meaning(from_format, field_as, axes, layout, key, **grids)
    with written_files() as written:
        recorded = {"from_format": from_format, "field_as": field_as, "axes": axes, "layout": layout, "key": key}
        recorder = Recorder("transform", {**recorded, **vars(target), "threads": threads}, written=written)
        motion = read_motion(source, meaning)
        done = convert_to(motion, source, output, target, meaning)
        _warn(done, meaning, source)
        inputs = {"input": source, "grid": grid, "moving_grid": moving_grid}
        recorder.write(output, inputs={name: path for name, path in inputs.items() if path is not None})
    record = {"output": str(output), "format": target.format, **_figures(done)}
    return Shown(aligned(record), record)


def _figures(done: "Converted") -> dict[str, Any]:
    import numpy as np

    if done.field is None:
        return {"kept": "the transform is as it was"}
    lengths = np.linalg.norm(done.field.vectors, axis=-1)
    return {
        "voxels": " x ".join(map(str, done.field.grid.size)),
        "motion_median_mm": round(float(np.median(lengths)), 4),
        "motion_max_mm": round(float(lengths.max()), 4),
        "unknown_percent": round(done.unknown_percent, 3),
        "difference_max_mm": round(done.difference_mm, 6),
    }


def _warn(done: "Converted", meaning: "Meaning", source: Path) -> None:
    """Say what makes the result unlikely, or known in parts only."""
    import numpy as np

    from lcsd.transforms.convert import outside_percent

    if done.field is None:
        return
    if done.unknown_percent:
        say(f"lcsd transform: warning: {source} is not known at {done.unknown_percent:.1f} % of the voxels of --grid")
    moving = meaning.moving_grid or meaning.grid
    outside = 0.0 if moving is None else outside_percent(done.field, moving)
    if outside > MOSTLY_PERCENT:
        say(
            f"lcsd transform: warning: {outside:.1f} % of the end points lie outside the moving scan; check the order "
            "of the parts, the direction, what the vectors are (--field-as), and give --moving-grid if it differs"
        )
    longest = float(np.linalg.norm(done.field.vectors, axis=-1).max())
    voxel = min(done.field.grid.spacing)
    if longest < SMALL_VOXELS * voxel:
        say(
            f"lcsd transform: warning: no vector is longer than {longest:.3g} mm, less than half a voxel; check what "
            "they are (--field-as)"
        )
