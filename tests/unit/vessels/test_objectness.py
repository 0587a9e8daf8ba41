"""Vessel masks: tubes found, sheets and blobs not, user maps put in place, empty is an error."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, read_image, write_image, write_mask, write_rigid
from lcsd.settings.vessels import ObjectnessSettings, VesselsSettings
from lcsd.vessels.objectness import noise_hu, objectness, threshold_hu
from lcsd.vessels.vessels import given_vessels, make_vessels
from tests.thorax import dice, scan, thorax_grid

STEP = np.array([1.5, 1.5, 1.5])


@pytest.fixture(scope="module")
def chest() -> dict[str, Image]:
    grid = thorax_grid((1.5, 1.5, 1.5))
    # Only the right lung's box: the rest costs time.
    part = Grid((64, 70, 90), grid.spacing, (-85.0, -200.0, -368.0))
    return scan(part)


def shapes() -> dict[str, np.ndarray]:
    z, y, x = (np.indices((41, 41, 41)) - 20) * 1.5

    def bright(*axes: np.ndarray) -> np.ndarray:
        return 850.0 * np.exp(-sum(axis**2 for axis in axes) / (2 * 1.5**2))

    tube = bright(y, x)
    return {"tube": tube, "tube_x": bright(z, y), "sheet": bright(x), "blob": bright(z, y, x), "dark": -tube}


@pytest.mark.parametrize("scales", [(0.0,), (1.5,), (0.0, 1.5)])
def test_objectness_likes_bright_tubes_only(scales: tuple[float, ...]) -> None:
    middle = {
        name: float(objectness(a.astype(np.float32) - 850, STEP, scales)[20, 20, 20]) for name, a in shapes().items()
    }
    assert middle["tube"] == pytest.approx(middle["tube_x"], rel=1e-3)
    assert middle["tube"] > 3 * max(middle["sheet"], middle["blob"], middle["dark"], 1.0)
    assert middle["dark"] == 0


def test_objectness_is_the_largest_over_the_scales() -> None:
    tube = shapes()["tube"].astype(np.float32)
    single = [objectness(tube, STEP, (s,)) for s in (0.0, 1.5)]
    assert (objectness(tube, STEP, (0.0, 1.5)) == np.maximum(*single)).all()


def test_vessels_of_the_thorax_are_found(chest: dict[str, Image]) -> None:
    found = make_vessels(chest["hu"], chest["lungs"]).mask
    truth = chest["vessels"].array
    both = (found.array & truth).sum()
    assert found.grid.same_as(chest["hu"].grid)
    assert 2 * both / (found.array.sum() + truth.sum()) > 0.8
    assert not found.array[~chest["lungs"].array].any()


def test_airway_beside_a_vessel_gives_its_wall_at_most() -> None:
    grid = Grid((40, 40, 40), (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))
    _, y, x = np.indices(grid.shape) * 1.5
    airway, artery = np.hypot(x - 27, y - 30), np.hypot(x - 37.5, y - 30)
    hu = np.full(grid.shape, -860.0)
    hu[artery < 2.5] = 42
    hu[airway < 5.2] = 10
    hu[airway < 3.6] = -985
    lungs = Image(np.ones(grid.shape, bool), grid)
    found = make_vessels(Image(hu.astype(np.int16), grid), lungs).mask.array
    assert found[artery < 2.5].all()
    assert not found[airway < 3.6].any()  # the lumen
    # The wall cannot be told from vessels at this voxel size; it must not draw in more.
    assert not found[(artery > 2.5) & (airway > 5.2)].any()


def test_smoothing_would_widen_vessels(chest: dict[str, Image]) -> None:
    sharp, smooth = (
        make_vessels(chest["hu"], chest["lungs"], VesselsSettings(objectness=chosen)).mask.array
        for chosen in (ObjectnessSettings(), ObjectnessSettings(scales_mm=(0.0, 1.5)))
    )
    truth = chest["vessels"].array
    assert (sharp & ~truth).sum() < (smooth & ~truth).sum()


def test_small_pieces_and_weak_pieces_are_dropped(chest: dict[str, Image]) -> None:
    hu = np.full(chest["hu"].array.shape, -860, np.int16)
    lungs = Image(np.ones_like(chest["lungs"].array), chest["hu"].grid)
    hu[40, 40, 30] = 40  # one voxel: 3.4 mm3
    hu[20:60, 20, 20] = 40  # a vessel
    hu[20:60, 50, 50] = -850  # too faint: a score of 39 HU
    found = make_vessels(Image(hu, lungs.grid), lungs).mask.array
    assert found[25:55, 20, 20].all()
    assert not found[40, 40, 30]
    assert not found[:, 50, 50].any()
    all_sizes = VesselsSettings(objectness=ObjectnessSettings(min_volume_mm3=0))
    kept = make_vessels(Image(hu, lungs.grid), lungs, all_sizes).mask
    assert kept.array[40, 40, 30]


def test_threshold_follows_the_noise(chest: dict[str, Image]) -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(-860, 60, chest["hu"].array.shape)
    lungs = Image(np.ones(noise.shape, bool), chest["hu"].grid)
    noise[20:60, 20, 20] = 40
    found = make_vessels(Image(noise.astype(np.int16), lungs.grid), lungs).mask.array
    assert found[22:58, 20, 20].mean() > 0.9
    assert found.sum() < 200
    naive = VesselsSettings(objectness=ObjectnessSettings(noise_factor=0))
    loose = make_vessels(Image(noise.astype(np.int16), lungs.grid), lungs, naive).mask
    assert loose.array.sum() > 1000


@pytest.mark.parametrize("sigma", [5.0, 30.0])
def test_noise_is_the_standard_deviation_of_white_noise(sigma: float) -> None:
    noise = np.random.default_rng(0).normal(-850, sigma, (40, 40, 40))
    inside = np.zeros(noise.shape, bool)
    inside[2:-2, 2:-2, 2:-2] = True
    assert noise_hu(noise, inside) == pytest.approx(sigma, rel=0.03)
    # Slow changes and a vessel are not noise.
    noise += np.linspace(-200, 200, 40)[:, None, None]
    noise[:, 18:22, 18:22] += 800
    assert noise_hu(noise, inside) == pytest.approx(sigma, rel=0.05)
    assert noise_hu(noise, np.zeros_like(inside)) == 0


def test_threshold_leaves_the_share_above_it_within_its_bounds() -> None:
    rng = np.random.default_rng(0)
    inside = np.zeros((20, 20, 20), bool)
    inside[4:16, 4:16, 4:16] = True
    score = rng.uniform(0, 1000, inside.shape).astype(np.float32)
    score[~inside] = 5000
    hu = np.full(inside.shape, -860)

    def low(values: np.ndarray = hu, **changes: float) -> float:
        return threshold_hu(values, score, inside, ObjectnessSettings(**changes))

    assert (score[inside] > low(max_share=0.7)).sum() == pytest.approx(0.7 * inside.sum(), abs=1)
    assert low(max_share=0.05) == ObjectnessSettings().sure_hu
    assert low(max_share=0.05, sure_hu=2000.0) == pytest.approx(950, abs=10)
    assert low(max_share=0.999) == ObjectnessSettings().min_hu
    assert low(rng.normal(-860, 100, hu.shape), noise_factor=8.0) == pytest.approx(800, rel=0.06)
    assert threshold_hu(hu, score, np.zeros_like(inside), ObjectnessSettings()) == ObjectnessSettings().min_hu


def test_vessels_are_found_where_their_contrast_is_low(chest: dict[str, Image]) -> None:
    inside = chest["lungs"].array
    faint = chest["hu"].array.astype(np.float64)
    faint[inside] = -950 + 0.4 * (faint[inside] + 950)
    found = make_vessels(Image(faint.round().astype(np.int16), chest["hu"].grid), chest["lungs"]).mask.array
    assert dice(found, make_vessels(chest["hu"], chest["lungs"]).mask.array) > 0.9


def test_consolidated_lung_does_not_take_the_share_of_the_vessels(chest: dict[str, Image]) -> None:
    lungs, hu = chest["lungs"], chest["hu"].array.copy()
    dense = np.zeros(hu.shape, bool)
    dense[:22] = True  # 12 % of this lung
    hu[dense & lungs.array & (hu < -100)] = -100
    image, rest = Image(hu, chest["hu"].grid), ~dense & lungs.array
    rest[:28] = False
    healthy = make_vessels(chest["hu"], lungs).mask.array[rest]
    assert dice(make_vessels(image, lungs).mask.array[rest], healthy) > 0.85
    unbounded = VesselsSettings(objectness=ObjectnessSettings(sure_hu=3000.0))
    assert dice(make_vessels(image, lungs, unbounded).mask.array[rest], healthy) < 0.8


def test_flat_lung_is_an_error(chest: dict[str, Image]) -> None:
    flat = Image(np.full_like(chest["hu"].array, -860), chest["hu"].grid)
    with pytest.raises(BadInputError) as caught:
        make_vessels(flat, chest["lungs"], file=Path("fixed.nii.gz"))
    assert caught.value.code == "empty_vessels"
    assert "fixed.nii.gz" in caught.value.message
    empty = Image(np.zeros_like(chest["lungs"].array), chest["lungs"].grid)
    with pytest.raises(BadInputError) as caught:
        make_vessels(chest["hu"], empty)
    assert caught.value.code == "empty_lungs"


def test_given_map_goes_through_the_rigid_transform(tmp_path: Path) -> None:
    native = Grid((20, 22, 24), (1.0, 1.0, 1.0), (100.0, 50.0, -20.0))
    mask = np.zeros(native.shape, bool)
    mask[10, 11, 7] = True
    write_mask(tmp_path / "own.nii.gz", Image(mask, native))
    rigid = RigidTransform(np.eye(3), np.array([100.0, 50.0, -20.0]))
    common = Grid((20, 22, 24), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    found = given_vessels(tmp_path / "own.nii.gz", common, rigid=rigid)
    assert (np.argwhere(found.array) == [[10, 11, 7]]).all()
    with pytest.raises(BadInputError) as caught:
        given_vessels(tmp_path / "own.nii.gz", common)
    assert caught.value.code == "empty_vessels"


@pytest.mark.slow
def test_command_for_any_thread_count(chest: dict[str, Image], tmp_path: Path) -> None:
    write_image(tmp_path / "ct.nii.gz", chest["hu"], dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", chest["lungs"])
    outputs = []
    for threads in (1, 2):
        out = tmp_path / f"v{threads}.nii.gz"
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from lcsd.cli.main import main; main()",
                "vessels",
                str(tmp_path / "ct.nii.gz"),
                str(out),
                "--lungs",
                str(tmp_path / "lungs.nii.gz"),
                "--backend",
                "objectness",
                "--threads",
                str(threads),
            ],
            check=True,
            env={**os.environ},
            capture_output=True,
        )
        outputs.append(out.read_bytes())
    assert outputs[0] == outputs[1]
    assert read_image(tmp_path / "v1.nii.gz").array.dtype == np.uint8


def test_command_with_a_given_map(chest: dict[str, Image], tmp_path: Path) -> None:
    write_image(tmp_path / "ct.nii.gz", chest["hu"], dtype=np.int16)
    write_mask(tmp_path / "lungs.nii.gz", chest["lungs"])
    write_mask(tmp_path / "own.nii.gz", chest["vessels"])
    write_rigid(tmp_path / "rigid.tfm", RigidTransform.identity())
    base = ["vessels", str(tmp_path / "ct.nii.gz"), str(tmp_path / "v.nii.gz")]
    base += ["--lungs", str(tmp_path / "lungs.nii.gz"), "--rigid", str(tmp_path / "rigid.tfm")]
    result = CliRunner().invoke(main, base)
    assert result.exit_code == 2
    assert "--given" in result.stderr
    assert not (tmp_path / "v.nii.gz").exists()
    result = CliRunner().invoke(main, [*base, "--given", str(tmp_path / "own.nii.gz")])
    assert result.exit_code == 0, result.output
    assert (read_image(tmp_path / "v.nii.gz").array == chest["vessels"].array).all()
