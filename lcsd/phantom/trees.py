"""Grow vessel and airway trees that fill the lungs, as tapered capsules.

Growth is the volume-filling branching of Tawhai et al. (Ann Biomed Eng 2000, 28:793-802): the terminals' territory is
cut in two through the branch, each half draws a new branch towards its centroid, until one terminal is left. Radii
follow Murray's law with exponent gamma: `r = r_terminal n^(1/gamma)` for `n` terminals downstream.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.phantom.anatomy import Body, Points, lung_levels, pushed_inside

MURRAY_EXPONENT = 2.9
BRANCH_FRACTION = (0.34, 0.48)
SPLIT_QUANTILE = (0.32, 0.68)
# Share of a territory's extent along the branch that the choice of the cutting plane ignores.
ALONG_DISCOUNT = 0.65
STEP_MM = 3.5
MAX_STEPS = 10
# Within this distance of the root, branches are in the hilum and may lie outside the lung.
HILUM_MM = 32.0
BOTH, FIXED_ONLY, MOVING_ONLY = 0, 1, 2


@dataclass(frozen=True)
class Tree:
    """A branching tree; row 0 is the root and a branch is a node with its parent."""

    nodes: Points  # shape (N, 3), float64, body mm
    parents: NDArray[np.int64]  # shape (N,), int64; the root is its own parent. Parents come before children.
    leaves: NDArray[np.int64]  # shape (N,), int64: terminals downstream
    radius: NDArray[np.float64]  # shape (N,), float64, mm: radius of the branch that ends in the node
    scan: NDArray[np.uint8]  # shape (N,), uint8: `BOTH`, `FIXED_ONLY` or `MOVING_ONLY`


class Capsules(NamedTuple):
    """Straight tapered tubes: ends (S, 3) in body mm, radii (S,) at both ends, scan flag (S,)."""

    start: Points
    end: Points
    start_radius: NDArray[np.float64]
    end_radius: NDArray[np.float64]
    scan: NDArray[np.uint8]


def terminals(rng: np.random.Generator, body: Body, *, spacing: float, margin: float, side: int) -> Points:
    """Return a jittered lattice (N, 3) in the right (-1) or left (+1) lung, `margin` mm deep."""
    low = np.array([-160.0, -120.0, -160.0]) * body.scale
    high = np.array([160.0, 120.0, 140.0]) * body.scale
    axes = [np.arange(a + rng.uniform(0, spacing), b, spacing) for a, b in zip(low, high, strict=True)]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    lattice += rng.uniform(-0.38, 0.38, lattice.shape) * spacing
    keep = (lung_levels(lattice, body) > margin) & (np.sign(lattice[:, 0]) == side)
    return np.ascontiguousarray(lattice[keep])


def _cut(rng: np.random.Generator, points: Points, direction: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points lie on one side of a plane across the territory's longest extent."""
    if len(points) == 2:
        return np.array([True, False])
    centred = points - points.mean(axis=0)
    centred = centred - ALONG_DISCOUNT * np.outer(centred @ direction, direction)
    _, vectors = np.linalg.eigh(np.einsum("ni,nj->ij", centred, centred))
    along = centred @ vectors[:, -1]
    count = int(np.clip(round(rng.uniform(*SPLIT_QUANTILE) * len(points)), 1, len(points) - 1))
    mask = np.zeros(len(points), dtype=np.bool_)
    mask[np.argsort(along, kind="stable")[:count]] = True
    return mask


def grow(
    rng: np.random.Generator, targets: Points, root: NDArray[np.float64], body: Body, *, terminal_radius: float
) -> Tree:
    """Return a tree from `root` (3,) to all `targets` (N, 3)."""
    nodes = [np.asarray(root, dtype=np.float64)]
    parents, leaves = [0], [len(targets)]
    stack = [(np.arange(len(targets)), 0)]
    while stack:
        chosen, start = stack.pop()
        here = nodes[start]
        centre = targets[chosen].mean(axis=0)
        heading = centre - here
        heading = heading / (np.linalg.norm(heading) + 1e-9)
        if len(chosen) == 1:
            new = centre
        else:
            new = here + rng.uniform(*BRANCH_FRACTION) * (centre - here)
            if np.linalg.norm(new - root) > HILUM_MM:
                radius = terminal_radius * len(chosen) ** (1.0 / MURRAY_EXPONENT)
                new = pushed_inside(new[None], np.array([radius + 3.0]), body)[0]
        nodes.append(new)
        parents.append(start)
        leaves.append(len(chosen))
        if len(chosen) > 1:
            mask = _cut(rng, targets[chosen], heading)
            index = len(nodes) - 1
            stack.append((chosen[mask], index))
            stack.append((chosen[~mask], index))
    count = np.array(leaves, dtype=np.int64)
    radii = terminal_radius * count.astype(np.float64) ** (1.0 / MURRAY_EXPONENT)
    radii *= np.where(count == 1, rng.uniform(0.9, 1.1, len(count)), 1.0)
    return Tree(np.array(nodes), np.array(parents, dtype=np.int64), count, radii, np.zeros(len(nodes), dtype=np.uint8))


def with_changes(rng: np.random.Generator, tree: Tree, *, share: float, largest: int) -> Tree:
    """Return the tree with `share` of its terminals in one scan only, as subtrees of at most `largest` terminals."""
    tops = np.flatnonzero((tree.leaves <= largest) & (tree.leaves[tree.parents] > largest))
    order = rng.permutation(tops)
    before = np.cumsum(tree.leaves[order]) - tree.leaves[order]
    enough = int(np.sum(before < share * tree.leaves[0]))
    scan = np.zeros(len(tree.nodes), dtype=np.uint8)
    for rank, top in enumerate(order[:enough]):
        scan[top] = FIXED_ONLY if rank % 2 == 0 else MOVING_ONLY
    for node in range(1, len(scan)):
        parent = tree.parents[node]
        if tree.leaves[parent] <= largest:
            scan[node] = scan[parent]
    return replace(tree, scan=scan)


def capsules(tree: Tree, body: Body) -> Capsules:
    """Return the tree's branches as smooth curves (cubic Hermite) cut into capsules."""
    start = tree.nodes[tree.parents[1:]]
    end = tree.nodes[1:]
    own = end - start
    length = np.linalg.norm(own, axis=1, keepdims=True) + 1e-9
    grand = tree.nodes[tree.parents[tree.parents[1:]]]
    before = start - grand
    before_length = np.linalg.norm(before, axis=1, keepdims=True)
    before = np.where(before_length > 0, before / (before_length + 1e-9), own / length)
    leave = 0.5 * before + 0.5 * own / length
    leave = leave / (np.linalg.norm(leave, axis=1, keepdims=True) + 1e-9) * length
    steps = np.clip(np.ceil(length[:, 0] / STEP_MM).astype(np.int64), 2, MAX_STEPS)
    branch = np.repeat(np.arange(len(steps)), steps)
    first = np.cumsum(steps) - steps
    part = np.arange(len(branch)) - first[branch]
    ends = [_hermite(start, end, leave, own, branch, (part + k) / steps[branch]) for k in (0, 1)]
    radius = tree.radius[1:]
    margin = np.minimum(radius[branch] + 1.5, 6.0)
    free = np.linalg.norm(ends[0] - tree.nodes[0], axis=1) > HILUM_MM
    inside = [
        np.where(
            (free & (part + k > 0) & (part + k < steps[branch]))[:, None],
            pushed_inside(np.ascontiguousarray(e), margin, body),
            e,
        )
        for k, e in enumerate(ends)
    ]
    # The first step widens towards the parent, so that bifurcations have no edges.
    mother = np.minimum(tree.radius[tree.parents[1:]], 1.25 * radius)[branch]
    start_radius = np.where(part == 0, mother, radius[branch])
    # Both neighbours of an inner point must share its position, even if only one was pushed.
    inner = part > 0
    inside[0][inner] = inside[1][np.flatnonzero(inner) - 1]
    return Capsules(inside[0], inside[1], start_radius, radius[branch], tree.scan[1:][branch])


def _hermite(
    start: Points, end: Points, leave: Points, arrive: Points, branch: NDArray[np.int64], t: NDArray[np.float64]
) -> Points:
    s = t[:, None]
    return np.asarray(
        (2 * s**3 - 3 * s**2 + 1) * start[branch]
        + (s**3 - 2 * s**2 + s) * leave[branch]
        + (-2 * s**3 + 3 * s**2) * end[branch]
        + (s**3 - s**2) * arrive[branch]
    )


def joined(parts: list[Capsules]) -> Capsules:
    """Return all capsules of several trees as one set."""
    return Capsules(*map(np.concatenate, zip(*parts, strict=True)))


def beside(tree: Tree, *, smallest: float, gap: float, radius_ratio: float) -> Tree:
    """Return the airways next to an artery: its branches down to `smallest` mm, moved sideways.

    The offset of a node is perpendicular to the branch that ends there, towards the midline as far as possible.
    """
    keep = tree.radius >= smallest
    keep[0] = True
    rank = np.cumsum(keep) - 1
    nodes = tree.nodes[keep]
    parents = rank[tree.parents[keep]]
    radius = radius_ratio * tree.radius[keep]
    heading = nodes - nodes[parents]
    heading /= np.linalg.norm(heading, axis=1, keepdims=True) + 1e-9
    wish = np.array([-np.sign(tree.nodes[0, 0]), 0.35, 0.35])
    offset = wish - np.sum(heading * wish, axis=1, keepdims=True) * heading
    offset /= np.linalg.norm(offset, axis=1, keepdims=True) + 1e-9
    moved = nodes + offset * (radius + tree.radius[keep] + gap)[:, None]
    return Tree(moved, parents.astype(np.int64), tree.leaves[keep], radius, np.zeros(len(moved), dtype=np.uint8))
