"""Batches of work whose buffers stay within a memory limit."""

from collections.abc import Iterator

FLOAT_BYTES, DOUBLE_BYTES, INDEX_BYTES = 4, 8, 8

BATCH_MIB = 512
"""Limit for the buffers of one batch, MiB; a single item may need more. The device also holds the images, features (12
bytes per voxel) and three times the costs (4 bytes per keypoint and displacement)."""


def batch_size(*, each: int, mib: float) -> int:
    """Return how many items of ``each`` bytes of buffers fit in ``mib`` MiB, at least one."""
    return max(int(mib * 2**20) // max(each, 1), 1)


def batches(count: int, *, each: int, mib: float) -> Iterator[slice]:
    """Yield slices of ``count`` items, each of at most :func:`batch_size` items."""
    size = batch_size(each=each, mib=mib)
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
