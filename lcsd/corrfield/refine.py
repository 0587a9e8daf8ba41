"""Continuous refinement of a dense motion: Gauss-Newton on MIND with a smooth correction."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.kernels import Kernels, Volume
from lcsd.corrfield.smoothing import gaussian_taps
from lcsd.numerics.morphology import VOXELS, box

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

MARGIN_VOXELS = 8
"""The lattice extends this far beyond the mask; there, without data, the correction becomes constant."""

STEP_LIMIT_VOXELS = 1.0
"""Largest change per round and axis: features are roughly linear over one voxel."""

SWEEPS = 10
"""Sweeps of the linear solver per round. Twice or half as many change the mean error on real and synthetic lungs by
less than 0.01 mm, because later rounds continue from the result."""

TRUNCATE_SIGMAS = 2.0
"""The Gaussian of the normal equations is cut here."""


@dataclass(frozen=True)
class Lattice:
    """The voxels at which the correction is estimated, every ``step``-th from voxel ``low``, (z, y, x).

    ``inside`` says which nodes are in the mask, in the shape (z, y, x) of the lattice.
    """

    low: tuple[int, ...]
    step: int
    inside: NDArray[np.bool_]

    @classmethod
    def around(cls, mask: NDArray[np.bool_], *, step: int) -> "Lattice":
        """Return the lattice over the box of a mask, with a margin."""
        tight = box(mask, 0, VOXELS)
        # Whole steps from the mask, so that the nodes do not depend on the border of the image.
        low = tuple(s.start - min(s.start, MARGIN_VOXELS) // step * step for s in tight)
        parts = tuple(slice(first, span.stop + MARGIN_VOXELS, step) for first, span in zip(low, tight, strict=True))
        return cls(low, step, np.ascontiguousarray(mask[parts]))

    def nodes(self) -> I64:
        """Return the voxels of the nodes in the mask, shape (N, 3), raster order."""
        return np.argwhere(self.inside) * self.step + np.array(self.low)


@numba.njit(cache=True, inline="always")
def _cell(position: float, size: int) -> tuple[int, int, np.float32]:
    """Return the two voxels around a position, clamped to the image, and the second's share."""
    position = min(max(position, 0.0), size - 1.0)
    first = min(int(position), max(size - 2, 0))
    return first, min(first + 1, size - 1), np.float32(position - first)


@numba.njit(cache=True, parallel=True, error_model="numpy")
def normal_equations(fixed: F32, moving: F32, nodes: I64, places: F64, robust: float, normal: F32, right: F32) -> None:
    """Linearise the difference of two feature volumes (C, Z, Y, X) around the position of each node.

    ``nodes`` are voxels in ``fixed`` and ``places`` their positions in ``moving`` (z, y, x), each (N, 3). With g the
    slope of ``moving`` and r the difference, ``normal`` (6, N) becomes ``w sum over channels of g g^T``: zz, yy, xx,
    zy, zx, yx; ``right`` (3, N) becomes ``w sum over channels of g r``. ``w = robust / (robust + r^2)``, with r^2
    summed over the channels.
    """
    channels, depth, height, width = moving.shape
    for n in numba.prange(len(nodes)):
        z, zn, fz = _cell(places[n, 0], depth)
        y, yn, fy = _cell(places[n, 1], height)
        x, xn, fx = _cell(places[n, 2], width)
        zz = yy = xx = zy = zx = yx = bz = by = bx = total = np.float32(0)
        for c in range(channels):
            v00, v01 = np.float32(moving[c, z, y, x]), np.float32(moving[c, z, yn, x])
            v10, v11 = np.float32(moving[c, zn, y, x]), np.float32(moving[c, zn, yn, x])
            d00 = np.float32(moving[c, z, y, xn]) - v00
            d01 = np.float32(moving[c, z, yn, xn]) - v01
            d10 = np.float32(moving[c, zn, y, xn]) - v10
            d11 = np.float32(moving[c, zn, yn, xn]) - v11
            v00, v01, v10, v11 = v00 + fx * d00, v01 + fx * d01, v10 + fx * d10, v11 + fx * d11
            near, far = v00 + fy * (v01 - v00), v10 + fy * (v11 - v10)
            along_z = far - near
            along_y = (v01 - v00) + fz * ((v11 - v10) - (v01 - v00))
            front, back = d00 + fy * (d01 - d00), d10 + fy * (d11 - d10)
            along_x = front + fz * (back - front)
            here = np.float32(fixed[c, nodes[n, 0], nodes[n, 1], nodes[n, 2]])
            r = here - (near + fz * along_z)
            total += r * r
            zz += along_z * along_z
            yy += along_y * along_y
            xx += along_x * along_x
            zy += along_z * along_y
            zx += along_z * along_x
            yx += along_y * along_x
            bz += along_z * r
            by += along_y * r
            bx += along_x * r
        w = np.float32(robust / (robust + total))
        normal[0, n], normal[1, n], normal[2, n] = w * zz, w * yy, w * xx
        normal[3, n], normal[4, n], normal[5, n] = w * zy, w * zx, w * yx
        right[0, n], right[1, n], right[2, n] = w * bz, w * by, w * bx


def _add_product(right: Volume, normal: Volume, values: Volume) -> None:
    """Add A times ``values`` to ``right``, node by node, shape (3, Z, Y, X)."""
    zz, yy, xx, zy, zx, yx = normal
    z, y, x = values
    right[0] += zz * z + zy * y + zx * x
    right[1] += zy * z + yy * y + yx * x
    right[2] += zx * z + yx * y + xx * x


def refine(
    fixed: Volume,
    moving: Volume,
    mask: NDArray[np.bool_],
    vectors: Volume,
    *,
    step: int,
    smoothness: float,
    blur: float,
    robust: float,
    rounds: int,
    kernels: Kernels,
) -> Volume:
    """Return the motion (3, Z, Y, X), float32, plus a smooth correction that makes the features agree.

    ``fixed`` and ``moving`` are features (C, Z, Y, X), uint8 or float32; ``mask`` (Z, Y, X) selects at least one voxel
    to compare. ``vectors``, components z, y, x in voxels, start within one or two voxels of the truth. Far from the
    mask the result differs from them by a constant.

    The correction w minimises ``sum rho(|F(x) - M(x + u(x) + w(x))|^2) + smoothness |grad w|^2`` at every ``step``-th
    voxel, interpolated between; a node of squared feature difference ``robust`` counts half. Only the correction is
    smoothed, so deformation in the start costs nothing.

    Each of the ``rounds`` is one step of Gauss-Newton. A Gaussian of ``blur`` nodes (0: none) averages the normal
    equations, which combines local and global estimation (Bruhn, Weickert, Schnoerr, IJCV 61 (2005) 211).
    """
    lattice = Lattice.around(mask, step=step)
    voxels, shape = lattice.nodes(), lattice.inside.shape
    if not len(voxels):
        return vectors
    nodes, inside = kernels.upload(voxels), kernels.upload(lattice.inside)
    z, y, x = nodes.T
    start = kernels.upload(voxels.astype(np.float64)) + vectors[:, z, y, x].T
    correction = kernels.zeros((3, *shape))
    taps = gaussian_taps(blur, truncate=TRUNCATE_SIGMAS) if blur > 0 else None
    for _ in range(rounds):
        places = start + correction[:, inside].T
        normal, right = kernels.zeros((6, *shape)), kernels.zeros((3, *shape))
        normal[:, inside], right[:, inside] = kernels.normal_equations(fixed, moving, nodes, places, robust=robust)
        if taps is not None:
            normal, right = kernels.smooth(normal, taps), kernels.smooth(right, taps)
        _add_product(right, normal, correction)
        found = kernels.relax(correction, normal, right, smoothness, sweeps=SWEEPS)
        correction += (found - correction).clip(-STEP_LIMIT_VOXELS, STEP_LIMIT_VOXELS)
    refined = kernels.zeros(tuple(vectors.shape))
    for axis in range(3):
        whole = kernels.upsampled(correction[axis], mask.shape, step=lattice.step, low=lattice.low)
        refined[axis] = vectors[axis] + whole
    return refined
