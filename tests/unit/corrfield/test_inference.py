"""The tree spans all points and is the shortest; messages equal brute-force minimisation."""

import itertools

import numba
import numpy as np
import pytest

from lcsd.corrfield.inference import min_convolve, soft_minimum, tree_marginals
from lcsd.corrfield.tree import Tree, spanning_tree


def lengths(tree: Tree) -> float:
    return float(tree.length.sum() - 1)


def test_tree_spans_and_parents_come_first() -> None:
    points = np.random.default_rng(0).uniform(0, 50, size=(80, 3))
    tree = spanning_tree(points, np.zeros(80), neighbours=10, beta=150)
    assert sorted(tree.order) == list(range(80))
    seen = set()
    for point in tree.order:
        assert tree.parent[point] in seen or tree.parent[point] == -1
        seen.add(point)
    assert (tree.parent == -1).sum() == 1


def test_tree_is_minimal() -> None:
    """Prim's algorithm on the complete graph, written out."""
    rng = np.random.default_rng(1)
    points, intensity = rng.uniform(0, 20, size=(25, 3)), rng.uniform(0, 500, size=25)
    weight = np.linalg.norm(points[:, None] - points[None], axis=-1)
    weight += np.abs(intensity[:, None] - intensity[None]) / 150
    inside, total = {0}, 0.0
    while len(inside) < 25:
        best = min((weight[a, b], b) for a in inside for b in range(25) if b not in inside)
        total += best[0]
        inside.add(best[1])
    tree = spanning_tree(points, intensity, neighbours=24, beta=150)
    assert lengths(tree) == pytest.approx(total, rel=1e-5)


def test_separate_clusters_and_few_points_are_connected() -> None:
    rng = np.random.default_rng(2)
    clusters = np.concatenate([rng.normal(c, 1, size=(12, 3)) for c in (0, 100, 250, 1000)])
    tree = spanning_tree(clusters, np.zeros(48), neighbours=3, beta=150)
    assert len(tree.order) == 48
    for count in (1, 2, 3):
        tree = spanning_tree(clusters[:count], np.zeros(count), neighbours=10, beta=150)
        assert len(tree.order) == count


def line_tree() -> Tree:
    """0 - 1 - 3 and 0 - 2."""
    return Tree(
        np.array([0, 1, 2, 3]),
        np.array([-1, 0, 0, 1]),
        np.array([1, 0.7, 2.0, 1.3], np.float32),
        np.array([0, 1, 3, 4]),
    )


def test_marginals_equal_all_configurations() -> None:
    tree = line_tree()
    cost = np.random.default_rng(3).random((4, 2, 2, 2)).astype(np.float32) * 3
    states = list(itertools.product(range(2), repeat=3))
    expected = np.full(cost.shape, np.inf)
    for chosen in itertools.product(states, repeat=4):
        energy = sum(float(cost[(i, *d)]) for i, d in enumerate(chosen))
        for child in (1, 2, 3):
            apart = np.subtract(chosen[child], chosen[tree.parent[child]])
            energy += float((apart**2).sum()) / float(tree.length[child])
        for i, d in enumerate(chosen):
            expected[(i, *d)] = min(expected[(i, *d)], energy)
    found = tree_marginals(cost.copy(), tree)
    for i in range(4):
        np.testing.assert_allclose(found[i] - found[i].min(), expected[i] - expected[i].min(), atol=1e-5)


def test_one_point_keeps_its_cost() -> None:
    cost = np.random.default_rng(4).random((1, 3, 3, 3)).astype(np.float32)
    tree = spanning_tree(np.zeros((1, 3)), np.zeros(1), neighbours=10, beta=1)
    np.testing.assert_array_equal(tree_marginals(cost.copy(), tree), cost)


@pytest.mark.parametrize("weight", [0.01, 0.7, 30.0])
def test_min_convolution_equals_its_definition(weight: float) -> None:
    volume = np.random.default_rng(6).random((4, 4, 4)).astype(np.float32)
    out, scratch = np.empty_like(volume), np.empty_like(volume)
    before = volume.copy()
    min_convolve(volume, weight, out, scratch)
    np.testing.assert_array_equal(volume, before)
    for d in np.ndindex(4, 4, 4):
        expected = min(
            volume[e] + weight * sum((i - j) ** 2 for i, j in zip(d, e, strict=True)) for e in np.ndindex(4, 4, 4)
        )
        assert out[d] == pytest.approx(expected, abs=1e-5)


def test_marginals_do_not_depend_on_the_number_of_threads() -> None:
    points = np.random.default_rng(7).uniform(0, 50, size=(40, 3))
    tree = spanning_tree(points, np.zeros(40), neighbours=5, beta=150)
    cost = np.random.default_rng(8).random((40, 5, 5, 5)).astype(np.float32)
    expected = tree_marginals(cost.copy(), tree)
    numba.set_num_threads(1)
    np.testing.assert_array_equal(tree_marginals(cost, tree), expected)


def test_a_flat_point_follows_its_neighbours() -> None:
    cost = np.zeros((4, 5, 5, 5), np.float32)
    for sure in (0, 2, 3):
        cost[sure] = 50
        cost[sure, 4, 1, 2] = 0
    found = tree_marginals(cost, line_tree())[1]
    assert np.unravel_index(found.argmin(), found.shape) == (4, 1, 2)


@pytest.mark.parametrize("gamma", [0.1, 5.0, 1000.0, 1e9])
def test_soft_minimum_equals_its_definition(gamma: float) -> None:
    marginals = 3 + np.random.default_rng(9).random((3, 5, 5, 5)).astype(np.float32)
    found = np.empty((3, 3))
    soft_minimum(marginals, gamma, 2, found)
    for volume, displacement in zip(marginals.astype(float), found, strict=True):
        weights = np.exp(-gamma * (volume - volume.min()))
        index = 2 * (np.stack(np.indices(volume.shape), axis=-1) - 2)
        expected = (weights[..., None] * index).sum(axis=(0, 1, 2)) / weights.sum()
        np.testing.assert_allclose(displacement, expected, atol=1e-5)
