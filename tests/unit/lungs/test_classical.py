"""Lung masks: right on every orientation, table, gas and trachea left out, empty is an error."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, read_image, read_mask, resample, write_image
from lcsd.lungs.classical import segment_lungs
from lcsd.settings.lungs import LungsSettings
from tests.grids import GRIDS
from tests.thorax import CENTRE, dice, scan, thorax_grid


@pytest.fixture(scope="module")
def chest() -> dict[str, Image]:
    return scan(thorax_grid((3.0, 3.0, 3.0)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lps", "ras", "flipped_z", "left_handed", "oblique", "permuted"])
def test_both_lungs_on_every_orientation(name: str) -> None:
    case = scan(thorax_grid((3.0, 3.0, 4.0), GRIDS[name].matrix))
    found = segment_lungs(case["hu"])
    assert found.mask.grid.same_as(case["hu"].grid)
    assert found.count == 2
    assert dice(found.mask.array, case["lungs"].array) > 0.96


def test_table_gas_and_trachea_are_left_out(chest: dict[str, Image]) -> None:
    mask = segment_lungs(chest["hu"]).mask
    for offset in ([0, 92, 0], [40, -20, -92], [0, 5, 30], [0, -82, 0]):
        voxel = np.rint(mask.grid.world_to_voxel(CENTRE + offset)).astype(int)
        assert not mask.array[tuple(voxel[::-1])], offset


def test_trachea_that_opens_into_the_lungs_is_left_out(chest: dict[str, Image]) -> None:
    grid = chest["hu"].grid
    z, y, x = np.indices(grid.shape).reshape(3, -1).astype(float)
    p = grid.voxel_to_world(np.stack([x, y, z], axis=1)) - CENTRE
    bronchi = (np.hypot(p[:, 1] - 5, p[:, 2]) < 6) & (abs(p[:, 0]) < 24)
    hu = np.where(bronchi.reshape(grid.shape), np.int16(-985), chest["hu"].array)
    found = segment_lungs(Image(hu, grid))
    trachea = (np.hypot(p[:, 0], p[:, 1] - 5) < 7) & (p[:, 2] > 0) & (p[:, 2] < 60)
    assert found.airways_ml > 5
    assert found.count == 2
    assert found.mask.array.ravel()[trachea].mean() < 0.02
    assert dice(found.mask.array, chest["lungs"].array) > 0.96


def test_vessels_belong_to_the_lungs(chest: dict[str, Image]) -> None:
    mask = segment_lungs(chest["hu"]).mask.array
    assert mask[chest["vessels"].array].mean() > 0.95


def test_single_lung_is_found_without_being_told() -> None:
    case = scan(thorax_grid((3.0, 3.0, 3.0)), lungs="right")
    found = segment_lungs(case["hu"])
    assert found.count == 1
    assert dice(found.mask.array, case["lungs"].array) > 0.96


def test_one_expected_lung_is_the_larger_one(chest: dict[str, Image]) -> None:
    case = chest
    # The left lung loses its lower half.
    low = np.indices(case["hu"].array.shape)
    cut = (low[0] < case["hu"].array.shape[0] // 2) & (low[2] > case["hu"].array.shape[2] // 2)
    hu = np.where(cut, np.int16(40), case["hu"].array)
    found = segment_lungs(Image(hu, case["hu"].grid), LungsSettings(expected_lungs="1"))
    truth = case["lungs"].array & (low[2] < case["hu"].array.shape[2] // 2)
    assert found.count == 1
    assert dice(found.mask.array, truth) > 0.95


def test_touching_lungs_come_apart(chest: dict[str, Image]) -> None:
    grid = chest["hu"].grid
    bridge = np.indices(grid.shape)
    middle = np.rint(grid.world_to_voxel(CENTRE + np.array([0, -25, 0]))).astype(int)
    bridge = (abs(bridge[2] - middle[0]) < 11) & (abs(bridge[1] - middle[1]) < 2) & (abs(bridge[0] - middle[2]) < 6)
    hu = np.where(bridge, np.int16(-850), chest["hu"].array)
    assert segment_lungs(Image(hu, grid)).count == 2


def test_lung_cut_by_the_edge_of_the_scan(chest: dict[str, Image]) -> None:
    grid = chest["hu"].grid
    keep = int(np.rint(grid.world_to_voxel(CENTRE - [10.0, 0, 0])[0]))
    hu = chest["hu"].array[:, :, : keep - 10].copy()
    hu[:, [0, -1]] = -1024
    hu[:, :, [0, -1]] = -1024
    part = Grid((hu.shape[2], *grid.size[1:]), grid.spacing, grid.origin, grid.direction)
    found = segment_lungs(Image(hu, part))
    truth = chest["lungs"].array[:, :, : hu.shape[2]]
    assert found.count == 1
    assert dice(found.mask.array, truth) > 0.93


@pytest.mark.parametrize("value", [-1000, 40])
def test_no_lung_is_an_error(value: int) -> None:
    grid = Grid((40, 40, 40), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    flat = Image(np.full(grid.shape, value, np.int16), grid)
    with pytest.raises(BadInputError) as caught:
        segment_lungs(flat, file=Path("scan.nii.gz"))
    assert caught.value.code == "empty_lungs"
    assert "scan.nii.gz" in caught.value.message


def test_command(chest: dict[str, Image], tmp_path: Path) -> None:
    write_image(tmp_path / "ct.nii.gz", chest["hu"], dtype=np.int16)
    out = tmp_path / "lungs.nii.gz"
    result = CliRunner().invoke(main, ["lungs", str(tmp_path / "ct.nii.gz"), str(out), "--json"])
    assert result.exit_code == 0, result.output
    mask = read_image(out)
    assert mask.array.dtype == np.uint8
    assert set(np.unique(mask.array)) == {0, 1}
    printed = json.loads(result.stdout)
    assert printed["volume_ml"] == pytest.approx(mask.array.sum() * 27e-3, rel=1e-3)
    again = tmp_path / "again.nii.gz"
    CliRunner().invoke(main, ["lungs", str(tmp_path / "ct.nii.gz"), str(again), "--given", str(out)])
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["fixed", "moving"])
def test_real_right_lung(real_data: Path, name: str) -> None:
    folder = real_data / "right_lung"
    found = segment_lungs(read_image(folder / f"{name}.nii.gz"))
    truth = read_mask(folder / f"{name}_mask.nii.gz").array
    print(f"right lung {name}: Dice {dice(found.mask.array, truth):.4f}")  # noqa: T201
    assert found.count == 1
    assert dice(found.mask.array, truth) > 0.97


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["a", "b"])
def test_real_chest(real_data: Path, name: str) -> None:
    folder = real_data / "chest_ct"
    found = segment_lungs(read_image(folder / f"{name}.nii.gz"))
    truth = read_mask(folder / f"{name}_lungs.nii.gz").array
    print(f"chest {name}: Dice {dice(found.mask.array, truth):.4f}")  # noqa: T201
    assert found.count == 2
    assert dice(found.mask.array, truth) >= 0.965


def test_mask_follows_a_moved_scan(chest: dict[str, Image]) -> None:
    """The same anatomy elsewhere in space gives the same mask elsewhere."""
    moved = Grid(chest["hu"].grid.size, chest["hu"].grid.spacing, (700.0, 80.0, 5.0))
    one = segment_lungs(chest["hu"]).mask
    two = segment_lungs(Image(chest["hu"].array, moved)).mask
    assert (one.array == two.array).all()
    shift = RigidTransform(np.eye(3), np.subtract(moved.origin, one.grid.origin))
    assert (resample(two, one.grid, transform=shift, nearest=True).array == one.array).mean() > 0.999
