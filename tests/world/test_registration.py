"""Clouds of which one shows less than the other, and clouds of two people: the right motion, or a warning."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from lcsd.cli.main import main
from lcsd.io.files import read_json
from lcsd.io.points import Cloud, read_cloud, write_cloud

Points = NDArray[np.float64]


def tree(seed: int, count: int = 40, nodes: int = 150) -> Points:
    """Curved vessels in a box of 160 mm, with nodes 0.5 mm apart."""
    rng = np.random.default_rng(seed)
    along = np.linspace(-37, 37, nodes)[:, None]
    parts = []
    for _ in range(count):
        direction = rng.normal(size=3)
        bend = rng.normal(scale=0.5, size=3) * (along / 20) ** 2
        parts.append(rng.uniform(-60, 60, 3) + along * direction / np.linalg.norm(direction) + bend)
    return np.concatenate(parts)


def voxels(points: Points, size: float = 1.5) -> Points:
    """The voxels of a vessel map: vessels 4 mm thick around nodes, on a lattice."""
    rng = np.random.default_rng(0)
    thick = np.concatenate([points + rng.uniform(-2, 2, points.shape) for _ in range(8)])
    return size * np.unique(np.round(thick / size), axis=0)


def moved(points: Points) -> Points:
    """A smooth motion of 4 to 9 mm."""
    return points + np.array([2.0, -1.0, 6.0]) + 2.0 * np.sin(points[:, [2, 0, 1]] / 40)


def noisy(points: Points, seed: int) -> Points:
    return points + np.random.default_rng(seed).normal(scale=0.3, size=points.shape)


def pair_of(
    fixed: Callable[[Points], NDArray[np.bool_]], moving: Callable[[Points], NDArray[np.bool_]]
) -> Callable[[], tuple[Points, Points]]:
    """Return a maker of two halves of one tree, each cut as it is told."""

    def make() -> tuple[Points, Points]:
        whole = tree(3)
        odd = np.arange(len(whole)) % 2 == 1
        return noisy(whole[odd & fixed(whole)], 1), noisy(moved(whole[~odd & moving(whole)]), 2)

    return make


def everywhere(points: Points) -> NDArray[np.bool_]:
    return np.ones(len(points), bool)


def below(height: float) -> Callable[[Points], NDArray[np.bool_]]:
    return lambda points: points[:, 2] < height


def outside_a_ball(points: Points) -> NDArray[np.bool_]:
    return np.linalg.norm(points - [20.0, 10.0, 0.0], axis=1) > 35


def repeated(points: Points) -> Points:
    """Points of which the upper half is there twenty times, as in merged clouds."""
    return np.concatenate([points, *[points[points[:, 2] > 0]] * 19])


def with_clutter(points: Points) -> Points:
    """As many points again, anywhere in the box."""
    rng = np.random.default_rng(9)
    return np.concatenate([points, rng.uniform(points.min(axis=0), points.max(axis=0), points.shape)])


def changed(
    fixed: Callable[[Points], Points] = np.copy, moving: Callable[[Points], Points] = np.copy
) -> Callable[[], tuple[Points, Points]]:
    """Return a maker of two halves of one tree, each changed after it has moved."""

    def make() -> tuple[Points, Points]:
        first, second = pair_of(everywhere, everywhere)()
        return fixed(first), moving(second)

    return make


@dataclass(frozen=True)
class Row:
    """Two clouds, where such were reported, and the outcome.

    ``inside`` says which fixed points have a counterpart, whose error must be small; None: the registration must be
    reported as untrusted.
    """

    kind: str
    source: str
    name: str
    make: Callable[[], tuple[Points, Points]]
    inside: Callable[[Points], NDArray[np.bool_]] | None


ROWS = [
    Row(
        "partial overlap", "siavashk/pycpd, issue 53", "moving_lacks_the_top", pair_of(everywhere, below(25)), below(5)
    ),
    Row("partial overlap", "ohirose/bcpd, issue 17", "fixed_lacks_the_top", pair_of(below(25), everywhere), below(5)),
    Row("partial overlap", "made up", "a_hole_in_one", pair_of(everywhere, outside_a_ball), outside_a_ball),
    Row("repeated points", "koide3/fast_gicp, issue 6", "moving_repeats_half", changed(moving=repeated), everywhere),
    Row("repeated points", "isl-org/Open3D, issue 4477", "fixed_repeats_half", changed(fixed=repeated), everywhere),
    Row("clutter", "neka-nat/probreg, issue 94", "as_much_clutter_again", changed(moving=with_clutter), everywhere),
    Row("two people", "made up", "two_trees", lambda: (tree(3), tree(4)), None),
    Row("two people", "made up", "two_trees_of_which_one_is_sparse", lambda: (tree(5), tree(6, nodes=40)), None),
    Row(
        "two people",
        "tried here on public scans",
        "two_maps",
        lambda: (voxels(tree(3, 300)), voxels(tree(4, 300))),
        None,
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_partial_and_foreign_clouds(row: Row, tmp_path: Path) -> None:
    fixed, moving = row.make()
    for name, points in (("fixed", fixed), ("moving", moving)):
        write_cloud(tmp_path / f"{name}.npz", Cloud(points.astype(np.float32)))
    words = ["register", str(tmp_path / "fixed.npz"), str(tmp_path / "moving.npz"), "--out-dir", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    figures = read_json(tmp_path / "out" / "registration.json")
    if row.inside is None:
        assert figures["untrusted_share"] > 0.05
        assert "untrusted" in done.stderr
        return
    found = read_cloud(tmp_path / "out" / "points.npz").points
    off = np.linalg.norm(found - moved(fixed), axis=1)[row.inside(fixed)]
    assert np.median(off) < 0.7
    assert np.mean(off > 5) < 0.02


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "shift", "refused"),
    [("PointCloudLibrary/pcl, issue 2176", 3e5, False), ("isl-org/Open3D, issue 3496", 1.6e7, True)],
)
def test_clouds_far_from_the_origin(source: str, shift: float, refused: bool, tmp_path: Path) -> None:
    fixed, moving = pair_of(everywhere, everywhere)()
    by = shift * np.array([1.0, -0.3, 0.1])
    for name, points in (("fixed", fixed), ("moving", moving)):
        np.save(tmp_path / f"{name}.npy", points + by)
    words = ["register", str(tmp_path / "fixed.npy"), str(tmp_path / "moving.npy"), "--out-dir", str(tmp_path / "out")]
    done = CliRunner().invoke(main, words)
    if refused:
        assert done.exit_code == 2
        assert "too far from the origin" in done.stderr, source
        return
    assert done.exit_code == 0, done.output
    found = read_cloud(tmp_path / "out" / "points.npz").points - by
    assert np.median(np.linalg.norm(found - moved(fixed), axis=1)) < 0.7


def bent(points: Points) -> Points:
    """Both ends of a box move by up to 40 mm, against each other's way, and its middle hardly."""
    found = points.copy()
    found[:, 2] += 40 * np.exp(-(((points[:, 2] + 70) / 50) ** 2))
    found[:, 1] += 24 * np.exp(-(((points[:, 2] - 70) / 50) ** 2)) * np.sin(points[:, 0] / 30)
    return found


def far_keypoints() -> tuple[Points, Points, Points]:
    """Return some hundred keypoints of two scans, half of them in both, and the true places of the fixed ones."""
    rows = 1.4 * tree(3, 60)[::6]
    common, own, others = np.split(np.random.default_rng(0).permutation(len(rows)), 3)
    fixed, moving = rows[np.concatenate([common, own])], rows[np.concatenate([common, others])]
    return noisy(fixed, 1), noisy(bent(moving), 2), bent(fixed)


@pytest.mark.slow
def test_a_few_keypoints_that_move_far(tmp_path: Path) -> None:
    """siavashk/pycpd, issue 43: of two clouds of some hundred points the deformable part hardly came closer."""
    fixed, moving, targets = far_keypoints()
    np.save(tmp_path / "fixed.npy", fixed)
    np.save(tmp_path / "moving.npy", moving)
    words = [
        "register",
        str(tmp_path / "fixed.npy"),
        str(tmp_path / "moving.npy"),
        "--out-dir",
        str(tmp_path),
        "--fast",
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    off = np.linalg.norm(read_cloud(tmp_path / "points.npz").points - targets, axis=1)
    assert np.mean(off > 5) < 0.12
