"""Minimum spanning tree of keypoints."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial import cKDTree

F32 = NDArray[np.float32]


class Tree(NamedTuple):
    """A rooted spanning tree of K points; a named tuple, because compiled loops take one.

    ``order`` (K,) has the points from the root outwards: each parent comes before its children, and
    ``order[levels[i]:levels[i + 1]]`` are i edges from the root. ``parent`` (K,) is -1 at the root; ``length`` (K,),
    float32, of the edge to the parent is 1 there.
    """

    order: NDArray[np.int64]
    parent: NDArray[np.int64]
    length: F32
    levels: NDArray[np.int64]


def _joined(points: NDArray[np.float64], edges: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``edges`` with the shortest links added that connect all components.

    Each round links every component to the nearest other one, so their number at least halves.
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


def spanning_tree(points: NDArray[np.float64], intensity: NDArray[np.float64], *, neighbours: int, beta: float) -> Tree:
    """Return the minimum spanning tree over the nearest neighbours of keypoints.

    ``points`` are distinct voxel positions (K, 3), ``intensity`` (K,) the mean around each. Edge length: distance in
    voxels plus ``|intensity difference| / beta`` (MICCAI 2015).
    """
    count = len(points)
    if count == 1:
        return Tree(np.zeros(1, np.int64), np.array([-1]), np.ones(1, np.float32), np.array([0, 1]))
    asked = min(neighbours + 1, count)
    _, near = cKDTree(points).query(points, k=asked)
    edges = np.stack([np.repeat(np.arange(count), asked - 1), near[:, 1:].ravel()], axis=1)
    # Each pair once and in one order, so that ties between equal lengths always break in the same way.
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
