"""Vessel points of phantoms and real lungs: voxels, centre lines and the subtrees they hang on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, depth_first_order, minimum_spanning_tree
from scipy.spatial import cKDTree

from lcsd.geometry import fit_rigid
from lcsd.io.images import Image, read_image, read_mask
from lcsd.phantom.case import make_case
from lcsd.settings.vessels import ObjectnessSettings
from lcsd.vessels.objectness import segment_vessels

Points = NDArray[np.float64]

DENSE_POINTS = 220_000
"""Random positions in an anatomy's vessel voxels: two disjoint clouds of 100,000 and a reserve."""

LINE_POINTS = 12_000
"""Points of the centre lines: two disjoint trees of 3,000 and what the missing subtrees take."""

LINE_REACH_MM = 3.0
"""Each step towards the centre line moves a point to the mean of its neighbours within this."""

LINE_STEPS = 4

TREE_NEIGHBOURS = 12
"""Neighbours that can be joined by a branch of the tree."""

SUBTREE_SHARE = (0.002, 0.015)
"""A subtree that goes missing holds this share of all points."""


LAY_ROUNDS, LAY_POINTS = 30, 5_000
"""Rounds, and points of each cloud, of the search for the nearest points that lays two people onto each other."""


@dataclass(frozen=True)
class Anatomy:
    """Vessels of one scan, points (N, 3) in LPS mm in random order."""

    dense: Points  # random positions in the vessel voxels
    lines: Points  # near the centre lines


def contracted(points: Points) -> Points:
    """Return points (N, 3) drawn to the centre line of their tube by repeated local means."""
    tree = cKDTree(points)
    found = points[np.random.default_rng(0).permutation(len(points))[:LINE_POINTS]]
    for _ in range(LINE_STEPS):
        near = tree.query_ball_point(found, LINE_REACH_MM)
        found = np.array(
            [points[rows].mean(axis=0) if rows else place for place, rows in zip(found, near, strict=True)]
        )
    return found


def _of_mask(mask: Image) -> Anatomy:
    """Return random positions in the voxels of a mask, and its centre lines."""
    rng = np.random.default_rng(0)
    voxels = np.argwhere(mask.array)[:, ::-1].astype(np.float64)
    places = voxels[rng.integers(len(voxels), size=DENSE_POINTS)] + rng.uniform(-0.5, 0.5, (DENSE_POINTS, 3))
    dense = mask.grid.voxel_to_world(places)
    return Anatomy(dense, contracted(dense[:60_000]))


def phantom_anatomy(seed: int) -> Anatomy:
    """Return the true vessels of a phantom's fixed scan."""
    case = make_case(seed)
    scan = case.scan("fixed")
    rng = np.random.default_rng(0)
    voxels = np.argwhere(case.masks("fixed")[1])[:, ::-1].astype(np.float64)
    places = voxels[rng.integers(len(voxels), size=DENSE_POINTS)] + rng.uniform(-0.5, 0.5, (DENSE_POINTS, 3))
    dense = scan.to_world(places)
    return Anatomy(dense, contracted(dense[:60_000]))


def real_anatomy(scan: Path, lungs: Path) -> Anatomy:
    """Return the vessels that the built-in filter finds in a real scan."""
    image = read_image(scan)
    return _of_mask(segment_vessels(image, read_mask(lungs), ObjectnessSettings()))


def missing_subtrees(points: Points, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Return which points (N, 3) of centre lines lie in random subtrees that hold a share of all.

    The tree is the shortest that joins neighbours; its root is the point nearest to the middle.
    """
    distance, index = cKDTree(points).query(points, k=TREE_NEIGHBOURS + 1)
    rows = np.repeat(np.arange(len(points)), TREE_NEIGHBOURS)
    edges = (distance[:, 1:].ravel() + 1e-6, (rows, index[:, 1:].ravel()))
    tree = minimum_spanning_tree(coo_array(edges, shape=(len(points),) * 2).tocsr())
    parts = connected_components(tree, directed=False)[1]
    from_middle = np.linalg.norm(points - np.median(points, axis=0), axis=1)
    gone = np.zeros(len(points), bool)
    branches = []
    for part in np.unique(parts):
        members = np.flatnonzero(parts == part)
        root = members[from_middle[members].argmin()]
        order, parents = depth_first_order(tree, root, directed=False)
        sizes = np.ones(len(points), np.int64)
        for node in order[:0:-1]:
            sizes[parents[node]] += sizes[node]
        branches += [order[at : at + sizes[node]] for at, node in enumerate(order)]
    low, high = (limit * len(points) for limit in SUBTREE_SHARE)
    usable = [branch for branch in branches if low <= len(branch) <= high]
    for branch in rng.permutation(len(usable)):
        if gone.mean() >= share:
            break
        gone[usable[branch]] = True
    return gone


def laid_onto(fixed: Points, moving: Points) -> Points:
    """Return the moving points rigidly laid onto the fixed ones, by the nearest points of both clouds in turn."""
    moving = moving + (fixed.min(axis=0) + fixed.max(axis=0) - moving.min(axis=0) - moving.max(axis=0)) / 2
    targets, placed = fixed[:LAY_POINTS], moving
    for _ in range(LAY_ROUNDS):
        some = placed[:LAY_POINTS]
        there, back = cKDTree(targets).query(some)[1], cKDTree(some).query(targets)[1]
        fit = fit_rigid(np.concatenate([some, some[back]]), np.concatenate([targets[there], targets]))
        placed = fit.apply(placed)
    return placed
