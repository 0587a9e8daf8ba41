"""A doubtful alignment is said by the command itself, not only by the gates of a build."""

import pytest

from lcsd.prealign.gates import doubts

GOOD = {
    "rotation_deg": 3.0,
    "centre_distance_mm": 8.0,
    "dice_centred": 0.7,
    "dice_aligned": 0.75,
    "matches_kept": 900,
    "matches_tried": 1000,
    "match_residual_mean_mm": 5.0,
}


def test_a_usual_alignment_is_not_doubted() -> None:
    assert doubts(GOOD) == []
    assert doubts({}) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"matches_kept": 36}, ["implausible", "matched is 0.036", "at least 0.2", "two people"]),
        ({"matches_kept": 400}, ["unusual", "matched is 0.4", "at least 0.5"]),
        ({"rotation_deg": 40.0}, ["implausible", "rotation_deg is 40", "at most 25"]),
    ],
)
def test_a_doubtful_one_is_named_with_its_limit(changes: dict[str, float], words: list[str]) -> None:
    (doubt,) = doubts({**GOOD, **changes})
    assert all(word in doubt for word in words), doubt
