"""Registration of full-size vessel clouds with exact truth: whole, spoilt, swapped and sparse."""

import functools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lcsd.divroc.motion import covering_grid
from lcsd.divroc.register import register_clouds
from lcsd.geometry import fit_rigid
from lcsd.io.fields import field_quality
from lcsd.io.images import Image
from lcsd.phantom.case import PhantomCase, make_case

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clouds")]

SEEDS = (301, 302, 303)
POINTS = 60_000
Clouds = tuple[np.ndarray, np.ndarray]


def truth(case: PhantomCase) -> Clouds:
    """Random lung points of both scans after the best rigid alignment."""
    rigid = fit_rigid(*case.landmarks).inverse()
    return case.points[0], rigid.apply(case.points[1])


def vessel_clouds(case: PhantomCase) -> Clouds:
    """A random part of the true vessel voxels of each scan, rigidly aligned."""
    rng = np.random.default_rng(0)
    clouds = []
    for role in ("fixed", "moving"):
        voxels = np.argwhere(case.masks(role)[1])[:, ::-1].astype(np.float64)
        clouds.append(case.scan(role).to_world(rng.permutation(voxels)[:POINTS]))
    return clouds[0], fit_rigid(*case.landmarks).inverse().apply(clouds[1])


@functools.cache
def pair(seed: int) -> tuple[Clouds, Clouds, float]:
    """Return the clouds of a case, its truth and the standard deviation of its log det J."""
    case = make_case(seed)
    spread = float(np.log(case.determinant(case.points[0])).std())
    return vessel_clouds(case), truth(case), spread


def errors(clouds: Clouds, known: Clouds) -> tuple[float, float, float]:
    """Return the mean error in mm, std log det J and folds in percent at lung points."""
    grid = covering_grid(known[0], spacing_mm=4.0, margin_mm=10.0)
    field = register_clouds(*clouds, grid=grid).field
    off = np.linalg.norm(known[0] + field.at(known[0]) - known[1], axis=1)
    near = np.zeros(grid.shape, bool)
    near[tuple(np.rint(grid.world_to_voxel(known[0])).astype(int)[:, ::-1].T)] = True
    quality = field_quality(field, mask=Image(near, grid))
    assert quality.std_log_jacobian is not None
    return float(off.mean()), quality.std_log_jacobian, quality.folding_percent


def without_branches(cloud: np.ndarray, share: float) -> np.ndarray:
    """Remove balls of vessels until a share is gone."""
    rng, keep, tree = np.random.default_rng(0), np.ones(len(cloud), bool), cKDTree(cloud)
    while keep.mean() > 1 - share:
        centre, radius = cloud[rng.integers(len(cloud))], rng.uniform(5, 15)
        keep[tree.query_ball_point(centre, radius)] = False
    return cloud[keep]


@pytest.mark.parametrize("seed", SEEDS)
def test_whole_clouds(seed: int, record_property: Callable[[str, object], None]) -> None:
    clouds, known, spread = pair(seed)
    before = float(np.linalg.norm(known[0] - known[1], axis=1).mean())
    mean, std, folds = errors(clouds, known)
    record_property("before_and_after_mm", f"{before:.2f} {mean:.2f}")
    record_property("std_log_jacobian_and_truth", f"{std:.3f} {spread:.3f}")
    assert before > 6
    assert mean <= 1.8
    assert std <= 1.2 * spread
    assert folds <= 0.01


@pytest.mark.parametrize("how", ["branches", "half", "jitter", "swapped", "sparse"])
def test_spoilt_clouds(how: str, record_property: Callable[[str, object], None]) -> None:
    (fixed, moving), known, _ = pair(SEEDS[0])
    rng = np.random.default_rng(1)
    if how == "branches":
        moving = without_branches(moving, 0.2)
    elif how == "half":
        moving = moving[: len(moving) // 2]
    elif how == "jitter":
        fixed, moving = (part + rng.normal(scale=0.7, size=part.shape) for part in (fixed, moving))
    elif how == "swapped":
        fixed, moving, known = moving, fixed, known[::-1]
    else:
        fixed, moving = fixed[:9000], moving[-9000:]
    mean, _, folds = errors((fixed, moving), known)
    record_property("after_mm", round(mean, 2))
    assert mean <= 2.3
    assert folds <= 0.01
