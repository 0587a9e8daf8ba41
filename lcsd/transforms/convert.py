"""Convert transforms between the conventions of programs (docs/transforms.md)."""

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import atomic_path, check_written_text
from lcsd.io.hdf5 import erase_times
from lcsd.io.images import is_image
from lcsd.io.itk import itk_path
from lcsd.names import Axes, FieldReading, Layout, TransformFormat
from lcsd.readings.motion import write_as
from lcsd.transforms.arrays import ARRAY_SUFFIXES, write_array
from lcsd.transforms.chain import LEAST_INSIDE, field_of, itk_field
from lcsd.transforms.learn2reg import VoxelDisplacements, disp_of, write_disp
from lcsd.transforms.parts import known_on, parts_of, sampled
from lcsd.transforms.read import DISP, ITK_SUFFIXES, Meaning, Motion, read_motion, refuse_unused, unnamed_vectors

SUFFIXES: dict[TransformFormat, tuple[str, ...]] = {
    "itk": (".nii.gz", *ITK_SUFFIXES[:3]),
    "ants": (".nii.gz",),
    "slicer": (".h5", ".tfm"),
    "learn2reg": (".nii.gz", ".npz"),
    "array": ARRAY_SUFFIXES,
}
"""Suffixes of the formats that are written."""


@dataclass(frozen=True)
class Target:
    """How a transform is written."""

    format: TransformFormat
    reading: FieldReading = "displacement"  # what the vectors of an array are
    axes: Axes = "xyz"
    layout: Layout = "first"
    half: bool = False  # Learn2Reg's half resolution


@dataclass(frozen=True)
class Converted:
    """What was written."""

    field: DisplacementField | None  # the motion on the grid of the output; None if ITK's transform was kept
    unknown_percent: float  # share of its voxels at which the input is not defined, percent
    difference_mm: float  # largest distance between the field and what the output gives back, mm


def target_of(path: Path, kind: TransformFormat | None, reading: FieldReading | None, **how: Any) -> Target:
    """Return how a file is written, by its name and by what the user says.

    Raises ``BadInputError`` for a suffix that the format does not have (``unknown_format``), an array without a meaning
    (``ambiguous_vectors``), and options of another format (``bad_option``).
    """
    chosen = kind or _format_of(path.name.lower())
    if not path.name.lower().endswith(SUFFIXES.get(chosen, ())):
        raise BadInputError(
            f"not a file of the format {chosen}",
            code="unknown_format",
            file=path,
            field="--to-format",
            expected=" or ".join(SUFFIXES.get(chosen, ())) or " or ".join(SUFFIXES),
            found=path.name if chosen in SUFFIXES else chosen,
            remedy=None if chosen in SUFFIXES else "landmarks are only read: a spline has no other file",
        )
    given = {name: value for name, value in how.items() if value}
    options = {"axes": "--to-axes", "layout": "--to-layout", "half": "--half"}
    of = {"array": {"axes", "layout"}, "learn2reg": {"half"}}.get(chosen, set())
    unused = ["--to-as"] if reading is not None and chosen != "array" else []
    refuse_unused([*unused, *(options[name] for name in given if name not in of)], chosen, path)
    if chosen == "array" and reading is None:
        raise unnamed_vectors("--to-as", path)
    return Target(chosen, reading or "displacement", **given)


def _format_of(name: str) -> TransformFormat:
    """Return the format in which a file of this name is written, in lower case."""
    if name.startswith(DISP) and name.endswith(SUFFIXES["learn2reg"]):
        return "learn2reg"
    return "array" if name.endswith(ARRAY_SUFFIXES) else "itk"


def convert(motion: Motion, source: Path, output: Path, target: Target, meaning: Meaning) -> Converted:
    """Write a transform, read from ``source`` with a meaning, in another convention; read it again and compare.

    A field keeps its own voxels unless ``meaning.grid`` is given; other transforms are sampled on that grid, unless ITK
    writes them as they are. Raises ``BadInputError`` if a grid is needed and not given (``missing_reference``), and if
    most of it lies outside the transform (``outside_transform``).
    """
    if target.format == "array" and meaning.other_grid:
        refuse_unused(["--moving-grid"], "array", output)
    if target.format in {"itk", "slicer"} and not is_image(output) and not _field_like(motion):
        _write_itk(output, motion)
        return Converted(None, 0.0, 0.0)
    if isinstance(motion, VoxelDisplacements) and target.format == "learn2reg" and _same(meaning.grid, motion.fixed):
        disp, unknown = motion, 0.0
        field = disp.field()
    else:
        field, unknown = _on_grid(motion, meaning.grid, source)
        disp = disp_of(field, meaning.moving_grid)
    if target.format == "learn2reg":
        write_disp(output, disp, half=target.half)
    elif target.format == "array":
        write_array(output, write_as(field, target.reading), axes=target.axes, layout=target.layout)
    elif is_image(output):
        write_field(output, field)
    else:
        _write_itk(output, itk_field(field))
    back = _field(read_motion(output, _meaning_of(output, target, field.grid, disp.moving)))
    apart = np.linalg.norm(back.vectors - field.vectors, axis=-1)
    return Converted(field, unknown, float(apart.max()))


def _meaning_of(path: Path, target: Target, grid: Grid, moving: Grid) -> Meaning:
    if target.format == "array":
        return Meaning("array", target.reading, target.axes, target.layout, grid=grid)
    if target.format == "learn2reg":
        return Meaning("learn2reg", grid=grid, moving_grid=moving)
    return Meaning(target.format, "displacement" if is_image(path) else None)


def _same(grid: Grid | None, own: Grid) -> bool:
    return grid is None or grid.same_as(own)


def _field_like(motion: Motion) -> bool:
    if isinstance(motion, DisplacementField | VoxelDisplacements):
        return True
    parts = parts_of(motion)
    return len(parts) == 1 and field_of(parts[0]) is not None


def _field(motion: Motion) -> DisplacementField:
    """Return a motion that is a field in another form as a field in LPS mm."""
    if isinstance(motion, VoxelDisplacements):
        return motion.field()
    if isinstance(motion, DisplacementField):
        return motion
    found = field_of(parts_of(motion)[0])
    assert found is not None  # noqa: S101 - asked of fields only
    return found


def _on_grid(motion: Motion, grid: Grid | None, source: Path) -> tuple[DisplacementField, float]:
    """Return a motion as a field, on its own grid or another one, and the share of voxels outside it, percent."""
    field = _field(motion) if _field_like(motion) else None
    if field is not None and _same(grid, field.grid):
        return field, 0.0
    if grid is None:
        raise BadInputError(
            "the transform has no voxels of its own",
            code="missing_reference",
            file=source,
            field="--grid",
            remedy="give the fixed image, on whose voxels the field shall be, as --grid",
        )
    transform = motion if field is None else itk_field(field)
    known = known_on(transform, grid)
    if known.mean() < LEAST_INSIDE:
        raise BadInputError(
            "most voxels of the grid lie outside the transform when they reach it",
            code="outside_transform",
            file=source,
            expected="a grid inside the transform",
            found=f"{100 * known.mean():.1f} % inside",
            remedy="check that --grid is the fixed image, and the order of the parts of the transform (ITK applies the "
            "last one first)",
        )
    found = sampled(transform, grid) if field is None else field.on(grid)
    return found, 100.0 * float(1 - known.mean())


BYTES_OF_NUMBER = 8
"""ITK stores parameters as float64."""


def _write_itk(path: Path, transform: Any) -> None:
    with atomic_path(path) as temporary:
        needed = BYTES_OF_NUMBER * transform.GetNumberOfParameters()
        if path.suffix.lower() == ".h5" and shutil.disk_usage(temporary.parent).free < needed:
            # HDF5 would print fifty lines, and its error does not say why it could not write.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sitk.WriteTransform(transform, itk_path(temporary))
        if path.suffix.lower() == ".h5":
            erase_times(temporary)
        else:
            check_written_text(temporary)


def outside_percent(field: DisplacementField, moving: Grid) -> float:
    """Return the share of a field's voxels whose end points lie outside the moving scan, percent."""
    inside = [moving.contains(points + field.vectors[z]).mean() for z, points in field.grid.planes()]
    return 100.0 * float(1 - np.mean(inside))
