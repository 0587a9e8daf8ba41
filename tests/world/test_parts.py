"""Lungs that lack a part, in one scan or in both: a gate of the lungs fails or flags the case."""

from collections.abc import Callable
from functools import cache

import pytest

from lcsd.lungs.classical import segment_lungs
from lcsd.lungs.gates import judge, scan_figures
from lcsd.settings.gates import GatesSettings
from tests.world.anatomy import Chest, chest, without_part

pytestmark = pytest.mark.xdist_group("chests")

WHOLE: Callable[[Chest], Chest] = lambda old: old  # noqa: E731
LACKING: dict[str, Callable[[Chest], Chest]] = {
    "lower_60_percent": lambda old: without_part(old, low=0.0, high=0.6),  # Slicer/SlicerLungCTAnalyzer 20
    "lower_60_percent_right": lambda old: without_part(old, low=0.0, high=0.6, side=-1),  # made up
    "upper_lobe": lambda old: without_part(old, low=0.55, high=1.0),  # JoHof/lungmask 4
    "lower_third": lambda old: without_part(old, low=0.0, high=0.35),  # drivendataorg/concept-to-clinic 138
    "whole_lung": lambda old: without_part(old, low=0.0, high=1.0),  # JoHof/lungmask 7
}


@cache
def _figures(name: str, role: str) -> dict[str, object]:
    made = LACKING.get(name, WHOLE)(chest(role))
    scan = made.image()
    return scan_figures(scan, segment_lungs(scan).mask)


def _seen(fixed: str, moving: str) -> set[str]:
    figures = {"fixed": _figures(fixed, "fixed"), "moving": _figures(moving, "moving")}
    return {gate["name"] for gate in judge(figures, GatesSettings()) if gate["flagged"] or not gate["passed"]}


@pytest.mark.slow
def test_whole_lungs_pass() -> None:
    assert _seen("whole", "whole") == set()


@pytest.mark.slow
@pytest.mark.parametrize("name", LACKING)
def test_part_missing_in_the_baseline(name: str) -> None:
    assert _seen(name, "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in LACKING if name != "whole_lung"])
def test_part_missing_in_both(name: str) -> None:
    assert "lung_level" in _figures_seen(name)


def _figures_seen(name: str) -> set[str]:
    figures = {scan: _figures(name, "fixed") for scan in ("fixed", "moving")}
    return {gate["name"] for gate in judge(figures, GatesSettings()) if gate["flagged"]}
