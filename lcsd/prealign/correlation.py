"""Matching of small blocks of two volumes by normalised cross-correlation."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

MIN_DEVIATION_HU = 15.0
"""A block with a smaller standard deviation is noise."""

BATCH = 64
"""Blocks correlated at once; limits memory."""


def moments(array: NDArray[np.float32], radius: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation in the block around each voxel."""
    values = array.astype(np.float64)
    width = 2 * radius + 1
    mean = ndimage.uniform_filter(values, width, mode="constant")
    square = ndimage.uniform_filter(values**2, width, mode="constant")
    return mean, np.sqrt(np.maximum(square - mean**2, 0.0))


def correlate(
    fixed: NDArray[np.float32], moving: NDArray[np.float32], blocks: NDArray[np.int64], *, radius: int, reach: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the displacement and score of blocks of one volume in another, by normalised cross-correlation.

    Both volumes have the same shape (z, y, x). ``blocks`` are centres in ``fixed``, voxels (z, y, x), shape (N, 3), at
    least ``radius`` (half the width of a block, voxels) from the border. The search covers ``reach`` voxels along each
    axis.

    The displacement (N, 3), in voxels (z, y, x), is refined by a parabola along each axis; the score (N,) is the
    correlation at the best whole voxel.
    """
    pad = radius + reach
    wide = np.pad(moving, pad)
    _, deviation = moments(wide, radius)
    width, span = 2 * radius + 1, 2 * reach + 1
    length = fft.next_fast_len(width + span - 1, real=True)
    shift, score = np.zeros((len(blocks), 3)), np.zeros(len(blocks))
    for begin in range(0, len(blocks), BATCH):
        part = blocks[begin : begin + BATCH]
        templates = np.stack([_cube(fixed, c, radius) for c in part]).astype(np.float64)
        templates -= templates.mean(axis=(1, 2, 3), keepdims=True)
        regions = np.stack([_cube(wide, c + pad, pad) for c in part]).astype(np.float64)
        # One worker, because pocketfft groups transforms by the number of threads.
        shape = (length, length, length)
        product = fft.rfftn(regions, shape, axes=(1, 2, 3)) * np.conj(fft.rfftn(templates, shape, axes=(1, 2, 3)))
        sums = fft.irfftn(product, shape, axes=(1, 2, 3))[:, :span, :span, :span]
        spread = np.stack([_cube(deviation, c + pad, reach) for c in part])
        own = np.sqrt((templates**2).sum(axis=(1, 2, 3), keepdims=True) * width**3)
        ncc = np.where(spread > MIN_DEVIATION_HU, sums / (own * np.maximum(spread, MIN_DEVIATION_HU)), -1.0)
        for row, values in enumerate(ncc, start=begin):
            shift[row], score[row] = _peak(values, reach)
    return shift, score


def _cube(array: NDArray[Any], centre: NDArray[np.int64], radius: int) -> NDArray[Any]:
    z, y, x = (slice(int(c) - radius, int(c) + radius + 1) for c in centre)
    return array[z, y, x]


def _peak(values: NDArray[np.float64], reach: int) -> tuple[NDArray[np.float64], float]:
    """Return the displacement of the maximum, refined by a parabola along each axis, and its height."""
    top = np.array(np.unravel_index(int(values.argmax()), values.shape))
    height = float(values[tuple(top)])
    offset = np.zeros(3)
    for axis in range(3):
        if 0 < top[axis] < values.shape[axis] - 1:
            side = np.eye(3, dtype=np.int64)[axis]
            before, after = values[tuple(top - side)], values[tuple(top + side)]
            bend = before - 2 * height + after
            if bend < 0 and min(before, after) > -1.0:
                offset[axis] = 0.5 * (before - after) / bend
    return top - reach + offset, height
