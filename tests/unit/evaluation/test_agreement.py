"""Agreement of two observers: by id, in any order, and what is refused."""

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.evaluation.agreement import agreement, distances
from lcsd.io.points import PointPairs

FIXED = np.arange(12.0).reshape(4, 3)
FIRST = PointPairs(FIXED, FIXED + 1.0, ids=tuple("abcd"))


def test_distances_pair_by_id() -> None:
    order = [2, 0, 3, 1]
    moved = FIXED + 1.0 + np.array([[0, 0, 0], [3, 4, 0], [0, 0, 2], [1, 0, 0]])
    second = PointPairs(FIXED[order] + [0, 0, 1], moved[order], ids=tuple("cadb"))
    ids, apart = distances(FIRST, second)
    assert ids == tuple("abcd")
    np.testing.assert_allclose(apart[:, 0], 1.0)
    np.testing.assert_allclose(apart[:, 1], [0, 5, 2, 1])
    np.testing.assert_allclose(apart[:, 2], [1, np.sqrt(26), 1, np.sqrt(2)])
    figures = agreement(apart)
    assert figures["landmarks"] == 4
    assert figures["moving_mean_mm"] == pytest.approx(2.0)
    assert figures["moving_max_mm"] == pytest.approx(5.0)
    assert figures["fixed_std_mm"] == pytest.approx(0.0)
    assert figures["moving_p95_mm"] == pytest.approx(np.percentile([0, 5, 2, 1], 95))


@pytest.mark.parametrize(
    ("ids", "code"),
    [
        (None, "missing_column"),
        (("a", "b", "c", ""), "missing_column"),
        (tuple("abcc"), "duplicate_id"),
        (tuple("abce"), "unpaired_ids"),
    ],
)
def test_ids_that_do_not_pair_are_refused(ids: tuple[str, ...] | None, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        distances(FIRST, PointPairs(FIXED, FIXED, ids=ids))
    assert caught.value.code == code
    if code == "unpaired_ids":
        assert "d, e" in caught.value.message
