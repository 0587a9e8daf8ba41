"""Seconds of matching against the number of keypoints: costs and inference of both stages.

Run: python -m benchmarks.corrfield.linearity --real CASE_FOLDER --truth TRUTH.csv
"""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.corrfield.cases import pairs_of, parser
from benchmarks.tables import seconds, write_rows
from lcsd.corrfield.mind import FULL, mind_ssc
from lcsd.corrfield.on_numba import NumbaKernels
from lcsd.corrfield.tree import spanning_tree
from lcsd.settings.correspond import CorrespondSettings

COUNTS = (250, 500, 1000, 2000)
Features = NDArray[np.uint8]


def match(
    fixed: Features, moving: Features, points: NDArray[np.float64], stage: int, settings: CorrespondSettings
) -> None:
    """Match points like a stage, without keypoints and spline."""
    radius, step = settings.search_radius[stage], settings.quantisation[stage]
    patch, alpha = settings.patch_radius[stage], settings.alpha / FULL**2
    kernels = NumbaKernels()
    cost = kernels.cost_volumes(fixed, moving, points, radius=radius, step=step, patch_radius=patch, alpha=alpha)
    tree = spanning_tree(points, np.zeros(len(points)), neighbours=settings.neighbours, beta=settings.beta)
    kernels.tree_marginals(cost, tree)


def main() -> None:
    pair = pairs_of(parser(__doc__).parse_args())[0].cropped()
    settings = CorrespondSettings()
    fixed, moving = (mind_ssc(image.array.astype(np.float32), step=1, sigma=1.0) for image in (pair.fixed, pair.moving))
    voxels = np.argwhere(pair.mask.array)
    rng = np.random.default_rng(0)
    rows = []
    for count in COUNTS:
        points = voxels[np.sort(rng.choice(len(voxels), count, replace=False))].astype(float)
        row: dict[str, object] = {"keypoints": count}
        for stage in range(len(settings.search_radius)):
            work = partial(match, fixed, moving, points, stage, settings)
            row[f"stage_{stage + 1}_ms_per_keypoint"] = 1e3 * seconds(work, repeats=3) / count
        rows.append(row)
    write_rows("corrfield/linearity", rows)


if __name__ == "__main__":
    main()
