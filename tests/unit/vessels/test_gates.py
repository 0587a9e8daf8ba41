"""Gates on vessel masks: figures against hand-made masks, verdicts against limits."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from lcsd.build.verdicts import verdict
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, write_mask
from lcsd.lungs.gates import split_lungs
from lcsd.settings.gates import GatesSettings, Limits
from lcsd.vessels.gates import judge, scan_figures
from tests.grids import GRIDS

SHAPE = (20, 24, 44)
"""(z, y, x): two lungs of 8 x 12 x 16 voxels with a gap."""

RIGHT, LEFT = np.s_[6:14, 6:18, 4:20], np.s_[6:14, 6:18, 24:40]
GRID = Grid.centred((10.0, -20.0, 30.0), size=(44, 24, 20), spacing_mm=6.0)


def image(*parts: tuple[slice, ...], grid: Grid = GRID) -> Image:
    array = np.zeros(SHAPE, dtype=bool)
    for part in parts:
        array[part] = True
    return Image(array, grid)


LUNGS = image(RIGHT, LEFT)
VESSELS = image(np.s_[8:12, 10, 6:18], np.s_[8:12, 10, 26:34])
"""48 voxels in the right lung, 32 in the left one."""


def test_figures_are_those_counted_by_hand() -> None:
    figures = scan_figures(VESSELS, LUNGS)
    voxel_ml, lung = 0.216, 8 * 12 * 16
    assert figures["points"] == 80
    assert figures["lungs"]["right"] == pytest.approx(
        {"volume_ml": lung * voxel_ml, "vessels_ml": 48 * voxel_ml, "share": 48 / lung}
    )
    assert figures["lungs"]["left"]["share"] == pytest.approx(32 / lung)
    assert figures["balance"] == pytest.approx(32 / 48)
    assert (figures["inside"], figures["largest"], figures["border"]) == (1.0, 0.6, 0.0)


def test_voxels_outside_the_lungs_and_at_the_border_are_seen() -> None:
    stray = image(np.s_[8:12, 10, 6:18], np.s_[0, 0, 0:12], np.s_[8, 2, 20:24])
    figures = scan_figures(stray, LUNGS)
    assert figures["inside"] == pytest.approx(48 / 64)
    assert figures["border"] == pytest.approx(12 / 64)


def test_pieces_that_touch_at_corners_are_one() -> None:
    diagonal = image(*(np.s_[8 + n, 8 + n, 6 + n] for n in range(5)), np.s_[8, 16, 6])
    assert scan_figures(diagonal, LUNGS)["largest"] == pytest.approx(5 / 6)


@pytest.mark.parametrize("name", GRIDS)
def test_left_is_where_x_is_large_whatever_the_orientation(name: str) -> None:
    grid = GRIDS[name]
    axis = int(np.abs(np.array(grid.direction).reshape(3, 3)[0]).argmax())
    index = np.indices(grid.shape)[2 - axis]
    size = grid.shape[2 - axis]
    low, high = index < size // 3, index >= size - size // 3
    sides = split_lungs(Image(low | high, grid))
    middles = {
        side: grid.voxel_to_world(np.argwhere(mask)[:, ::-1].astype(float))[:, 0].mean() for side, mask in sides.items()
    }
    assert middles["left"] > middles["right"]


def test_lungs_that_touch_are_parted_and_one_lung_is_not() -> None:
    bridge = np.s_[9, 9, 20:24]
    sides = split_lungs(image(RIGHT, LEFT, bridge))
    assert {name: int(mask.sum()) for name, mask in sides.items()} == {"left": 1538, "right": 1538}
    assert sides["left"][LEFT].all()
    assert sides["right"][RIGHT].all()
    assert list(split_lungs(image(RIGHT))) == ["lung"]
    assert list(split_lungs(image(RIGHT, np.s_[0, 0, 40]))) == ["lung"]


def test_empty_masks_and_other_grids_are_refused() -> None:
    other = Grid.centred((0.0, 0.0, 0.0), size=(44, 24, 20), spacing_mm=6.0)
    for vessels, lungs, code in (
        (image(), LUNGS, "empty_vessels"),
        (VESSELS, image(), "empty_lungs"),
        (VESSELS, Image(LUNGS.array, other), "grid_mismatch"),
    ):
        with pytest.raises(BadInputError) as caught:
            scan_figures(vessels, lungs)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("value", "passed", "flagged"),
    [
        (0.9, False, False),
        (1.0, True, True),
        (2.0, True, False),
        (3.0, True, False),
        (3.5, True, True),
        (4.0, True, True),
        (4.1, False, False),
    ],
)
def test_limits_belong_to_the_range(value: float, *, passed: bool, flagged: bool) -> None:
    limits = Limits(min=1, warn_below=2, warn_above=3, max=4)
    found = verdict("x", value, limits, of="pair")
    assert (found["passed"], found["flagged"]) == (passed, flagged)


def test_no_limit_lets_everything_pass() -> None:
    found = verdict("x", -1e9, Limits(), of="pair")
    assert (found["passed"], found["flagged"]) == (True, False)


def test_limits_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="min <= warn_below"):
        Limits(min=2, max=1)


GOOD = GatesSettings(points=Limits(), share=Limits(), inside=Limits(), largest=Limits())
FAULTS = {
    "points": (GatesSettings(points=Limits(min=81)), VESSELS, LUNGS),
    "share": (GOOD.model_copy(update={"share": Limits(min=0.03)}), VESSELS, LUNGS),
    "balance": (GOOD, image(np.s_[8:12, 10, 6:18], np.s_[8, 10, 26:34]), LUNGS),
    "inside": (
        GOOD.model_copy(update={"inside": Limits(min=0.8)}),
        image(np.s_[8:12, 10, 6:18], np.s_[8:12, 10, 26:34], np.s_[2, 2, 2:42]),
        LUNGS,
    ),
    "largest": (GOOD.model_copy(update={"largest": Limits(min=0.7)}), VESSELS, LUNGS),
    "border": (GOOD, image(np.s_[8:12, 10, 6:18], np.s_[8:12, 10, 26:34], np.s_[0, 0, 0:4]), LUNGS),
    "ratio": (GOOD, image(np.s_[8:10, 10, 6:12], np.s_[8:10, 10, 26:30]), LUNGS),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_fails_its_own_gate(name: str) -> None:
    settings, vessels, lungs = FAULTS[name]
    figures = {"fixed": scan_figures(VESSELS, LUNGS), "moving": scan_figures(vessels, lungs)}
    assert name in {gate["name"] for gate in judge(figures, settings) if not gate["passed"]}
    healthy = {"fixed": figures["fixed"], "moving": figures["fixed"]}
    assert [gate["name"] for gate in judge(healthy, GOOD) if not gate["passed"]] == []


def test_one_lung_fails_the_balance_unless_it_is_off() -> None:
    figures = scan_figures(image(np.s_[8:12, 10, 6:18]), image(RIGHT))
    pair = {"fixed": figures, "moving": figures}
    assert figures["balance"] is None
    assert [g["name"] for g in judge(pair, GOOD) if not g["passed"]] == ["balance", "balance"]
    off = GOOD.model_copy(update={"balance": Limits()})
    assert [g["name"] for g in judge(pair, off) if not g["passed"]] == []


def test_command_writes_verdicts_and_succeeds_though_a_gate_fails(tmp_path: Path) -> None:
    for name, mask in (("v", VESSELS), ("l", LUNGS)):
        write_mask(tmp_path / f"{name}.nii.gz", mask)
    vessels, lungs, out = (str(tmp_path / name) for name in ("v.nii.gz", "l.nii.gz", "g.json"))
    arguments = ["gates", vessels, vessels, "--fixed-lungs", lungs, "--moving-lungs", lungs]
    result = CliRunner().invoke(main, [*arguments, "--out", out, "--json"])
    assert result.exit_code == 0, result.output
    assert "points of fixed" in json.loads(result.stdout)["failed"]
    content = json.loads(Path(out).read_text(encoding="utf-8"))
    assert content["figures"]["vessels"]["fixed"]["points"] == 80
    assert {gate["name"] for gate in content["gates"]} == {
        "points",
        "share",
        "balance",
        "inside",
        "largest",
        "border",
        "ratio",
    }
