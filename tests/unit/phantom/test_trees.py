import numpy as np
import pytest

from lcsd.phantom import trees
from lcsd.phantom.anatomy import draw_body, lung_level, lung_levels, pushed_inside
from lcsd.phantom.seeds import Purpose, generator
from lcsd.phantom.tubes import FAR_MM, REACH_MM, tube_distance, tube_grid


def _rng():
    return generator(3, 0, Purpose.ARTERIES)


def _capsules(count):
    rng = np.random.default_rng(5)
    start = rng.uniform(-30, 30, (count, 3))
    end = start + rng.normal(size=(count, 3)) * 8
    end[0] = start[0]  # a ball
    radii = rng.uniform(0.3, 3.0, (2, count))
    return trees.Capsules(start, end, radii[0], radii[1], rng.integers(0, 3, count).astype(np.uint8))


def _naive_distance(point, capsules, scan):
    best = np.inf
    for s in range(len(capsules.start)):
        if capsules.scan[s] not in (trees.BOTH, scan):
            continue
        axis = capsules.end[s] - capsules.start[s]
        size = axis @ axis
        t = 0.0 if size == 0 else np.clip((point - capsules.start[s]) @ axis / size, 0, 1)
        radius = (1 - t) * capsules.start_radius[s] + t * capsules.end_radius[s]
        best = min(best, np.linalg.norm(point - capsules.start[s] - t * axis) - radius)
    return best


@pytest.mark.parametrize("scan", [trees.FIXED_ONLY, trees.MOVING_ONLY])
@pytest.mark.parametrize("count", [1, 60])
def test_tube_distance_equals_the_definition(scan, count):
    capsules = _capsules(count)
    points = np.random.default_rng(6).uniform(-45, 45, (400, 3))
    grid = tube_grid(capsules)
    found = np.array([tube_distance(*point, grid, scan) for point in points])
    expected = np.array([_naive_distance(p, capsules, scan) for p in points])
    near = expected < REACH_MM
    np.testing.assert_allclose(found[near], expected[near], atol=1e-9)
    assert (found[~near] >= REACH_MM).all()
    assert tube_distance(1e4, 1e4, 1e4, grid, scan) == FAR_MM


def test_radii_follow_murray_and_every_terminal_is_reached():
    body = draw_body(_rng())
    targets = trees.terminals(_rng(), body, spacing=30.0, margin=5.0, side=1)
    tree = trees.grow(_rng(), targets, np.array([30.0, 8.0, 3.0]), body, terminal_radius=1.0)
    leaves = np.setdiff1d(np.arange(len(tree.nodes)), tree.parents)
    assert sorted(map(tuple, tree.nodes[leaves])) == sorted(map(tuple, targets))
    children = np.zeros(len(tree.nodes), dtype=int)
    np.add.at(children, tree.parents[1:], tree.leaves[1:])
    inner = tree.leaves[1:] > 1
    np.testing.assert_array_equal(children[1:][inner], tree.leaves[1:][inner])
    big = tree.leaves > 1
    np.testing.assert_allclose(tree.radius[big] ** trees.MURRAY_EXPONENT, tree.leaves[big])


def test_terminals_fill_one_lung():
    body = draw_body(_rng())
    points = trees.terminals(_rng(), body, spacing=20.0, margin=5.0, side=-1)
    assert (points[:, 0] < 0).all()
    assert lung_levels(points, body).min() > 5.0
    # About one terminal per cell of the lattice: half of the lungs' 5 litres.
    assert 1500e3 < len(points) * 20.0**3 < 3500e3


@pytest.mark.slow
def test_five_percent_of_the_terminals_are_in_one_scan_only(tiny):
    ends = changed = 0
    for tree in tiny.vessels:
        leaf = tree.leaves == 1
        ends += leaf.sum()
        changed += (tree.scan[leaf] != trees.BOTH).sum()
        child = np.flatnonzero(tree.scan[tree.parents] != trees.BOTH)
        np.testing.assert_array_equal(tree.scan[child], tree.scan[tree.parents[child]])
    assert 0.05 <= changed / ends < 0.065
    flags = np.concatenate([t.scan for t in tiny.vessels])
    assert {trees.FIXED_ONLY, trees.MOVING_ONLY} <= set(flags.tolist())


def test_vessels_stay_inside_the_lungs_away_from_the_hila(tiny):
    for tree in tiny.vessels:
        ends = trees.capsules(tree, tiny.body).end
        free = np.linalg.norm(ends - tree.nodes[0], axis=1) > trees.HILUM_MM + trees.STEP_MM
        assert lung_levels(np.ascontiguousarray(ends[free]), tiny.body).min() > 0.0


def test_capsules_of_a_branch_are_connected(tiny):
    tree = tiny.vessels[0]
    capsules = trees.capsules(tree, tiny.body)
    starts = {tuple(p) for p in np.round(capsules.start, 9)}
    loose = [p for p in np.round(capsules.end, 9) if tuple(p) not in starts]
    assert len(loose) == (tree.leaves == 1).sum()


def test_pushing_moves_only_shallow_points():
    body = draw_body(_rng())
    points = np.array([[65.0, 0.0, 0.0], [65.0, 0.0, -70.0]])
    pushed = pushed_inside(points, np.array([3.0, 3.0]), body)
    np.testing.assert_array_equal(pushed[0], points[0])
    assert lung_level(*points[1], body) < 3.0 <= lung_level(*pushed[1], body) + 1e-6
