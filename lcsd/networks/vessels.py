"""Vessels to train on: points of phantom trees that know their branch, so that branches can be lost."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.phantom import trees
from lcsd.phantom.anatomy import draw_body, lung_levels
from lcsd.phantom.plan import DETAILS, vessel_trees
from lcsd.phantom.seeds import Purpose, generator
from lcsd.settings.phantom import PhantomSettings

Points = NDArray[np.float64]

POOL_POINTS = 160_000
"""Points that are drawn in the tubes of one anatomy; those outside the lungs are left out."""

KEPT_ANATOMIES = 256
"""Anatomies kept in memory, 5 MB each: growing one takes as long as some steps of training."""


@dataclass(frozen=True)
class Vessels:
    """Points in the vessels of one anatomy, body mm, in random order.

    ``axis`` (N, 3) are their places on the centre lines and ``offset`` (N, 3) the way from there; ``radius`` (N,) is
    that of the tube, mm. ``node`` (N,) is the branch, and the branches from ``i`` up to ``i + below[i]`` hang on
    branch ``i``. ``scan`` (N,) says which scans show the point, as in :class:`lcsd.phantom.trees.Tree`.
    """

    axis: Points
    offset: Points
    radius: NDArray[np.float64]
    node: NDArray[np.int64]
    below: NDArray[np.int64]
    scan: NDArray[np.uint8]

    @property
    def box(self) -> Points:
        """Lowest and highest coordinates, shape (2, 3)."""
        return np.stack([self.axis.min(axis=0), self.axis.max(axis=0)])


def _sizes(tree: trees.Tree) -> NDArray[np.int64]:
    """Return how many branches hang on each one, itself included; a tree lists them right behind it."""
    sizes = np.ones(len(tree.nodes), dtype=np.int64)
    for node in range(len(sizes) - 1, 0, -1):
        sizes[tree.parents[node]] += sizes[node]
    return sizes


@lru_cache(maxsize=KEPT_ANATOMIES)
def phantom_vessels(seed: int) -> Vessels:
    """Return points in the vessels of the phantom of a seed; equal seeds give equal points."""
    body = draw_body(generator(seed, 0, Purpose.ANATOMY))
    share = PhantomSettings().changed_share
    grown = vessel_trees(seed, 0, body, DETAILS["full"], changed_share=share)
    parts = [trees.capsules(tree, body) for tree in grown]
    tubes = trees.joined(parts)
    rng = generator(seed, 0, Purpose.POINTS)
    heading = tubes.end - tubes.start
    length = np.linalg.norm(heading, axis=1)
    volume = length * (tubes.start_radius + tubes.end_radius) ** 2
    tube = rng.choice(len(length), POOL_POINTS, p=volume / volume.sum())
    along = rng.uniform(size=(POOL_POINTS, 1))
    axis = tubes.start[tube] + along * heading[tube]
    radius = tubes.start_radius[tube] + along[:, 0] * (tubes.end_radius - tubes.start_radius)[tube]
    across = rng.standard_normal((POOL_POINTS, 3))
    direction = heading[tube] / (length[tube, None] + 1e-9)
    across -= np.sum(across * direction, axis=1, keepdims=True) * direction
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    offset = across * (radius * np.sqrt(rng.uniform(size=POOL_POINTS)))[:, None]
    first = np.cumsum([0, *(len(tree.nodes) for tree in grown)])
    owner = np.repeat(np.arange(len(parts)), [len(part.start) for part in parts])[tube]
    node = np.empty(POOL_POINTS, dtype=np.int64)
    for number, tree in enumerate(grown):
        rows = owner == number
        node[rows] = first[number] + cKDTree(tree.nodes).query(tubes.end[tube[rows]])[1]
    inside = lung_levels(np.ascontiguousarray(axis + offset), body) > 0
    below = np.concatenate([_sizes(tree) for tree in grown])
    return Vessels(axis[inside], offset[inside], radius[inside], node[inside], below, tubes.scan[tube[inside]])


def lost_branches(vessels: Vessels, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points (N,) lie in random whole subtrees that hold about a share of all branches."""
    count = len(vessels.below)
    gone = np.zeros(count, dtype=bool)
    usable = np.flatnonzero((vessels.below > 0.001 * count) & (vessels.below < 0.05 * count))
    for node in rng.permutation(usable):
        if gone.mean() >= share:
            break
        gone[node : node + vessels.below[node]] = True
    return gone[vessels.node]
