"""Sample pairs of clouds: vessels of synthetic patients at two times, with exact landmarks."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.io.files import atomic_path
from lcsd.io.points import PointPairs, write_point_pairs

SEEDS = {"patient-1": 1, "patient-2": 2}
"""Seeds of the phantom by the name of the sample (``lcsd.serve.offers.SAMPLES``)."""

SPACING_MM = 1.2
"""Mean distance of points along a vessel; both scans have points at other places."""

NOISE_MM = 0.2


def _along(lines: "tuple[NDArray[np.float64], ...]", rng: np.random.Generator) -> NDArray[np.float64]:
    """Return points at random places of straight tubes: starts, ends (S, 3) and radii (S,), mm."""
    start, end, radius = lines
    count = rng.poisson(np.linalg.norm(end - start, axis=1) / SPACING_MM)
    share = rng.uniform(size=(count.sum(), 1))
    tube = np.repeat(np.arange(len(start)), count)
    points = start[tube] + share * (end - start)[tube]
    away = rng.normal(size=points.shape)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    return np.asarray(points + away * (radius[tube, None] * rng.uniform(size=share.shape) + NOISE_MM))


def write_sample(name: str, folder: Path) -> None:
    """Write ``fixed.csv``, ``moving.csv`` and ``landmarks.csv`` of a sample, LPS mm, unless they are there."""
    from lcsd.phantom import trees
    from lcsd.phantom.case import make_case

    if (folder / "landmarks.csv").exists():
        return
    case = make_case(SEEDS[name], size="small")
    tubes = trees.joined([trees.capsules(tree, case.body) for tree in case.vessels])
    rng = np.random.default_rng(SEEDS[name])
    for scan, other in (("fixed", trees.MOVING_ONLY), ("moving", trees.FIXED_ONLY)):
        shown = tubes.scan != other
        points = _along((tubes.start[shown], tubes.end[shown], tubes.start_radius[shown]), rng)
        points += case.motion.fixed_origin
        _write(folder / f"{scan}.csv", case.transform(points) if scan == "moving" else points)
    write_point_pairs(folder / "landmarks.csv", PointPairs(*case.landmarks))


def _write(path: Path, points: NDArray[np.float64]) -> None:
    with atomic_path(path) as temporary:
        np.savetxt(temporary, points, fmt="%.3f", delimiter=",", header="x,y,z", comments="")
