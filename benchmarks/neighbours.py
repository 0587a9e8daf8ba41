"""scikit-learn's nearest neighbours against SciPy's, for each search of the library: same rows? how many seconds?

Run: python -m benchmarks.neighbours [--threads 2]
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from sklearn.neighbors import NearestNeighbors

from benchmarks.keypoints import LARGEST_CLOUD, vessels
from lcsd.clouds.keypoints import SPARE_NEIGHBOURS
from lcsd.settings.keypoints import KeypointsSettings

Points = NDArray[np.float64]
Found = tuple[Points, NDArray[np.int64]]

REPEATS = 3


def searches() -> dict[str, tuple[Points, Points, int]]:
    """Return for each search its points, the places asked for, and how many neighbours."""
    rng = np.random.default_rng(0)
    cloud = vessels(LARGEST_CLOUD)
    sparse = cloud[np.sort(rng.choice(len(cloud), 15_000, replace=False))]
    lattice = np.unique(rng.integers(0, 40, (600, 3)), axis=0).astype(float)
    keypoints = np.unique(rng.integers(0, 150, (1500, 3)), axis=0).astype(float)
    places = rng.uniform(0, 170, (50_000, 3))
    pairs = np.hstack([keypoints, keypoints + rng.normal(size=keypoints.shape)])
    return {
        "keypoints (lattice)": (cloud, cloud, KeypointsSettings().k + SPARE_NEIGHBOURS),
        "kNN baseline, field": (sparse + rng.normal(0, 0.1, sparse.shape), places, 10),
        "cloud motion of the report": (cloud, cloud + rng.normal(0, 2, cloud.shape), 1),
        "error surface of the report": (keypoints + rng.normal(0, 0.1, keypoints.shape), places, 64),
        "circular landmarks": (pairs, pairs[:300] + 0.001, 1),
        "matches of prealign (lattice)": (lattice, lattice, 9),
        "tree of corrfield (lattice)": (keypoints, keypoints, 11),
    }


def with_scipy(points: Points, places: Points, k: int, threads: int) -> Found:
    distance, index = cKDTree(points).query(places, k=range(1, k + 1), workers=threads)
    return distance, index


def with_sklearn(points: Points, places: Points, k: int, threads: int) -> Found:
    model = NearestNeighbors(n_neighbors=k, algorithm="kd_tree", n_jobs=threads).fit(points)
    distance, index = model.kneighbors(places)
    return distance, index


def paired(works: list[Callable[[], object]]) -> list[float]:
    """Return the median seconds of each piece of work, all run in turn."""
    seconds = np.empty((REPEATS, len(works)))
    for row in seconds:
        for column, work in enumerate(works):
            start = time.perf_counter()
            work()
            row[column] = time.perf_counter() - start
    return [float(value) for value in np.median(seconds, axis=0)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    threads = parser.parse_args().threads
    print("| search | points | places | k | same distances | same rows | SciPy, ms | scikit-learn, ms | ratio |")
    print("|---|---:|---:|---:|---|---|---:|---:|---:|")
    for name, (points, places, k) in searches().items():
        works = [partial(work, points, places, k, threads) for work in (with_scipy, with_sklearn)]
        (a, near), (b, other) = (work() for work in works)
        same = ["yes" if equal else "no" for equal in (np.array_equal(a, b), np.array_equal(near, other))]
        scipy, sklearn = paired([*works])
        print(
            f"| {name} | {len(points)} | {len(places)} | {k} | {same[0]} | {same[1]} | {1e3 * scipy:.1f} "
            f"| {1e3 * sklearn:.1f} | {sklearn / scipy:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
