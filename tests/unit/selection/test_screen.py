"""Verdicts: failed masks are stopped by a gate before they can be ranked as motion."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.lungs.sides import lung_volumes
from lcsd.selection.screen import ScanMask, failed, figures, gates
from lcsd.settings.screen import ScreenSettings
from tests.grids import GRIDS
from tests.unit.selection.masks import cut, grid_around, lungs, rigid, without

ORIGIN = np.zeros(3)
COARSE = (4.0, 4.0, 4.0)
SETTINGS = ScreenSettings(spacing_mm=5.0)
MOVED = rigid((2, -1, 3), (10, -5, 60))


def scan(mask: Image) -> ScanMask:
    return ScanMask(mask, lung_volumes(mask))


def judged(one: ScanMask, two: Image) -> tuple[dict[str, Any], list[str]]:
    found = figures(one, scan(two), SETTINGS)
    return found, [gate["name"] for gate in gates(found, SETTINGS) if not gate["passed"]]


@pytest.fixture(scope="module")
def fixed() -> ScanMask:
    return scan(lungs(grid_around(ORIGIN, COARSE)))


@pytest.fixture(scope="module")
def strong_dice(fixed: ScanMask) -> float:
    """A breath of 35 mm is accepted; its Dice is what failures would undercut."""
    moving = lungs(grid_around(MOVED.apply(ORIGIN), COARSE), MOVED, 35.0)
    found, broken = judged(fixed, moving)
    assert broken == []
    assert found["dice"] < 0.95
    assert found["volume_ratio"] == pytest.approx(moving.array.sum() / fixed.mask.array.sum(), abs=1e-5)
    return float(found["dice"])


def one_lung_lost(mask: Image) -> Image:
    return without(mask, lambda p: p[:, 0] > 0)


def half_a_lung_lost(mask: Image) -> Image:
    return without(mask, lambda p: (p[:, 0] > 0) & (p[:, 2] < np.median(occupied(mask)[:, 2])))


def leaked(mask: Image) -> Image:
    """The mask runs out into gas below the diaphragm and into the trachea."""
    low = occupied(mask).min(axis=0)
    high = occupied(mask).max(axis=0)
    extra = scattered(
        mask, lambda p: (p[:, 2] < low[2] + 130) & (p[:, 0] > 0) & (np.abs(p[:, 0]) < high[0]) & (np.abs(p[:, 1]) < 110)
    )
    return Image(mask.array | extra, mask.grid)


def occupied(mask: Image) -> np.ndarray:
    points: np.ndarray = mask.grid.voxel_to_world(np.argwhere(mask.array)[:, ::-1].astype(float))
    return points


def scattered(mask: Image, chosen: Any) -> np.ndarray:
    full = Image(np.ones_like(mask.array), mask.grid)
    return full.array & ~without(full, chosen).array


@pytest.mark.parametrize(
    ("fail", "gate"),
    [
        pytest.param(one_lung_lost, "moving_lungs", marks=pytest.mark.slow),
        pytest.param(half_a_lung_lost, "balance_change", marks=pytest.mark.slow),
        pytest.param(leaked, "balance_change", marks=pytest.mark.slow),
        (lambda mask: cut(mask, 34), "moving_border_cm2"),
    ],
    ids=["one lung lost", "half a lung lost", "leaked", "cut by the scan"],
)
def test_failed_masks_are_stopped(fail: Any, gate: str, fixed: ScanMask, strong_dice: float) -> None:
    found, broken = judged(fixed, fail(lungs(grid_around(ORIGIN, COARSE))))
    assert gate in broken
    if gate != "moving_border_cm2":  # a cut is no motion; the others would be ranked first
        assert found["dice"] < strong_dice


@pytest.mark.slow
def test_both_lungs_much_smaller_or_larger_than_an_adults(fixed: ScanMask) -> None:
    small = replace(fixed.mask.grid, spacing=(2.4, 2.4, 2.4))
    _, broken = judged(fixed, Image(fixed.mask.array, small))
    assert {"moving_volume_l", "volume_ratio"} <= set(broken)
    large = replace(fixed.mask.grid, spacing=(5.2, 5.2, 5.2))
    _, broken = judged(fixed, Image(fixed.mask.array, large))
    assert "moving_volume_l" in broken


@pytest.mark.slow
def test_lung_volumes_right_first_touching_or_not(fixed: ScanMask) -> None:
    x = occupied(fixed.mask)[:, 0]
    litres = np.array([(x < 0).sum(), (x > 0).sum()]) * 64e-6
    assert fixed.volumes_l == pytest.approx(litres, rel=0.01)
    assert fixed.right_to_left == pytest.approx(litres[0] / litres[1], rel=0.02)
    bridge = scattered(
        fixed.mask, lambda p: (np.abs(p[:, 0]) < 40) & (np.abs(p[:, 1] + 30) < 5) & (np.abs(p[:, 2]) < 10)
    )
    touching = Image(fixed.mask.array | bridge, fixed.mask.grid)
    assert lung_volumes(touching) == pytest.approx(litres, rel=0.05)
    assert len(lung_volumes(one_lung_lost(fixed.mask))) == 1
    for matrix in (np.eye(3), GRIDS["ras"].matrix):
        right, left = lung_volumes(half_a_lung_lost(lungs(grid_around(ORIGIN, COARSE, matrix))))
        assert left < 0.7 * right  # x grows to the left, where half a lung is lost
    speck = np.zeros_like(fixed.mask.array)
    speck[40, 30, 40] = True
    assert lung_volumes(Image(speck, fixed.mask.grid)) == []


@pytest.mark.parametrize(("width_mm", "count"), [(120, 1), (240, 2)])
def test_touching_lungs_without_a_thin_place_are_two_if_they_are_wide(width_mm: int, count: int) -> None:
    grid = Grid((width_mm // 4 + 8, 30, 40), (4.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    block = np.zeros(grid.shape, dtype=bool)
    block[4:-4, 4:-4, 4:-4] = True
    volumes = lung_volumes(Image(block, grid))
    assert volumes == pytest.approx([block.sum() * 64e-6 / count] * count, rel=0.05)


def test_gates_are_off_without_a_limit_and_name_the_scan() -> None:
    found: dict[str, Any] = {"dice": 0.1, "shared_view": 0.1, "volume_ratio": 0.1, "balance_change": None}
    for name in ("fixed", "moving"):
        found |= {f"{name}_lungs": 0, f"{name}_volume_l": 90.0, f"{name}_balance": None, f"{name}_border_cm2": 900.0}
    off = ScreenSettings(**{name: None for name in ScreenSettings.model_fields if name not in ("masks", "spacing_mm")})
    assert all(gate["passed"] for gate in gates(found, off))
    verdicts = gates(found, ScreenSettings())
    assert not any(gate["passed"] for gate in verdicts)
    reasons = [failed(gate) for gate in verdicts]
    assert reasons[0].code == "gate_lungs"
    assert reasons[0].message.startswith("fixed scan: lungs: implausible")
    assert {reason.code for reason in reasons} == {
        "gate_lungs",
        "gate_volume_l",
        "gate_border_cm2",
        "gate_volume_ratio",
        "gate_shared_view",
        "gate_dice",
    }
