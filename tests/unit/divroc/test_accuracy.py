"""Registration of vessel clouds of full detail with exact truth: whole, spoilt, swapped and sparse."""

import functools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lcsd.divroc.motion import covering_grid
from lcsd.divroc.register import register_clouds
from lcsd.geometry import fit_rigid
from lcsd.io.fields import field_quality
from lcsd.io.images import Image
from lcsd.phantom.case import ROLES, PhantomCase, make_case
from lcsd.phantom.scanner import Scan

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("clouds")]

SEED = 301
OTHER_SEEDS = (302, 303)
POINTS = 30_000
"""Of each lung and scan."""

MARGIN_MM = 10.0
Clouds = tuple[np.ndarray, np.ndarray]


def cut(scan: Scan, points: np.ndarray) -> Scan:
    """Return the part of a scan around points, so that nothing else is rendered."""
    voxels = (points - scan.origin) @ scan.direction / scan.spacing
    margin = MARGIN_MM / scan.spacing
    low = np.maximum(np.floor(voxels.min(axis=0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(voxels.max(axis=0) + margin).astype(int) + 1, scan.size_xyz)
    x, y, z = (int(n) for n in high - low)
    return replace(scan, size_xyz=(x, y, z), origin=scan.to_world(low))


def vessel_clouds(case: PhantomCase, right: np.ndarray, *, whole: bool) -> Clouds:
    """Return a random part of the true vessel voxels of each scan, of both lungs or the right one."""
    rng = np.random.default_rng(0)
    parts = {f"{role}_scan": cut(case.scan(role), case.points[k][right | whole]) for k, role in enumerate(ROLES)}
    case = replace(case, **parts)
    clouds = []
    for k, role in enumerate(ROLES):
        cloud = case.scan(role).to_world(np.argwhere(case.masks(role)[1])[:, ::-1].astype(np.float64))
        if not whole:
            cloud = cloud[right[cKDTree(case.points[k]).query(cloud)[1]]]
        clouds.append(rng.permutation(cloud)[: POINTS * (1 + whole)])
    return clouds[0], clouds[1]


@functools.cache
def pair(seed: int, *, whole: bool = False) -> tuple[Clouds, Clouds, float]:
    """Return a case's clouds and truth after the best rigid alignment, and its standard deviation of log det J.

    The right lung alone is half the work.
    """
    case = make_case(seed)
    x = case.points[0][:, 0]
    right = x < (x.min() + x.max()) / 2
    back = fit_rigid(*case.landmarks).inverse()
    fixed, moving = vessel_clouds(case, right, whole=whole)
    chosen = right | whole
    spread = float(np.log(case.determinant(case.points[0][chosen])).std())
    return (fixed, back.apply(moving)), (case.points[0][chosen], back.apply(case.points[1][chosen])), spread


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


@pytest.mark.parametrize(("seed", "whole"), [(SEED, True), *((seed, False) for seed in OTHER_SEEDS)])
def test_whole_clouds(seed: int, whole: bool, record_property: Callable[[str, object], None]) -> None:
    """Of both lungs, and of the right lung of other patients."""
    clouds, known, spread = pair(seed, whole=whole)
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
    (fixed, moving), known, _ = pair(SEED)
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
        fixed, moving = fixed[:4500], moving[-4500:]
    mean, _, folds = errors((fixed, moving), known)
    record_property("after_mm", round(mean, 2))
    assert mean <= 2.3
    assert folds <= 0.01
