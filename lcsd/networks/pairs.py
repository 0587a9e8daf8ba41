"""Pairs of clouds to train on, each drawn from a seed and its number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.motion import fit_affine
from lcsd.networks.motions import RealMotion, random_field, real_motion
from lcsd.networks.vessels import Vessels, lost_branches, phantom_vessels
from lcsd.phantom.motion import rotation_matrix
from lcsd.phantom.trees import FIXED_ONLY, MOVING_ONLY

Points = NDArray[np.float64]

VOXEL_MM = 1.5
"""Lattice of dense clouds."""

DENSE_POINTS = (8_000, 30_000)
SPARSE_POINTS = (2_500, 9_000)
"""Range of the points of a cloud: all voxels of vessels, or centre lines."""

KEYPOINTS = (1_000, 6_000)
KEYPOINT_CELLS_MM = (4.0, 9.0)
COMMON_SHARES = (0.2, 0.8)
"""Ranges of the keypoints of a cloud, of the cells that hold one each, and of the share that both scans show."""

SPARSE_SHARE = 0.35
ONE_LUNG_SHARE = 0.8
REST_SHARE = 0.25
"""Shares of the pairs that are sparse, show one lung, and have most of their motion taken out already, as a second
look of the network finds them."""

JITTER_MM = (0.2, 0.9)
THICKNESS = (0.7, 1.6)
"""Factor of the tubes' radii: segmentations are too thick or too thin."""

LEAST_RADIUS_MM = (0.0, 1.1)
"""Thinner vessels are missing from a segmentation."""

LOST_SHARES = (0.0, 0.3)
STRAY_SHARES = (0.0, 0.04)
"""Shares of a cloud: whole subtrees that are missing, and points in no vessel."""

START_TURN_DEG = 2.0
START_SLOPE = 0.025
START_SHIFT_MM = 2.0
"""Standard deviations of how far a fitted start is from the best affine motion."""

FIT_POINTS = 4_000


@dataclass(frozen=True)
class TrainingPair:
    """Two clouds after the affine start, LPS mm, and what is left of the motion.

    ``fixed`` has shape (N, 3), ``moving`` (M, 3); ``vectors`` (N, 3) lead from the fixed points to their true places in
    the moving cloud, mm, or are None where nobody knows them.
    """

    name: str
    fixed: Points
    moving: Points
    vectors: Points | None


def _points_of(vessels: Vessels, rows: NDArray[np.int64], rng: np.random.Generator, *, sparse: bool) -> Points:
    """Return the points of some rows as a segmentation or a centre line would place them."""
    thickness = 0.0 if sparse else rng.uniform(*THICKNESS)
    return vessels.axis[rows] + thickness * vessels.offset[rows]


def _seen(vessels: Vessels, hidden: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points one scan's segmentation shows."""
    least = rng.uniform(*LEAST_RADIUS_MM)
    share = rng.choice([0.0, rng.uniform(*LOST_SHARES)])
    keep = (vessels.radius >= least) & (vessels.scan != hidden)
    return keep & ~lost_branches(vessels, share, rng)


def _on_lattice(points: Points, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of one point for each occupied voxel."""
    voxels = np.floor(points / VOXEL_MM + rng.uniform(size=3)).astype(np.int64)
    keys = (voxels - voxels.min(axis=0)) @ np.array([1, 1 << 16, 1 << 32])
    rows: NDArray[np.int64] = np.unique(keys, return_index=True)[1]
    return rows


def _keypoints(axis: Points, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Return the rows of both scans' keypoints, apart from each other and some of them in both scans."""
    cells = np.floor(axis / rng.uniform(*KEYPOINT_CELLS_MM)).astype(np.int64)
    mixed = rng.permutation(len(axis))
    kept = rng.permutation(mixed[np.unique(cells[mixed], axis=0, return_index=True)[1]])
    common, rest = np.split(kept, [int(rng.uniform(*COMMON_SHARES) * len(kept))])
    return [rng.permutation(np.concatenate([common, half])) for half in np.array_split(rest, 2)]


def _with_strays(points: Points, rng: np.random.Generator) -> Points:
    """Return a cloud with some points anywhere in its box: noise that was taken for vessels."""
    count = int(rng.uniform(*STRAY_SHARES) * len(points))
    return np.concatenate([points, rng.uniform(points.min(axis=0), points.max(axis=0), (count, 3))])


def _start(rng: np.random.Generator, fixed: Points, vectors: Points) -> tuple[Points, Points]:
    """Return points and vectors after an affine start that is nearly the best one."""
    rows = rng.permutation(len(fixed))[:FIT_POINTS]
    moved = fixed + fit_affine(fixed[rows], vectors[rows]).at(fixed)
    slope = rotation_matrix(rng.normal(scale=START_TURN_DEG, size=3)) - np.eye(3)
    slope = slope + rng.normal(scale=START_SLOPE, size=(3, 3))
    size = rng.uniform()
    moved = moved + size * ((moved - moved.mean(axis=0)) @ slope + rng.normal(scale=START_SHIFT_MM, size=3))
    return moved, fixed + vectors - moved


class PhantomPairs:
    """Endless pairs from phantom vessels: pair ``number`` of a ``seed`` is always the same.

    Parameters
    ----------
    seeds
        Phantoms whose vessels take part.
    seed
        Of all draws.
    motions
        Tables of real motions that take part besides the phantoms' own; see
        :func:`lcsd.networks.motions.real_motion`.
    keypoint_share
        Share of the pairs that are keypoints, of 1.
    """

    def __init__(
        self, seeds: Sequence[int], *, seed: int, motions: Sequence[Path] = (), keypoint_share: float = 0.0
    ) -> None:
        self._seeds = list(seeds)
        self._seed = seed
        self._keypoint_share = keypoint_share
        self._motions: list[RealMotion] = [real_motion(path) for path in motions]

    def pair(self, number: int) -> TrainingPair:
        """Return a pair, with its truth."""
        rng = np.random.default_rng([self._seed, number])
        which = int(rng.choice(self._seeds))
        vessels = phantom_vessels(which)
        field = random_field(rng, vessels.box, self._motions)
        keypoints = self._keypoint_share > 0 and rng.uniform() < self._keypoint_share
        sparse = keypoints or rng.uniform() < SPARSE_SHARE
        side = rng.choice([-1, 1]) if rng.uniform() < ONE_LUNG_SHARE else 0
        middle = vessels.box.mean(axis=0)
        turn = rotation_matrix(rng.normal(scale=5.0, size=3)) * rng.uniform(0.85, 1.1, 3) * rng.uniform(0.9, 1.05)
        turn = turn * np.array([rng.choice([-1.0, 1.0]), 1.0, 1.0])
        both = _keypoints(vessels.axis, rng) if keypoints else np.array_split(rng.permutation(len(vessels.axis)), 2)
        limits = KEYPOINTS if keypoints else SPARSE_POINTS if sparse else DENSE_POINTS
        clouds = []
        for rows, hidden in zip(both, (MOVING_ONLY, FIXED_ONLY), strict=True):
            shown = rows[_seen(vessels, hidden, rng)[rows] & (vessels.axis[rows, 0] * side >= 0)]
            count = int(np.exp(rng.uniform(*np.log(limits))))
            body = _points_of(vessels, shown[:count], rng, sparse=sparse)
            clouds.append((body, body + field(body)))
        fixed, truth = ((part - middle) @ turn.T for part in clouds[0])
        moving = (clouds[1][1] - middle) @ turn.T
        if not sparse:
            rows = _on_lattice(fixed, rng)
            fixed, truth = fixed[rows], truth[rows]
            moving = moving[_on_lattice(moving, rng)]
        jitter = rng.uniform(*JITTER_MM)
        vectors = truth - fixed
        fixed, vectors = _start(rng, fixed, vectors)
        if rng.uniform() < REST_SHARE:
            share = rng.uniform(0.4, 0.9)
            fixed, vectors = fixed + share * vectors, (1 - share) * vectors
        fixed = fixed + rng.normal(scale=jitter, size=fixed.shape)
        moving = _with_strays(moving + rng.normal(scale=jitter, size=moving.shape), rng)
        return TrainingPair(f"phantom {which}, draw {number}", fixed, moving, vectors)
