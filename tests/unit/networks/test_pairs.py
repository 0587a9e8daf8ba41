"""Training pairs: the same from the same seed, true to their motion, without folds."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from lcsd.divroc.pair import tenth_neighbours
from lcsd.errors import BadInputError
from lcsd.networks.motions import least_determinant, random_field, real_motion
from lcsd.networks.pairs import PhantomPairs
from lcsd.networks.vessels import lost_branches, phantom_vessels


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A motion of 12 mm at the bottom of a box and none at its top."""
    fixed = np.random.default_rng(0).uniform([-100, -80, -120], [100, 80, 120], (400, 3))
    vectors = np.zeros_like(fixed)
    vectors[:, 2] = 12 * (120 - fixed[:, 2]) / 240
    path = tmp_path_factory.mktemp("motion") / "motion.csv"
    np.savetxt(path, np.hstack([fixed, fixed + vectors]), delimiter=",", header="x,y,z,x2,y2,z2", comments="")
    return path


@pytest.mark.slow
def test_pairs_depend_on_seed_and_number_alone(table: Path) -> None:
    first, again, other = (PhantomPairs([0], seed=seed, motions=[table]) for seed in (5, 5, 6))
    again.pair(0)
    for number in (1, 2):
        one, two = first.pair(number), again.pair(number)
        np.testing.assert_array_equal(one.fixed, two.fixed)
        np.testing.assert_array_equal(one.moving, two.moving)
        np.testing.assert_array_equal(one.vectors, two.vectors)
        assert one.name == two.name == f"phantom 0, draw {number}"
    assert len(other.pair(1).fixed) != len(first.pair(1).fixed)


@pytest.mark.slow
def test_true_vectors_lead_to_vessels_of_the_moving_cloud() -> None:
    pairs = PhantomPairs([0], seed=0)
    near, before = [], []
    for number in range(6):
        pair = pairs.pair(number)
        assert pair.vectors is not None
        tree = cKDTree(pair.moving)
        near.append(np.median(tree.query(pair.fixed + pair.vectors)[0]))
        before.append(np.median(tree.query(pair.fixed)[0]))
    assert np.mean(near) < 2.5
    assert np.mean(near) < 0.75 * np.mean(before)


@pytest.mark.slow
def test_keypoints_are_sparse_and_partly_common() -> None:
    pairs, common = PhantomPairs([0], seed=0, keypoint_share=1.0), []
    for number in range(6):
        pair = pairs.pair(number)
        assert pair.vectors is not None
        assert tenth_neighbours(pair.fixed, pair.moving) > 6.5  # compared halfway, as keypoints are
        off, partner = cKDTree(pair.moving).query(pair.fixed + pair.vectors)
        common.append(np.mean(off < 1.5))
        assert len(np.unique(partner)) > 0.2 * len(pair.moving)
    assert 0.1 < min(common) < 0.5 * max(common) < 0.5  # the others show two places of a vessel


def test_motions_fold_nowhere(table: Path) -> None:
    box = phantom_vessels(0).box
    motions = [real_motion(table)]
    fields = [random_field(np.random.default_rng(seed), box, motions) for seed in range(6)]
    assert min(least_determinant(field, box) for field in fields) > 0
    sizes = [np.linalg.norm(field(phantom_vessels(0).axis[:500]), axis=1).mean() for field in fields]
    assert max(sizes) > 4


def test_a_real_motion_keeps_its_shape_in_another_box(table: Path) -> None:
    found = real_motion(table).at(np.array([[0.5, 0.5, 0.02], [0.5, 0.5, 0.98]]))
    np.testing.assert_allclose(found[:, 2] * 240, [12, 0], atol=1.0)
    np.testing.assert_allclose(found[:, :2], 0, atol=0.01)


@pytest.mark.parametrize("text", ["x,y,z\n1,2,3\n", "a\n1,2,3,4,5,nan\n" * 5, "a\nb,c\n"])
def test_a_table_of_something_else_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=r"t\.csv") as caught:
        real_motion(path)
    assert caught.value.code == "bad_table"


def test_lost_branches_are_whole_and_near_each_other() -> None:
    vessels = phantom_vessels(0)
    gone = lost_branches(vessels, 0.2, np.random.default_rng(0))
    assert 0.05 < gone.mean() < 0.5
    assert not set(vessels.node[gone]) & set(vessels.node[~gone])
    some = np.random.default_rng(1).permutation(len(gone))[:2000]
    neighbour = cKDTree(vessels.axis).query(vessels.axis[some], k=2)[1][:, 1]
    assert (gone[some] == gone[neighbour]).mean() > 0.95
