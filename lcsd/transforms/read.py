"""The one place that reads transforms: fields and transforms of every convention (docs/transforms.md)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_field, read_numbers, read_shape
from lcsd.io.images import check_forms, is_image
from lcsd.io.points import PointPairs, read_point_pairs
from lcsd.io.volumes import is_volume
from lcsd.names import Axes, FieldReading, Layout, TransformFormat
from lcsd.numerics.tps import ThinPlateSpline
from lcsd.readings.motion import MEANINGS, check_size_of_motion, read_as
from lcsd.transforms.arrays import ARRAY_SUFFIXES, channels_last, on_grid, read_array
from lcsd.transforms.learn2reg import VoxelDisplacements, disp_as, missing_grid, read_disp
from lcsd.transforms.parts import read_transform

FORMATS: tuple[TransformFormat, ...] = get_args(TransformFormat)

ITK_SUFFIXES = (".tfm", ".txt", ".h5", ".mat", ".xfm")

DISP = ("disp_", "disp.")
"""Names of Learn2Reg's fields begin so, and that of convexAdam."""

MOST_TPS_POINTS = 10_000
"""A spline of N points takes 8 N^2 bytes and N^3 operations."""

Motion = DisplacementField | VoxelDisplacements | Any
"""What a file of a transform holds: a field in LPS mm, one in voxels, or a ``SimpleITK.Transform``."""


@dataclass(frozen=True)
class Meaning:
    """What a file of a transform does not say itself; None: what it says, or what alone is possible."""

    format: TransformFormat | None = None
    reading: FieldReading | None = None  # what the vectors of a field are
    axes: Axes | None = None  # order of the axes of an array
    layout: Layout | None = None  # where an array has its components
    key: str | None = None  # name of an array in its file
    # Grids of the fixed and moving scans
    grid: Grid | None = None
    moving_grid: Grid | None = None

    @property
    def other_grid(self) -> bool:
        """Whether the moving scan has another grid than the fixed one; numbers of an array would be ambiguous."""
        return self.moving_grid is not None and (self.grid is None or not self.moving_grid.same_as(self.grid))


def read_motion(path: Path, meaning: Meaning = Meaning()) -> Motion:
    """Return what a file of a transform holds; it maps fixed to moving points.

    Raises ``BadInputError`` as the readers of the formats, and if the file may have several formats or meanings and
    none is named (``ambiguous_format``, ``ambiguous_vectors``), or an option does not belong to its format
    (``bad_option``).
    """
    kind = meaning.format or guess_format(path)
    _check_options(kind, meaning, path)
    if kind == "learn2reg":
        disp = read_disp(path, grid=meaning.grid, moving_grid=meaning.moving_grid)
        return disp_as(disp, meaning.reading or "voxel")
    if kind == "array":
        return _checked(_stored_array(path, meaning), meaning.reading, path)
    if kind == "landmarks":
        return spline_field(read_point_pairs(path), meaning.grid, path)
    if is_image(path):
        return _checked(read_field(path), meaning.reading, path)
    return read_transform(path)


def _checked(field: DisplacementField, reading: FieldReading | None, path: Path) -> DisplacementField:
    """Return a field read as named; without a name, refuse vectors that are plainly no displacements."""
    try:
        if reading is None:
            check_size_of_motion(field)
        return read_as(field, reading or "displacement")
    except BadInputError as error:
        error.file, error.field = str(path), None
        raise


def guess_format(path: Path) -> TransformFormat:
    """Return the format of a file by its name and shape.

    Raises ``BadInputError`` for an unknown suffix (``unknown_format``) and a file that several formats explain
    (``ambiguous_format``).
    """
    name = path.name.lower()
    if name.endswith(".csv"):
        return "landmarks"
    if name.endswith(ITK_SUFFIXES):
        return "itk"
    if name.endswith(ARRAY_SUFFIXES):
        return "learn2reg" if name.startswith(DISP) and name.endswith(".npz") else "array"
    if not is_image(path):
        raise BadInputError(
            "unknown format of a transform",
            code="unknown_format",
            file=path,
            expected=", ".join((".nii.gz", *ITK_SUFFIXES, *ARRAY_SUFFIXES, ".csv (landmarks)")),
            found=path.suffix or "no suffix",
        )
    if is_volume(path):
        return "itk"
    shape = read_shape(path)
    if len(shape) == 4 and shape[-1] == 3 and name.startswith(DISP):
        return "learn2reg"
    if len(shape) == 4 and 3 in (shape[0], shape[-1]):
        raise BadInputError(
            "the file may hold voxels or millimetres",
            code="ambiguous_format",
            file=path,
            found=" x ".join(map(str, shape)),
            remedy="give --from-format learn2reg (voxels along the axes of the array, as Learn2Reg, convexAdam and "
            "VoxelMorph with TensorFlow write), or --from-format array with --field-as",
        )
    return "itk"


def _check_options(kind: TransformFormat, meaning: Meaning, path: Path) -> None:
    """Refuse options that say nothing about a format, and an array without a meaning."""
    of = {"array": {"reading", "axes", "layout", "key"}, "learn2reg": {"reading"}}.get(kind, set())
    of |= {"reading"} if kind in {"itk", "ants", "slicer"} and is_image(path) else set()
    options = {"reading": "--field-as", "axes": "--axes", "layout": "--layout", "key": "--key"}
    unused = [option for name, option in options.items() if name not in of and getattr(meaning, name) is not None]
    if kind == "array" and meaning.other_grid:
        unused.append("--moving-grid")
    refuse_unused(unused, kind, path)
    if kind == "array" and meaning.reading is None:
        raise unnamed_vectors("--field-as", path)


def refuse_unused(options: Sequence[str], kind: TransformFormat, path: Path) -> None:
    """Refuse options that say nothing about a file of a format (``bad_option``)."""
    if options:
        raise BadInputError(
            f"the option says nothing about a file of the format {kind}",
            code="bad_option",
            file=path,
            field=", ".join(options),
            remedy="leave it out",
        )


def unnamed_vectors(option: str, path: Path) -> BadInputError:
    """Return the error for an array without a meaning."""
    return BadInputError(
        "an array does not say what its vectors are",
        code="ambiguous_vectors",
        file=path,
        field=option,
        expected=", ".join(MEANINGS),
        remedy="name it (docs/transforms.md has the programs; VoxelMorph: voxel)",
    )


def stored_field(path: Path, meaning: Meaning) -> DisplacementField:
    """Return the vectors of a field as they are stored, whatever they are: of an array, or of ITK's ``.nii.gz``.

    Errors as :func:`read_motion`.
    """
    kind: TransformFormat = "array" if path.name.lower().endswith(ARRAY_SUFFIXES) else "itk"
    _check_options(kind, meaning, path)
    return _stored_array(path, meaning) if kind == "array" else read_field(path)


def _stored_array(path: Path, meaning: Meaning) -> DisplacementField:
    """Return the vectors of an array as they are stored, on the grid of the fixed scan."""
    grid, axes = meaning.grid, meaning.axes
    if is_image(path):
        # VoxelMorph with torch writes 3 x X x Y x Z, and the geometry of the scan.
        array, volume = read_numbers(path)
        vectors = channels_last(array, meaning.layout, path)
        if grid is None:
            size = (vectors.shape[0], vectors.shape[1], vectors.shape[2])
            check_forms(volume.header, size, path)
            grid = Grid.from_affine_ras(volume.affine, size)
        return on_grid(vectors, grid, axes or "xyz", path)
    if grid is None:
        raise missing_grid(path)
    return on_grid(channels_last(read_array(path, key=meaning.key), meaning.layout, path), grid, axes, path)


def spline_field(pairs: PointPairs, grid: Grid | None, path: Path) -> DisplacementField:
    """Return the thin-plate spline through landmarks, sampled on a grid."""
    if grid is None:
        raise missing_grid(path)
    if len(pairs) > MOST_TPS_POINTS:
        raise BadInputError(
            "too many landmarks for a thin-plate spline",
            code="too_many_points",
            file=path,
            expected=f"at most {MOST_TPS_POINTS}",
            found=len(pairs),
        )
    try:
        spline = ThinPlateSpline.fit(pairs.fixed, pairs.moving - pairs.fixed)
    except BadInputError as error:
        error.file = str(path)
        raise
    vectors = np.empty((*grid.shape, 3), dtype=np.float32)
    for z, points in grid.planes():
        vectors[z] = spline.evaluate(points.reshape(-1, 3)).reshape(points.shape)
    return DisplacementField(vectors, grid)
