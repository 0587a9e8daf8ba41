"""Exact message passing on the spanning tree of the keypoints."""

import math

import numba
import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.tree import Tree

F32 = NDArray[np.float32]

NEGLIGIBLE = 50.0
"""exp(-50), summed over all displacements, is less than the last bit of a double near 1."""


@numba.njit(cache=True, error_model="numpy")
def _lower(values: F32, row: F32, cost: np.float32) -> None:
    """Lower ``values (N,)`` to ``row + cost``, element by element."""
    for i in range(values.size):
        # The compiler turns fmin(), unlike min(), into one instruction on eight numbers.
        values[i] = np.fmin(values[i], row[i] + cost)


@numba.njit(cache=True, error_model="numpy")
def _lower_four(
    values: F32, a: F32, b: F32, c: F32, d: F32, ca: np.float32, cb: np.float32, cc: np.float32, cd: np.float32
) -> None:
    """Lower ``values (N,)`` to each of four rows plus its cost, element by element."""
    for i in range(values.size):
        one, two = np.fmin(a[i] + ca, b[i] + cb), np.fmin(c[i] + cc, d[i] + cd)
        values[i] = np.fmin(values[i], np.fmin(one, two))


@numba.njit(cache=True, error_model="numpy")
def _along_first(source: F32, cost: F32, out: F32) -> None:
    """Set ``out[z]`` to ``min over e of source[e] + cost[|z - e|]``, both (D, D * D)."""
    n = len(cost)
    fours = n - n % 4
    for z in range(n):
        out[z] = source[z]
        for e in range(0, fours, 4):
            _lower_four(
                out[z],
                source[e],
                source[e + 1],
                source[e + 2],
                source[e + 3],
                cost[abs(z - e)],
                cost[abs(z - e - 1)],
                cost[abs(z - e - 2)],
                cost[abs(z - e - 3)],
            )
        for e in range(fours, n):
            _lower(out[z], source[e], cost[abs(z - e)])


@numba.njit(cache=True, error_model="numpy")
def min_convolve(volume: F32, weight: float, out: F32, scratch: F32) -> None:
    """Set ``out[d]`` to ``min over e of volume[e] + weight |d - e|^2``, axis by axis.

    All volumes are (D, D, D) in C order; ``volume`` does not change. ``weight`` is the cost of one step, squared steps.
    """
    n = volume.shape[0]
    cost = np.empty(n, np.float32)
    for i in range(n):
        cost[i] = np.float32(weight * (i * i))
    result, between = out.reshape(n, n * n), scratch.reshape(n, n * n)
    source = volume.reshape(n, n * n)
    # Each axis becomes the first one in turn, in rows of D * D: three turns (z, y, x) -> (y, x, z) restore the order.
    for _ in range(3):
        _along_first(source, cost, between)
        turned = result.reshape(n * n, n)
        for z in range(n):
            for i in range(n * n):
                turned[i, z] = between[z, i]
        source = result


@numba.njit(cache=True, error_model="numpy")
def _message(belief: F32, length: float, scratch: F32, out: F32) -> None:
    """Set ``out`` to the message of ``belief`` along an edge, smallest value 0."""
    min_convolve(belief, 1.0 / length, out, scratch)
    # Only differences matter, and small numbers keep float32 exact on long trees.
    lowest, flat = out.min(), out.reshape(-1)
    for i in range(flat.size):
        flat[i] -= lowest


@numba.njit(cache=True, error_model="numpy")
def _add(total: F32, message: F32) -> None:
    here, there = total.reshape(-1), message.reshape(-1)
    for i in range(here.size):
        here[i] += there[i]


@numba.njit(cache=True, error_model="numpy")
def _without(total: F32, message: F32, out: F32) -> None:
    all_of_it, part, rest = total.reshape(-1), message.reshape(-1), out.reshape(-1)
    for i in range(rest.size):
        rest[i] = all_of_it[i] - part[i]


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _to_root(
    total: F32, messages: F32, tree: Tree, children: NDArray[np.int64], first: NDArray[np.int64], buffers: F32
) -> None:
    """Add to each total the messages of its children, deepest points first."""
    order, _, length, levels = tree
    parts = len(buffers)
    for level in range(len(levels) - 2, -1, -1):
        for part in numba.prange(parts):
            # One thread handles all children of a parent, so sums have a fixed order and no two threads share a volume.
            for i in range(levels[level] + part, levels[level + 1], parts):
                node = order[i]
                for j in range(first[node], first[node + 1]):
                    child = children[j]
                    _message(total[child], length[child], buffers[part, 0], messages[child])
                    _add(total[node], messages[child])


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _from_root(total: F32, messages: F32, tree: Tree, buffers: F32) -> None:
    """Add to each total the message of its parent, the root first."""
    order, parent, length, levels = tree
    parts = len(buffers)
    for level in range(1, len(levels) - 1):
        for part in numba.prange(parts):
            scratch, belief = buffers[part, 0], buffers[part, 1]
            for i in range(levels[level] + part, levels[level + 1], parts):
                node = order[i]
                _without(total[parent[node]], messages[node], belief)
                _message(belief, length[node], scratch, messages[node])
                _add(total[node], messages[node])


def tree_marginals(cost: F32, tree: Tree) -> F32:
    """Turn costs into min-marginals of ``sum cost_i(d_i) + sum over edges |d_i - d_j|^2 / length``.

    That is the smallest energy of all configurations in which point i takes displacement d, up to a constant per point.
    It overwrites ``cost``, (K, D, D, D), float32, C order, by far the largest array of a registration.

    Exact on a tree: messages pass from the leaves to the root and back. The quadratic penalty is a sum over axes, so
    each message is three one-dimensional min-convolutions. The messages take as much memory as ``cost``.
    """
    child = np.flatnonzero(tree.parent >= 0)
    children = child[np.argsort(tree.parent[child], kind="stable")]
    first = np.searchsorted(tree.parent[children], np.arange(len(cost) + 1))
    buffers = np.empty((numba.get_num_threads(), 2, *cost.shape[1:]), np.float32)
    messages = np.empty_like(cost)
    _to_root(cost, messages, tree, children, first, buffers)
    _from_root(cost, messages, tree, buffers)
    return cost


@numba.njit(cache=True, parallel=True, error_model="numpy")
def soft_minimum(marginals: F32, gamma: float, step: int, out: NDArray[np.float64]) -> None:
    """Set ``out (K, 3)`` to the mean displacement (z, y, x) in voxels under softmax(-gamma * marginal).

    The marginals have shape (K, D, D, D), with ``step`` voxels between displacements.
    """
    width = marginals.shape[1]
    radius = width // 2
    for n in numba.prange(len(marginals)):
        lowest = marginals[n].min()
        limit = lowest + np.float32(NEGLIGIBLE / gamma)
        total = along_z = along_y = along_x = 0.0
        for z in range(width):
            for y in range(width):
                row = marginals[n, z, y]
                for x in range(width):
                    if row[x] <= limit:
                        weight = math.exp(-gamma * (row[x] - lowest))
                        total += weight
                        along_z += weight * (z - radius)
                        along_y += weight * (y - radius)
                        along_x += weight * (x - radius)
        out[n, 0] = step * along_z / total
        out[n, 1] = step * along_y / total
        out[n, 2] = step * along_x / total
