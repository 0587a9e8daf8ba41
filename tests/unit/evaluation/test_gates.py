"""Gates on the registrations of a pair and on their result."""

import numpy as np
import pytest

from lcsd.evaluation.gates import field_figures, judge_registration, judge_result, match_figures
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.settings.gates import GatesSettings

GRID = Grid.centred((0.0, 0.0, 0.0), size=(12, 11, 10), spacing_mm=4.0)
LUNGS = Image(np.pad(np.ones((6, 7, 8), bool), 2), GRID)
MATCHES = {"count": 1500, "stage_1": {"kept": 1, "keypoints": 9}, "stage_2": {"kept": 1500, "keypoints": 1550}}


def shifted(shift: tuple[float, float, float]) -> DisplacementField:
    return DisplacementField(np.broadcast_to(np.float32(shift), (*GRID.shape, 3)).copy(), GRID)


def test_disagreement_is_the_mean_distance_in_the_lungs() -> None:
    second = shifted((3.0, 4.0, 0.0))
    second.vectors[:2] = 99.0  # outside of the lungs, also for linear interpolation
    figures = field_figures({"corrfield": shifted((0.0, 0.0, 0.0)), "clouds": second}, LUNGS)
    assert figures["disagreement_mm"] == pytest.approx(5.0)


def test_folds_are_a_share_of_the_lungs() -> None:
    folded = shifted((0.0, 0.0, 0.0))
    folded.vectors[..., 0] = -2 * np.arange(12) * 4.0  # x is mirrored everywhere
    figures = field_figures({"corrfield": shifted((0.0, 0.0, 0.0)), "clouds": folded}, LUNGS)
    assert figures["folding_percent"] == {"corrfield": 0.0, "clouds": 100.0}


def test_survival_is_that_of_the_last_stage() -> None:
    assert match_figures(MATCHES) == {"correspondences": 1500, "survival": 1500 / 1550}
    assert match_figures({}) == {"correspondences": None, "survival": None}


@pytest.mark.parametrize(
    ("fields", "matches", "failed", "flagged"),
    [
        ({}, {}, set(), set()),
        ({"disagreement_mm": 8.0}, {"survival": 0.3}, {"disagreement_mm", "survival"}, set()),
        ({"disagreement_mm": 4.0}, {"correspondences": 700}, set(), {"disagreement_mm", "correspondences"}),
        ({"folding_percent": {"clouds": 7.0}}, {"correspondences": 10}, {"folds", "correspondences"}, set()),
    ],
)
def test_each_fault_fails_or_flags_its_own_gate(
    fields: dict[str, object], matches: dict[str, object], failed: set[str], flagged: set[str]
) -> None:
    usual = {"folding_percent": {"clouds": 0.0}, "disagreement_mm": 0.6}
    found = judge_registration(usual | fields, match_figures(MATCHES) | matches, GatesSettings())
    assert {gate["name"] for gate in found if not gate["passed"]} == failed
    assert {gate["name"] for gate in found if gate["flagged"]} == flagged


def test_an_error_that_grows_is_flagged_and_fails_above_the_limit() -> None:
    evaluations = {
        "good": {"tre_before_mean_mm": 8.8, "tre_mean_mm": 0.5},
        "worse": {"tre_before_mean_mm": 1.0, "tre_mean_mm": 1.5},
        "harm": {"tre_before_mean_mm": 8.78, "tre_mean_mm": 22.69},
        "unknown": {"tre_mean_mm": 1.0},
    }
    found = {gate["of"]: (gate["passed"], gate["flagged"]) for gate in judge_result(evaluations, GatesSettings())}
    assert found == {"good": (True, False), "worse": (True, True), "harm": (False, False)}
