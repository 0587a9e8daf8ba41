"""Interpret the numbers of a landmark file: frame, index of the first voxel, order of the axes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.names import Axes, TableFrame

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Numbering:
    """Meaning of the numbers in a file."""

    frame: TableFrame = "lps"  # millimetres, or indices of an image's voxels
    base: int = 0  # index of the first voxel (at its centre); for voxels only
    axes: Axes = "xyz"  # order of the three columns

    def to_lps(self, numbers: Points, grid: Grid | None, *, file: Path) -> Points:
        """Return numbers (N, 3) in LPS mm. Raises ``BadInputError`` (``missing_grid``) for voxels without a grid."""
        ordered = numbers if self.axes == "xyz" else numbers[:, ::-1]
        if self.frame == "voxel":
            return _needed(grid, file).voxel_to_world(ordered - self.base)
        return flip_lps_ras(ordered) if self.frame == "ras" else ordered

    def from_lps(self, points: Points, grid: Grid | None, *, file: Path) -> Points:
        """Return points in LPS mm as numbers for a file; the inverse of :meth:`to_lps`."""
        if self.frame == "voxel":
            ordered = _needed(grid, file).world_to_voxel(points) + self.base
        else:
            ordered = flip_lps_ras(points) if self.frame == "ras" else points
        return ordered if self.axes == "xyz" else ordered[:, ::-1]


def _needed(grid: Grid | None, file: Path) -> Grid:
    if grid is None:
        raise BadInputError(
            "voxel indices need the scan's grid",
            code="missing_grid",
            file=file,
            remedy="give --fixed-image (and --moving-image), or --spacing without an image",
        )
    return grid


READINGS: tuple[tuple[str, Numbering], ...] = (
    ("with x and y negated: the file is in RAS; convert it to LPS (--frame ras)", Numbering("ras")),
    ("as voxel indices that begin with 0; convert them to LPS mm (--frame voxel)", Numbering("voxel")),
    ("as voxel indices that begin with 1; convert them to LPS mm (--frame voxel --base 1)", Numbering("voxel", 1)),
    ("as voxel indices in the order z, y, x; convert them (--frame voxel --axes zyx)", Numbering("voxel", 0, "zyx")),
    ("in the order z, y, x; exchange the columns (--axes zyx)", Numbering("lps", 0, "zyx")),
)
"""What numbers read as LPS mm may really be, the likeliest first; each continues a sentence "... inside", and names the
options of ``lcsd landmarks convert --from generic``."""


def other_frame(points: Points, grid: Grid, *, voxels: bool = True) -> str | None:
    """Return the reading by which all points would lie inside a grid; None if they do already, or by none.

    Points (N, 3) are read as LPS mm. ``voxels`` means that the grid belongs to an image, so the numbers may be its
    voxels.
    """
    if grid.contains(points).all():
        return None
    for text, numbering in READINGS:
        if numbering.frame == "voxel" and not voxels:
            continue
        if grid.contains(numbering.to_lps(points, grid, file=Path())).all():
            return f"all would lie inside {text}"
    return None


def outside_error(
    points: Points,
    outside: NDArray[np.int64],
    box: tuple[Points, Points],
    *,
    code: str,
    which: str,
    field: str,
    file: Path | None,
    remedy: str,
    margin_mm: float = 0.0,
) -> BadInputError:
    """Return the error for points (N, 3), LPS mm, of which some rows lie outside a region.

    ``outside`` has at least one row; ``box`` is the lowest and the highest corner of the region, which points may leave
    by ``margin_mm``. ``which`` names the points, ``field`` the place of the first one outside.
    """
    low, high, first = (f"({', '.join(f'{v:.1f}' for v in point)})" for point in (*box, points[outside[0]]))
    return BadInputError(
        f"{which} landmarks lie outside the scan ({len(outside)} of {len(points)})",
        code=code,
        file=file,
        field=field,
        expected=f"LPS mm between {low} and {high}" + (f", within {margin_mm:.0f} mm" if margin_mm else ""),
        found=first,
        remedy=remedy,
    )
