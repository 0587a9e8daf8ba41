"""What the numbers of a landmark file mean: frame, index of the first voxel, order of the axes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras

Frame = Literal["lps", "ras", "voxel"]
Axes = Literal["xyz", "zyx"]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Numbering:
    """How a file counts.

    Parameters
    ----------
    frame
        ``lps`` or ``ras`` millimetres, or ``voxel`` indices of an image.
    base
        Index of the centre of an image's first voxel; of voxels only.
    axes
        Order of the three columns.
    """

    frame: Frame = "lps"
    base: int = 0
    axes: Axes = "xyz"

    def to_lps(self, numbers: Points, grid: Grid | None, *, file: Path) -> Points:
        """Return LPS mm of the numbers of a file, both (N, 3).

        Raises
        ------
        BadInputError
            If the numbers are voxels and there is no grid (``missing_grid``).
        """
        ordered = numbers if self.axes == "xyz" else numbers[:, ::-1]
        if self.frame == "voxel":
            return _needed(grid, file).voxel_to_world(ordered - self.base)
        return flip_lps_ras(ordered) if self.frame == "ras" else ordered

    def from_lps(self, points: Points, grid: Grid | None, *, file: Path) -> Points:
        """Return the numbers for a file of LPS mm; as :meth:`to_lps` the other way."""
        if self.frame == "voxel":
            ordered = _needed(grid, file).world_to_voxel(points) + self.base
        else:
            ordered = flip_lps_ras(points) if self.frame == "ras" else points
        return ordered if self.axes == "xyz" else ordered[:, ::-1]


def _needed(grid: Grid | None, file: Path) -> Grid:
    if grid is None:
        raise BadInputError(
            "voxel indices need to know where the voxels lie",
            code="missing_grid",
            file=file,
            remedy="give --fixed-image (and --moving-image), or --spacing where there is none",
        )
    return grid


READINGS: tuple[tuple[str, Numbering], ...] = (
    ("with x and y negated: the file is in RAS; convert it to LPS", Numbering("ras")),
    ("as voxel indices that begin with 0; convert them to LPS mm", Numbering("voxel")),
    ("as voxel indices that begin with 1; convert them to LPS mm", Numbering("voxel", 1)),
    ("as voxel indices in the order z, y, x; convert them", Numbering("voxel", 0, "zyx")),
)
"""What numbers taken for LPS mm may really be, the likely first; each goes on "inside ..."."""


def other_frame(points: Points, grid: Grid, *, voxels: bool = True) -> str | None:
    """Return how points of which some lie outside a grid would all lie inside it, or None.

    Parameters
    ----------
    points
        Taken as LPS mm, shape (N, 3).
    voxels
        The grid is one of an image, so that the numbers may be its voxels.
    """
    if grid.contains(points).all():
        return None
    for text, numbering in READINGS:
        if numbering.frame == "voxel" and not voxels:
            continue
        if grid.contains(numbering.to_lps(points, grid, file=Path())).all():
            return f"all would lie inside {text}"
    return None
