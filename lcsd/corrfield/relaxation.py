"""Smooth solutions of a 3 x 3 system per node of a lattice."""

import numba
import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _inverses(normal: F32, smoothness: float, out: F32) -> None:
    """Set the inner nodes of ``out`` to ``(A + smoothness * neighbours)^-1`` by its adjugate."""
    depth, height, width = normal.shape[1:]
    for z in numba.prange(depth):
        for y in range(height):
            for x in range(width):
                links = int(z > 0) + int(z < depth - 1) + int(y > 0)
                links += int(y < height - 1) + int(x > 0) + int(x < width - 1)
                ridge = smoothness * links
                zz, yy = normal[0, z, y, x] + ridge, normal[1, z, y, x] + ridge
                xx = normal[2, z, y, x] + ridge
                zy, zx, yx = normal[3, z, y, x], normal[4, z, y, x], normal[5, z, y, x]
                c0, c1, c2 = yy * xx - yx * yx, zx * yx - zy * xx, zy * yx - zx * yy
                factor = 1.0 / (zz * c0 + zy * c1 + zx * c2)
                out[0, z + 1, y + 1, x + 1] = factor * c0
                out[1, z + 1, y + 1, x + 1] = factor * (zz * xx - zx * zx)
                out[2, z + 1, y + 1, x + 1] = factor * (zz * yy - zy * zy)
                out[3, z + 1, y + 1, x + 1] = factor * c1
                out[4, z + 1, y + 1, x + 1] = factor * c2
                out[5, z + 1, y + 1, x + 1] = factor * (zy * zx - zz * yx)


@numba.njit(cache=True, error_model="numpy")
def _pull(
    values: F32, right: F32, at: np.uintp, row: np.uintp, plane: np.uintp, smoothness: np.float32, out: F32
) -> None:
    """Set ``out`` to the right-hand side plus ``smoothness`` times the six neighbours, along a row from ``at``."""
    one = np.uintp(1)
    for i in range(out.size):
        k = at + np.uintp(i)
        here = (values[k - plane] + values[k + plane]) + (values[k - row] + values[k + row])
        out[i] = right[k] + smoothness * (here + (values[k - one] + values[k + one]))


@numba.njit(cache=True, error_model="numpy")
def _mix(values: F32, at: np.uintp, a: F32, b: F32, c: F32, p: F32, q: F32, r: F32, chosen: F32) -> None:
    """Replace the chosen elements of a row from ``at`` by ``a p + b q + c r``."""
    for i in range(p.size):
        k = np.uintp(i)
        found = a[at + k] * p[k] + b[at + k] * q[k] + c[at + k] * r[k]
        values[at + k] += chosen[k] * (found - values[at + k])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _half_sweep(values: F32, inverse: F32, right: F32, smoothness: float, colour: int) -> None:
    """Solve all nodes with ``(z + y + x) % 2 == colour``, given the others; padded lattices.

    Whole rows are computed with vector instructions, and half of each is dropped. Dropped values are written back
    unchanged, so threads do not disturb each other.
    """
    depth, height, width = values.shape[1:]
    size = depth * height * width
    v0, v1, v2 = values[0].reshape(-1), values[1].reshape(-1), values[2].reshape(-1)
    r0, r1, r2 = right[0].reshape(-1), right[1].reshape(-1), right[2].reshape(-1)
    inv = inverse.reshape(6, size)
    zz, yy, xx, zy, zx, yx = inv[0], inv[1], inv[2], inv[3], inv[4], inv[5]
    row, plane = np.uintp(width), np.uintp(height * width)
    pull = np.float32(smoothness)
    chosen = np.zeros((2, width - 2), np.float32)
    chosen[0, 0::2] = 1
    chosen[1, 1::2] = 1
    for z in numba.prange(1, depth - 1):
        p, q, r = np.empty((3, width - 2), np.float32)
        for y in range(1, height - 1):
            at = np.uintp((z * height + y) * width + 1)
            # Index 0 of a row is node x = 0; padding moved z and y by one each.
            which = chosen[(z + y + colour) % 2]
            _pull(v0, r0, at, row, plane, pull, p)
            _pull(v1, r1, at, row, plane, pull, q)
            _pull(v2, r2, at, row, plane, pull, r)
            _mix(v0, at, zz, zy, zx, p, q, r, which)
            _mix(v1, at, zy, yy, yx, p, q, r, which)
            _mix(v2, at, zx, yx, xx, p, q, r, which)


def relax(values: F32, normal: F32, right: F32, smoothness: float, *, sweeps: int) -> F32:
    """Return the result of Gauss-Seidel sweeps for ``(A + smoothness L) values = right``, both (3, Z, Y, X).

    A per node is zz, yy, xx, zy, zx, yx, shape (6, Z, Y, X), positive semi-definite; L is the graph Laplacian of the
    six-neighbourhood. Nodes are visited in two colours; neighbours have different colours, so the result does not
    depend on the number of threads.
    """
    around = ((0, 0), (1, 1), (1, 1), (1, 1))
    result, target = np.pad(values, around), np.pad(right, around)
    inverse = np.zeros((6, *result.shape[1:]), np.float32)
    _inverses(normal, smoothness, inverse)
    for _ in range(sweeps):
        for colour in (0, 1):
            _half_sweep(result, inverse, target, smoothness, colour)
    return np.ascontiguousarray(result[:, 1:-1, 1:-1, 1:-1])
