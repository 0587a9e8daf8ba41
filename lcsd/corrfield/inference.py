"""Inference: the spanning tree of the keypoints and exact message passing on it."""

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree


@dataclass(frozen=True)
class Tree:
    """A rooted spanning tree of K points.

    Parameters
    ----------
    order
        Points from the root outwards, shape (K,); parents stand before children.
    parent
        Parent of each point, shape (K,); the root's is -1.
    length
        Length of the edge to the parent, shape (K,), float32; the root's is 1.
    levels
        ``order[levels[i]:levels[i + 1]]`` are the points i edges from the root.
    """

    order: NDArray[np.int64]
    parent: NDArray[np.int64]
    length: NDArray[np.float32]
    levels: NDArray[np.int64]


def _joined(points: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``edges`` with the shortest links added that connect all components.

    Every round links each component to its nearest other one, so their number at least halves.
    """
    count = len(points)
    while True:
        graph = coo_matrix((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count))
        number, label = connected_components(graph, directed=False)
        if number == 1:
            return edges
        links = []
        for component in range(number):
            inside, outside = np.flatnonzero(label == component), np.flatnonzero(label != component)
            distance, nearest = cKDTree(points[outside]).query(points[inside])
            best = int(distance.argmin())
            links.append((inside[best], outside[nearest[best]]))
        edges = np.vstack([edges, np.array(links)])


def spanning_tree(
    points: NDArray[np.float64], intensity: NDArray[np.float64], *, neighbours: int, beta: float
) -> Tree:
    """Return the minimum spanning tree over the nearest neighbours of keypoints.

    Parameters
    ----------
    points
        Distinct voxel positions, shape (K, 3).
    intensity
        Mean intensity around each point, shape (K,).
    neighbours
        Nearest neighbours that a point may be linked to.
    beta
        Intensity difference that counts as one voxel of distance.

    Notes
    -----
    Edge length: distance in voxels plus ``|intensity difference| / beta`` (MICCAI 2015).
    """
    count = len(points)
    if count == 1:
        return Tree(np.zeros(1, np.int64), np.array([-1]), np.ones(1, np.float32), np.array([0, 1]))
    asked = min(neighbours + 1, count)
    _, near = cKDTree(points).query(points, k=asked)
    edges = np.stack([np.repeat(np.arange(count), asked - 1), near[:, 1:].ravel()], axis=1)
    # Each pair once and in one order: then equal lengths are broken in one way only.
    edges = _joined(points, np.unique(np.sort(edges[edges[:, 0] != edges[:, 1]], axis=1), axis=0))
    edges = np.unique(np.sort(edges, axis=1), axis=0)
    a, b = edges.T
    length = np.linalg.norm(points[a] - points[b], axis=1)
    length += np.abs(intensity[a] - intensity[b]) / beta
    tree = minimum_spanning_tree(coo_matrix((length, (a, b)), shape=(count, count)).tocsr())
    both = (tree + tree.T).tocsr()
    order, parent = breadth_first_order(both, 0, directed=False)
    parent = np.where(parent < 0, -1, parent).astype(np.int64)
    depth = np.zeros(count, np.int64)
    edge = np.ones(count, np.float32)
    for point in order[1:]:
        depth[point] = depth[parent[point]] + 1
        edge[point] = both[point, parent[point]]
    levels = np.searchsorted(depth[order], np.arange(depth.max() + 2))
    return Tree(order.astype(np.int64), parent, edge, levels.astype(np.int64))


@numba.njit(cache=True, fastmath=True)  # type: ignore[misc]
def _min_convolve(volume: NDArray[np.float32], weight: float, scratch: NDArray[np.float32]) -> None:
    """Replace ``volume[d]`` by ``min over e of volume[e] + weight |d - e|^2``, axis by axis."""
    n = volume.shape[0]
    w = np.float32(weight)
    for z in range(n):  # along z
        scratch[z] = volume[0] + w * np.float32(z * z)
        for e in range(1, n):
            penalty = w * np.float32((z - e) * (z - e))
            for y in range(n):
                for x in range(n):
                    scratch[z, y, x] = min(scratch[z, y, x], volume[e, y, x] + penalty)
    for z in range(n):  # along y
        for y in range(n):
            volume[z, y] = scratch[z, 0] + w * np.float32(y * y)
            for e in range(1, n):
                penalty = w * np.float32((y - e) * (y - e))
                for x in range(n):
                    volume[z, y, x] = min(volume[z, y, x], scratch[z, e, x] + penalty)
    squares = np.empty(2 * n - 1, np.float32)
    for i in range(2 * n - 1):
        squares[i] = w * np.float32((i - n + 1) ** 2)
    for z in range(n):  # along x
        for y in range(n):
            row = scratch[z, y]
            row[:] = volume[z, y]
            for x in range(n):
                volume[z, y, x] = np.inf
            for e in range(n):
                value = row[e]
                for x in range(n):
                    volume[z, y, x] = min(volume[z, y, x], value + squares[x - e + n - 1])


@numba.njit(cache=True, parallel=True)  # type: ignore[misc]
def _send(
    beliefs: NDArray[np.float32],
    nodes: NDArray[np.int64],
    length: NDArray[np.float32],
    messages: NDArray[np.float32],
) -> None:
    """Set ``messages[n]`` to the min-convolution of ``beliefs[i]`` for ``n = nodes[i]``."""
    for i in numba.prange(len(nodes)):
        node = nodes[i]
        scratch = np.empty_like(messages[node])
        messages[node] = beliefs[i]
        _min_convolve(messages[node], 1.0 / length[node], scratch)
        # Only differences matter; small numbers keep float32 exact on long trees.
        messages[node] -= messages[node].min()


def tree_marginals(cost: NDArray[np.float32], tree: Tree) -> NDArray[np.float32]:
    """Return the min-marginals of ``sum cost_i(d_i) + sum over edges |d_i - d_j|^2 / length``.

    Parameters
    ----------
    cost
        Shape (K, D, D, D), float32.
    tree
        Spanning tree of the K points.

    Returns
    -------
    NDArray
        Shape (K, D, D, D): up to a constant per point, the smallest energy of all configurations
        in which point i takes displacement d.

    Notes
    -----
    Exact on a tree: messages go from the leaves to the root and back. The quadratic penalty is a
    sum over axes, so each message is three one-dimensional min-convolutions.
    """
    total = cost.copy()
    messages = np.zeros_like(cost)
    steps = [
        tree.order[a:b] for a, b in zip(tree.levels[:-1], tree.levels[1:], strict=True)
    ][1:]  # fmt: skip
    for nodes in reversed(steps):
        _send(total[nodes], nodes, tree.length, messages)
        np.add.at(total, tree.parent[nodes], messages[nodes])
    for nodes in steps:
        # What the parent knows without this child; its total already holds all its neighbours.
        beliefs = total[tree.parent[nodes]] - messages[nodes]
        _send(beliefs, nodes, tree.length, messages)
        total[nodes] += messages[nodes]
    return total
