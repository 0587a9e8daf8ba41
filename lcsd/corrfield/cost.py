"""Local cost volumes: how badly each displacement of a keypoint fits the other image."""

import numba
import numpy as np
from numpy.typing import NDArray

F32 = np.float32


@numba.njit(cache=True, inline="always")  # type: ignore[misc]
def _corner(position: float, size: int) -> tuple[int, int, float]:
    """Return the two voxels around a position and the share of the second, clamped to the image."""
    position = min(max(position, 0.0), size - 1.0)
    first = int(position)
    return first, min(first + 1, size - 1), position - first


@numba.njit(cache=True)  # type: ignore[misc]
def _sample_block(
    features: NDArray[np.float32], start: NDArray[np.float64], step: int, out: NDArray[np.float32]
) -> None:
    """Set ``out (C, n, n, n)`` to ``features (C, Z, Y, X)`` at ``start + step * index``, linear."""
    channels, depth, height, width = features.shape
    for i in range(out.shape[1]):
        z0, z1, fz = _corner(start[0] + step * i, depth)
        for j in range(out.shape[2]):
            y0, y1, fy = _corner(start[1] + step * j, height)
            for k in range(out.shape[3]):
                x0, x1, fx = _corner(start[2] + step * k, width)
                if fz == 0 and fy == 0 and fx == 0:
                    for c in range(channels):
                        out[c, i, j, k] = features[c, z0, y0, x0]
                    continue
                w00, w01 = (1 - fz) * (1 - fy), (1 - fz) * fy
                w10, w11 = fz * (1 - fy), fz * fy
                for c in range(channels):
                    near = (
                        w00 * features[c, z0, y0, x0] + w01 * features[c, z0, y1, x0]
                        + w10 * features[c, z1, y0, x0] + w11 * features[c, z1, y1, x0]
                    )  # fmt: skip
                    far = (
                        w00 * features[c, z0, y0, x1] + w01 * features[c, z0, y1, x1]
                        + w10 * features[c, z1, y0, x1] + w11 * features[c, z1, y1, x1]
                    )  # fmt: skip
                    out[c, i, j, k] = (1 - fx) * near + fx * far


@numba.njit(cache=True, fastmath=True)  # type: ignore[misc]
def _compare(
    patch: NDArray[np.float32], block: NDArray[np.float32], factor: float, out: NDArray[np.float32]
) -> None:
    """Set ``out (D, D, D)`` to ``factor`` times the squared differences of patch and block."""
    channels, samples = patch.shape[0], patch.shape[1]
    width = out.shape[0]
    row = np.empty(width, np.float32)
    for dz in range(width):
        for dy in range(width):
            row[:] = 0
            for c in range(channels):
                for i in range(samples):
                    for j in range(samples):
                        line = block[c, dz + i, dy + j]
                        for k in range(samples):
                            value = patch[c, i, j, k]
                            for dx in range(width):
                                delta = value - line[k + dx]
                                row[dx] += delta * delta
            for dx in range(width):
                out[dz, dy, dx] = np.float32(factor) * row[dx]


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def cost_volumes(
    source: NDArray[np.float32],
    target: NDArray[np.float32],
    points: NDArray[np.float64],
    radius: int,
    step: int,
    patch_radius: int,
    alpha: float,
    out: NDArray[np.float32],
) -> None:
    """Set ``out (K, D, D, D)``, ``D = 2 radius + 1``, to the cost of every displacement.

    Parameters
    ----------
    source, target
        Features, shape (C, Z, Y, X), float32.
    points
        Voxel positions (z, y, x) in the source, shape (K, 3), float64; need not be whole.
    radius
        Search radius in steps: displacements ``step * (-radius .. radius)`` voxels.
    step
        Quantisation of the displacements, voxels; the patch is sampled at the same step.
    patch_radius
        Patch samples at ``-patch_radius, -patch_radius + step, ..`` up to ``patch_radius``.
    alpha
        Weight of the cost.
    out
        Axis order (K, z, y, x): ``alpha * mean over samples of sum over channels of
        (source(p + o) - target(p + o + step d))^2``; images continue with their border voxels.
    """
    samples = 2 * patch_radius // step + 1
    width = 2 * radius + 1
    channels = source.shape[0]
    factor = alpha / samples**3
    for n in numba.prange(len(points)):
        patch = np.empty((channels, samples, samples, samples), np.float32)
        reach = width + samples - 1
        block = np.empty((channels, reach, reach, reach), np.float32)
        first = points[n] - patch_radius
        _sample_block(source, first, step, patch)
        _sample_block(target, first - radius * step, step, block)
        _compare(patch, block, factor, out[n])
