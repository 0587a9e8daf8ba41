"""Gates on the rigid alignment of a pair."""

import pytest

from lcsd.prealign.gates import judge
from lcsd.settings.gates import GatesSettings

GOOD = {
    "rotation_deg": 4.9,
    "centre_distance_mm": 9.0,
    "dice_aligned": 0.869,
    "dice_centred": 0.851,
    "match_residual_mean_mm": 8.9,
    "matches_kept": 861,
    "matches_tried": 879,
}


@pytest.mark.parametrize(
    ("change", "failed", "flagged"),
    [
        ({}, set(), set()),
        ({"rotation_deg": 38.0}, {"rotation_deg"}, set()),
        ({"rotation_deg": 20.0}, set(), {"rotation_deg"}),
        ({"dice_aligned": 0.645, "dice_centred": 0.679}, set(), {"dice_change"}),
        ({"dice_aligned": 0.35, "dice_centred": 0.7}, {"dice", "dice_change"}, set()),
        ({"matches_kept": 34, "matches_tried": 704}, {"matched"}, set()),
        ({"centre_distance_mm": 80.0}, {"shift_mm"}, set()),
        ({"match_residual_mean_mm": 30.0}, {"residual_mm"}, set()),
    ],
)
def test_each_fault_fails_or_flags_its_own_gate(change: dict[str, float], failed: set[str], flagged: set[str]) -> None:
    found = judge(GOOD | change, GatesSettings())
    assert {gate["name"] for gate in found if not gate["passed"]} == failed
    assert {gate["name"] for gate in found if gate["flagged"]} == flagged


def test_a_figure_that_a_method_lacks_is_not_judged() -> None:
    found = judge({"rotation_deg": 1.0, "dice_aligned": 0.9}, GatesSettings())
    assert {gate["name"] for gate in found} == {"rotation_deg", "dice"}
