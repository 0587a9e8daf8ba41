"""CPU kernel of the U-Net's search: both densities compared under all shifts in one pass, without the volumes between.

It runs on one thread and sums in a fixed order. Compiled by numba.
"""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(cache=True, error_model="numpy")
def _add_difference(there: Array, here: Array, row: Array) -> None:
    for x in range(len(row)):
        row[x] += abs(there[x] - here[x])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def block_differences(fixed: Array, moving: Array, steps: Array, block: int, out: Array) -> None:
    """Set ``out (K, D, H, W)`` to the mean absolute difference in blocks of ``block``^3 voxels under each shift.

    ``fixed`` and ``moving`` are volumes (z, y, x) with room on all sides for the largest of the ``steps`` (K, 3), whole
    voxels: each moves the fixed volume by its opposite and the moving one by itself.
    """
    depth, height, width = out.shape[1:]
    reach = (fixed.shape[0] - block * depth) // 2
    row = np.empty(block * width, fixed.dtype)
    share = fixed.dtype.type(1 / block**3)
    for k in range(len(steps)):
        dz, dy, dx = steps[k]
        left, right = reach - dx, reach + dx
        for z in range(depth):
            for y in range(height):
                row[:] = 0
                for plane in range(reach + block * z, reach + block * (z + 1)):
                    for line in range(reach + block * y, reach + block * (y + 1)):
                        there = fixed[plane - dz, line - dy, left : left + len(row)]
                        here = moving[plane + dz, line + dy, right : right + len(row)]
                        _add_difference(there, here, row)
                for x in range(width):
                    total = row[block * x]
                    for n in range(1, block):
                        total += row[block * x + n]
                    out[k, z, y, x] = total * share
