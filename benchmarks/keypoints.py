"""Seconds of the sparse cloud, and of the same search by brute force.

Run: python -m benchmarks.keypoints
"""

import os

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.tables import seconds
from lcsd.clouds.keypoints import find_keypoints, local_maxima, nearest_neighbours
from lcsd.settings.gates import LCSD500
from lcsd.settings.keypoints import KeypointsSettings

SIZE = 170
BRUTE_POINTS = 20_000
LARGEST_CLOUD = LCSD500["dense"][1]


def vessels(count: int) -> NDArray[np.float64]:
    """Voxels of random tubes, in raster order."""
    rng = np.random.default_rng(0)
    mask = np.zeros((SIZE,) * 3, bool)
    cube = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3, indexing="ij"), axis=-1)
    while mask.sum() < count:
        place, radius = rng.uniform(12, SIZE - 12, 3), rng.uniform(0.8, 2.2)
        heading = rng.normal(size=3)
        heading /= np.linalg.norm(heading)
        for step in np.arange(0, 40, 0.5):
            centre = place + heading * step
            if (centre < 5).any() or (centre > SIZE - 6).any():
                break
            whole = np.rint(centre).astype(int)
            near = ((cube + whole - centre) ** 2).sum(-1) <= radius**2
            mask[tuple((cube[near] + whole).T)] = True
    return np.argwhere(mask)[:count].astype(np.float64)


def brute_force(points: NDArray[np.float64], k: int) -> None:
    """Compute all distances in blocks and take the k smallest, as research code does."""
    cloud = torch.from_numpy(points)
    for block in cloud.split(2000):
        torch.cdist(block, cloud).topk(k, largest=False)


def main() -> None:
    settings, workers = KeypointsSettings(), os.cpu_count() or 1
    large = vessels(LARGEST_CLOUD)
    whole = seconds(lambda: find_keypoints(large, voxel_mm=1.0, settings=settings, workers=workers), repeats=3)
    rows, report = find_keypoints(large, voxel_mm=1.0, settings=settings, workers=workers)
    print(f"sparse cloud of {len(large)} points: {whole:.2f} s, {len(rows)} stay, sigma {report.sigma}")
    small = large[:BRUTE_POINTS]
    ours = seconds(lambda: nearest_neighbours(small, settings.k, workers=workers), repeats=3)
    theirs = seconds(lambda: brute_force(small, settings.k), repeats=3)
    print(f"neighbours of {len(small)} points: {ours:.3f} s, brute force {theirs:.2f} s, ratio {theirs / ours:.0f}")
    found = nearest_neighbours(large, settings.k, workers=workers)
    one = seconds(lambda: local_maxima(found, j=settings.j, sigma=0.7, tie_tolerance=1e-9), repeats=3)
    print(f"one density and maximum over {len(large)} points: {one:.3f} s")


if __name__ == "__main__":
    main()
