"""Where landmarks come from after a person has been over a proposal."""

import numpy as np
import pytest

from lcsd.errors import BadInputError
from lcsd.io.points import PointPairs
from lcsd.landmarks.lists import Paired
from lcsd.landmarks.origin import mark_origins, predicted

FIXED = np.arange(15.0).reshape(5, 3)
PROPOSED = PointPairs(FIXED, FIXED, ids=tuple("12345"), origin=(predicted("corrfield"),) * 4 + ("manual",))


def test_moved_reviewed_untouched_new_and_deleted() -> None:
    fixed, moving = FIXED.copy(), FIXED.copy()
    moving[0, 2] += 0.3
    fixed[1, 0] += 0.3
    moving[2, 1] += 0.04
    moving[4] += 1.0
    read = Paired(
        PointPairs(
            np.vstack([fixed, [[9.0, 9, 9]]])[[0, 1, 2, 3, 4, 5]],
            np.vstack([moving, [[9.0, 9, 9]]]),
            ids=("1", "2", "3", "4", "5", "new"),
        ),
        ("", "", "", "Reviewed by A", "", ""),
        (),
    )
    assert mark_origins(read, PROPOSED, moved_mm=0.05).origin == (
        "corrected:corrfield",
        "corrected:corrfield",
        "predicted:corrfield",
        "corrected:corrfield",
        "manual",
        "manual",
    )
    fewer = Paired(PointPairs(FIXED[2:3], FIXED[2:3], ids=("3",)), ("",), ())
    assert mark_origins(fewer, PROPOSED, moved_mm=0.05).origin == ("predicted:corrfield",)


def test_without_ids_or_origin_nothing_can_be_compared() -> None:
    read = Paired(PointPairs(FIXED, FIXED), ("",) * 5, ())
    with pytest.raises(BadInputError, match="missing_column"):
        mark_origins(read, PROPOSED, moved_mm=0.05)
    named = Paired(PointPairs(FIXED, FIXED, ids=tuple("12345")), ("",) * 5, ())
    with pytest.raises(BadInputError, match="missing_column"):
        mark_origins(named, PointPairs(FIXED, FIXED, ids=tuple("12345")), moved_mm=0.05)


@pytest.mark.parametrize("method", ["", "my method"])
def test_a_method_is_one_word(method: str) -> None:
    with pytest.raises(BadInputError, match="bad_origin"):
        predicted(method)
