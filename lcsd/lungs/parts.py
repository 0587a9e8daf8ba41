"""Figures that show a lung mask with a part missing, or with a part outside the body."""

import numpy as np
from numpy.typing import NDArray

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.lungs.body import Surroundings, body_of
from lcsd.lungs.sample import sample
from lcsd.numerics.morphology import VOXELS, Mask, box

END_SHARE = 0.01
"""Share of a lung's voxels beyond each of its ends: single voxels and thin recesses do not count."""


def outside_share(scan: Image, lungs: Image) -> float:
    """Return the share of a lung mask that has no body on both sides, neither across nor from front to back, of 1.

    ``scan`` is in HU, ``lungs`` a mask that is not empty, on its grid. Lung that the edge of the scan cuts counts as
    outside where the body around it is cut off, too.
    """
    hu, step = sample(scan)
    mask = sample(lungs)[0].astype(bool)
    around = Surroundings.of(body_of(hu, step), step)
    return float(np.count_nonzero(mask & ~around.either)) / max(int(np.count_nonzero(mask)), 1)


def level_share(sides: dict[str, Mask], grid: Grid) -> float | None:
    """Return how far both lungs cover the same heights: height in common over height of both, of 1; None for one lung.

    ``sides`` has the masks (z, y, x) of both lungs on a grid of any orientation. A lung that lacks its upper or lower
    part ends at another height than the other one.
    """
    if len(sides) != 2:
        return None
    (low, high), (other_low, other_high) = (_ends(side, grid) for side in sides.values())
    return max(0.0, float(min(high, other_high) - max(low, other_low)) / (max(high, other_high) - min(low, other_low)))


def _ends(side: Mask, grid: Grid) -> NDArray[np.float64]:
    """Return the lower and the upper end of a lung along LPS z, mm."""
    return np.quantile(along(side, grid, 2), [END_SHARE, 1 - END_SHARE])


def along(mask: Mask, grid: Grid, axis: int) -> NDArray[np.float64]:
    """Return the place of each voxel of a mask (z, y, x), which is not empty, along an LPS axis, in raster order (N,).

    ``axis`` is 0 to 2 for x, y, z; places are mm from voxel (0, 0, 0).
    """
    part = box(mask, 0.0, VOXELS)
    z, y, x = (step * index for step, index in zip(grid.voxel_to_world_matrix[axis][::-1], np.ogrid[part], strict=True))
    return np.asarray((z + y + x)[mask[part]])
