"""Signed distance to many capsules, by a grid of cells that list the capsules near them."""

from typing import NamedTuple

import numba as nb
import numpy as np
from numpy.typing import NDArray

from lcsd.phantom.trees import BOTH, Capsules

CELL_MM = 6.0
# Beyond this distance, `FAR_MM` is returned.
REACH_MM = 1.5
FAR_MM = 1e3


class TubeGrid(NamedTuple):
    """Capsules sorted into cells: those of cell `c` are `members[starts[c]:starts[c + 1]]`."""

    low: NDArray[np.float64]
    shape: NDArray[np.int64]
    starts: NDArray[np.int64]
    members: NDArray[np.int32]
    table: NDArray[np.float64]
    scan: NDArray[np.uint8]


@nb.njit(cache=True)
def _capsule_distance(x: float, y: float, z: float, c) -> float:  # type: ignore[no-untyped-def]
    """Distance to one tapered capsule (row of 8: start, axis, radii), negative inside."""
    dx, dy, dz = x - c[0], y - c[1], z - c[2]
    size = c[3] * c[3] + c[4] * c[4] + c[5] * c[5]
    t = 0.0
    if size > 0.0:
        t = min(max((dx * c[3] + dy * c[4] + dz * c[5]) / size, 0.0), 1.0)
    ex, ey, ez = dx - t * c[3], dy - t * c[4], dz - t * c[5]
    return float(np.sqrt(ex * ex + ey * ey + ez * ez) - (c[6] + t * (c[7] - c[6])))


@nb.njit(cache=True)
def _fill(table, low, shape, starts, members, cursor, write) -> None:  # type: ignore[no-untyped-def]
    half = 0.5 * CELL_MM * np.sqrt(3.0)
    for s in range(table.shape[0]):
        c = table[s]
        pad = max(c[6], c[7]) + REACH_MM
        first = np.empty(3, np.int64)
        last = np.empty(3, np.int64)
        for a in range(3):
            b, e = c[a], c[a] + c[3 + a]
            first[a] = max(0, int(np.floor((min(b, e) - pad - low[a]) / CELL_MM)))
            last[a] = min(shape[a] - 1, int(np.floor((max(b, e) + pad - low[a]) / CELL_MM)))
        for i in range(first[0], last[0] + 1):
            for j in range(first[1], last[1] + 1):
                for k in range(first[2], last[2] + 1):
                    x = low[0] + (i + 0.5) * CELL_MM
                    y = low[1] + (j + 0.5) * CELL_MM
                    z = low[2] + (k + 0.5) * CELL_MM
                    if _capsule_distance(x, y, z, c) > half + REACH_MM:
                        continue
                    cell = (i * shape[1] + j) * shape[2] + k
                    if write:
                        members[starts[cell] + cursor[cell]] = s
                    cursor[cell] += 1


def tube_grid(capsules: Capsules) -> TubeGrid:
    """Return the capsules sorted into cells of ``CELL_MM``."""
    table = np.column_stack([capsules.start, capsules.end - capsules.start, capsules.start_radius, capsules.end_radius])
    pad = max(table[:, 6].max(), table[:, 7].max()) + REACH_MM + CELL_MM
    low = np.minimum(capsules.start, capsules.end).min(axis=0) - pad
    high = np.maximum(capsules.start, capsules.end).max(axis=0) + pad
    shape = np.ceil((high - low) / CELL_MM).astype(np.int64)
    cells = int(np.prod(shape))
    starts = np.zeros(cells + 1, dtype=np.int64)
    counts = np.zeros(cells, dtype=np.int64)
    _fill(table, low, shape, starts, np.empty(0, np.int32), counts, False)
    starts[1:] = np.cumsum(counts)
    members = np.empty(int(starts[-1]), dtype=np.int32)
    _fill(table, low, shape, starts, members, np.zeros(cells, dtype=np.int64), True)
    return TubeGrid(low, shape, starts, members, table, capsules.scan)


@nb.njit(cache=True)
def tube_distance(x: float, y: float, z: float, grid: TubeGrid, scan: int) -> float:
    """Distance in mm to the nearest tube seen in `scan`, negative inside; `FAR_MM` if far."""
    i = int(np.floor((x - grid.low[0]) / CELL_MM))
    j = int(np.floor((y - grid.low[1]) / CELL_MM))
    k = int(np.floor((z - grid.low[2]) / CELL_MM))
    if i < 0 or j < 0 or k < 0 or i >= grid.shape[0] or j >= grid.shape[1] or k >= grid.shape[2]:
        return FAR_MM
    cell = (i * grid.shape[1] + j) * grid.shape[2] + k
    best = FAR_MM
    for m in range(grid.starts[cell], grid.starts[cell + 1]):
        s = grid.members[m]
        if grid.scan[s] != BOTH and grid.scan[s] != scan:
            continue
        d = _capsule_distance(x, y, z, grid.table[s])
        best = min(best, d)
    return best
