"""The clock of benchmarks/scheduling.py."""

import pytest

from benchmarks.scheduling import between_ends


def test_seconds_between_ends_of_the_later_half() -> None:
    assert between_ends([0.0, 90.0, 100.0, 102.0, 104.0]) == 2.0


@pytest.mark.parametrize("ends", [[], [1.0], [1.0, 2.0]])
def test_too_few_ends_are_said(ends: list[float]) -> None:
    with pytest.raises(SystemExit, match=f"{len(ends)} jobs ended"):
        between_ends(ends)
