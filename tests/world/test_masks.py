"""Masks as other programs write them: right voxels, or a refusal of one line."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import ndimage

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, write_image
from lcsd.io.masks import MOST_LABELS, count_labels, inside
from lcsd.lungs.classical import segment_lungs
from lcsd.lungs.fit import check_fit, doubts, fit_of
from lcsd.lungs.gates import judge_fit
from lcsd.readings.mask import check_in_scan
from lcsd.settings.gates import GatesSettings
from tests.thorax import dice
from tests.world import anatomy
from tests.world.anatomy import Chest, chest

Array = np.ndarray


@dataclass(frozen=True)
class Row:
    """A mask of a phantom's lungs as a program saves it."""

    name: str
    source: str  # the public report: repository and number; or "made up"
    make: Callable[[Chest], Array]
    outcome: str = ""  # reason code; empty if the lungs must be right
    least: float = 1.0  # Dice with the right lungs
    warning: str = ""  # words of a warning, and name of the gate that flags the scan
    gate: str = ""


def _ringing(made: Chest) -> Array:
    """Shift by half a voxel and back with cubic splines, which overshoot at edges."""
    there = ndimage.shift(made.lungs.astype(np.float32), (0.5, 0.5, 0.5), order=3)
    return ndimage.shift(there, (-0.5, -0.5, -0.5), order=3).astype(np.float32)


def _soft(made: Chest) -> Array:
    return ndimage.gaussian_filter(made.lungs.astype(np.float32), 0.8)


def _probabilities(made: Chest) -> Array:
    return np.where(made.lungs, 0.97, 1e-6).astype(np.float32)


def _sides(made: Chest) -> Array:
    return np.where(made.lungs, np.where(made.points[2] > 0, 2, 1), 0).astype(np.uint8)


def _organs(made: Chest) -> Array:
    """Label everything inside the body in twelve parts, the lungs with two of them."""
    z, _, _ = made.points
    parts = 3 + (np.broadcast_to(z, made.hu.shape) // 40 % 10).astype(np.uint8)
    return np.where(made.lungs, _sides(made), np.where(made.body, parts, 0)).astype(np.uint8)


def _heart(made: Chest) -> Array:
    heart = ndimage.binary_closing(made.lungs, iterations=12) & ~made.lungs & (made.hu > 0)
    return np.where(heart, 3, _sides(made)).astype(np.uint8)


def _signed(made: Chest) -> Array:
    return np.where(made.lungs, 1, np.where(made.body, 0, -1)).astype(np.int16)


def _turned(made: Chest, *axes: int) -> Array:
    return np.flip(made.lungs, axes).astype(np.uint8)


def _moved(made: Chest, mm: float, axis: int) -> Array:
    """Shift the mask by about as much along an axis (z, y, x)."""
    voxels = round(mm / made.grid.spacing[2 - axis])
    return np.roll(made.lungs, voxels, axis=axis).astype(np.uint8)


def _of(other: Chest, made: Chest) -> Array:
    """Put another scan's mask on the voxels of this one."""
    mask = np.zeros(made.hu.shape, np.uint8)
    part = tuple(slice(min(sizes)) for sizes in zip(other.lungs.shape, mask.shape, strict=True))
    mask[part] = other.lungs[part]
    return mask


def _room(made: Chest) -> Array:
    """Mark a box of air in front of the body, as a mask with other voxel sizes may lie."""
    front = np.zeros(made.hu.shape, np.uint8)
    front[5:-5, :8, 5:-5] = 1
    return front


def _half(made: Chest) -> Array:
    return (made.lungs & (made.points[2] > 0)).astype(np.uint8)


def _wide(made: Chest) -> Array:
    return ndimage.binary_dilation(made.lungs, iterations=2).astype(np.uint8)


ROWS = (
    Row("spline_ringing", "ANTsX/ANTs 1296", _ringing, least=0.99),
    Row("soft_mask", "AIM-Harvard/pyradiomics 595", _soft, least=0.97),
    Row("probabilities_above_zero", "ANTsX/ANTsPy 452", _probabilities),
    Row("zero_and_255", "rasterio/rasterio 1721", lambda made: made.lungs.astype(np.uint8) * 255),
    Row("zero_and_one_in_float", "MS-PINPOINT/mindGlide 14", lambda made: made.lungs.astype(np.float32)),
    Row("right_and_left", "JoHof/lungmask 16", _sides),
    Row(
        "resampled_labels",
        "CBICA/CaPTk 600",
        lambda made: ndimage.gaussian_filter(_sides(made) * 1.0, 0.8),
        "mask_values",
    ),
    Row("resampled_255", "rasterio/rasterio 1721", lambda made: _soft(made) * 255, "mask_values"),
    Row("all_organs", "deepmedic/deepmedic 111", _organs, "mask_values"),
    Row("lungs_and_heart", "bowang-lab/MedSAM 297", _heart, "not_lungs"),
    Row("minus_one_outside", "MIC-DKFZ/nnUNet 575", _signed, "mask_values"),
    Row("the_scan_itself", "AIM-Harvard/pyradiomics 583", lambda made: made.hu, "mask_values"),
    Row("everything", "made up", lambda made: np.ones(made.hu.shape, np.uint8), "not_lungs"),
    Row("body", "made up", lambda made: made.body.astype(np.uint8), "not_lungs"),
    Row("everything_but_lungs", "made up", lambda made: (~made.lungs).astype(np.uint8), "not_lungs"),
    # Silent before: Dice of 0.85 to 0.91 with the lungs; or the scan's header was called wrong.
    Row("left_and_right_exchanged", "ENHANCE-PET/MOOSE 232", lambda made: _turned(made, 2), "mask_turned"),
    Row("front_and_back_exchanged", "CBICA/CaPTk 694", lambda made: _turned(made, 1), "mask_turned"),
    Row("turned_by_half_a_circle", "wasserth/TotalSegmentator 31", lambda made: _turned(made, 1, 2), "mask_turned"),
    Row("slices_reversed", "made up", lambda made: _turned(made, 0), "mask_turned"),
    Row(
        "rows_and_columns_exchanged",
        "Project-MONAI/MONAI 6321",
        lambda made: made.lungs.swapaxes(1, 2).astype(np.uint8),
        "mask_turned",
    ),
    # Silent before, in a build too: Dice of 0.52 to 0.96 with the lungs.
    Row("20_mm_too_high", "qurit/rt-utils 114", lambda made: _moved(made, 20, 0), "mask_misfit"),
    Row("20_mm_to_the_back", "rmsandu/segmentation-eval 6", lambda made: _moved(made, 20, 1), "mask_misfit"),
    Row("40_mm_to_the_left", "rmsandu/segmentation-eval 6", lambda made: _moved(made, 40, 2), "mask_misfit"),
    Row("10_mm_to_the_back", "lzhLab/LiVS 3", lambda made: _moved(made, 10, 1), "mask_misfit"),
    Row(
        "5_mm_to_the_back",
        "lzhLab/LiVS 3",
        lambda made: _moved(made, 5, 1),
        least=0.9,
        warning="shifted by a few millimetres",
        gate="mask_misfit",
    ),
    Row("air_beside_the_body", "made up", _room, "mask_misfit"),
    Row("of_the_other_scan", "made up", lambda made: _of(chest("moving"), made), "mask_misfit"),
    Row(
        "of_another_person",
        "made up",
        lambda made: _of(chest("fixed", 1), made),
        least=0.9,
        warning="of another scan",
        gate="mask_misfit",
    ),
    Row(
        "one_lung_of_two",
        "ljwztc/CLIP-Driven-Universal-Model 100",
        _half,
        least=0.6,
        warning="it may lack a part of the lungs",
        gate="mask_missed",
    ),
    Row("too_wide", "made up", _wide, least=0.8, warning="they are dense", gate="mask_excess"),
    Row("low_probabilities", "wasserth/TotalSegmentator 71", lambda made: made.lungs * np.float32(0.3), "empty_mask"),
)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_given_mask(row: Row, tmp_path: Path) -> None:
    made = chest()
    array = row.make(made)
    write_image(tmp_path / "ct.nii.gz", made.image(), dtype=np.int16)
    write_image(tmp_path / "mask.nii.gz", Image(array, made.grid), dtype=array.dtype.type)
    out, record = tmp_path / "lungs.nii.gz", tmp_path / "rejected.json"
    call = ["lungs", str(tmp_path / "ct.nii.gz"), str(out), "--given", str(tmp_path / "mask.nii.gz")]
    done = CliRunner().invoke(main, [*call, "--rejected", str(record)])
    if row.outcome:
        assert [done.exit_code, len(done.stderr.splitlines()), out.exists()] == [2, 1, False]
        assert read_json(record)["code"] == row.outcome
        return
    assert done.exit_code == 0, done.output
    assert dice(read_mask(out).array, made.lungs) >= row.least
    assert (row.warning in done.stderr, bool(row.warning)) == (True, bool(done.stderr))
    gates = judge_fit("fixed", read_json(provenance_path(out))["facts"], GatesSettings())
    assert [gate["name"] for gate in gates if gate["flagged"]] == [row.gate] * bool(row.gate)


@pytest.mark.slow
def test_a_trusted_mask_is_taken_as_it_is(tmp_path: Path) -> None:
    made = chest()
    write_image(tmp_path / "ct.nii.gz", made.image(), dtype=np.int16)
    write_image(tmp_path / "mask.nii.gz", Image(_moved(made, 20, 1), made.grid), dtype=np.uint8)
    out = tmp_path / "lungs.nii.gz"
    call = ["lungs", str(tmp_path / "ct.nii.gz"), str(out), "--given", str(tmp_path / "mask.nii.gz")]
    done = CliRunner().invoke(main, [*call, "--set", "anatomy=trusted"])
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    assert judge_fit("fixed", read_json(provenance_path(out))["facts"], GatesSettings()) == []


ILL = (
    anatomy.effusion,
    anatomy.consolidation,
    lambda made: anatomy.consolidation(made, radius=60.0),
    lambda made: anatomy.without_part(made, low=0.0, high=0.6),
    anatomy.emphysema,
    anatomy.pneumothorax,
    anatomy.one_lung,
)


@pytest.mark.slow
@pytest.mark.parametrize("make", ILL)
def test_masks_of_whole_ill_lungs_are_not_refused(make: Callable[[Chest], Chest]) -> None:
    """JoHof/lungmask 4: what is dense is lung, too; that is what given masks are for."""
    made = chest()
    fit = fit_of(make(made).image(), Image(made.lungs, made.grid))
    assert fit.misfit < 0.02
    check_fit(fit, file=Path("mask.nii.gz"))
    assert len(doubts(fit)) == (fit.excess > 0.25)


def test_a_scan_without_found_lungs_says_so() -> None:
    made = chest()
    solid = made.with_hu(made.lungs, 30)
    fit = fit_of(solid.image(), Image(made.lungs, made.grid))
    assert (fit.excess, fit.misfit) == (1.0, 0.0)
    assert "no lung was found" in doubts(fit)[0]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", ["chest_ct/a", "chest_ct/b", "right_lung/fixed", "right_lung/moving"])
def test_masks_of_experts_lie_right_until_shifted(name: str, real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scan = read_image(real_data / f"{name}.nii.gz")
    found = segment_lungs(scan)  # once for all masks
    monkeypatch.setattr("lcsd.lungs.fit.segment_lungs", lambda *_: found)
    suffix = "_lungs" if "chest" in name else "_mask"
    mask = read_mask(real_data / f"{name}{suffix}.nii.gz").array
    fit = fit_of(scan, Image(mask, scan.grid))
    assert (fit.misfit < 0.02, doubts(fit)) == (True, [])
    for mm, axis, refused in ((5, 1, False), (20, 0, True), (20, 1, True), (40, 2, True)):
        moved = np.roll(mask, round(mm / scan.grid.spacing[2 - axis]), axis=axis)
        fit = fit_of(scan, Image(moved, scan.grid))
        assert (fit.misfit > 0.03, fit.misfit > 0.12) == (True, refused)


@pytest.mark.parametrize(
    "make",
    [
        anatomy.effusion,
        anatomy.one_lung,
        lambda made: anatomy.one_lung(made, side=-1),
        anatomy.consolidation,
        anatomy.emphysema,
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_masks_of_ill_lungs_lie_right(make: Callable[[Chest], Chest], whole: bool) -> None:
    """Whether the mask leaves out what is ill or not."""
    ill = make(chest())
    check_in_scan(chest().lungs if whole else ill.lungs, ill.hu, file=Path("mask.nii.gz"))


@pytest.mark.slow
def test_a_mask_of_the_upper_half_is_no_fault_of_the_header(tmp_path: Path) -> None:
    """wasserth/TotalSegmentator 220: lungs end at a flat face. Before, the scan's header was called wrong."""
    made = chest()
    heights = np.flatnonzero(made.lungs.any(axis=(1, 2)))
    upper = made.lungs.copy()
    upper[: heights[len(heights) // 2]] = False
    write_image(tmp_path / "ct.nii.gz", made.image(), dtype=np.int16)
    write_image(tmp_path / "mask.nii.gz", Image(upper, made.grid), dtype=np.uint8)
    call = [str(tmp_path / "ct.nii.gz"), str(tmp_path / "lungs.nii.gz"), "--given", str(tmp_path / "mask.nii.gz")]
    done = CliRunner().invoke(main, ["lungs", *call])
    assert done.exit_code == 0, done.output
    assert "it may lack a part of them" in done.stderr


@pytest.mark.parametrize("count", [1, MOST_LABELS, MOST_LABELS + 1, 40])
def test_labels_are_counted(count: int) -> None:
    values = np.arange(count + 1, dtype=np.int16).repeat(3).reshape(-1, 1, 1)
    assert count_labels(values) == min(count, MOST_LABELS + 1)
    labels = inside(values, file=Path("mask.nii.gz"), keep_labels=True)
    assert np.array_equal(labels, values)
    if count <= MOST_LABELS:
        assert np.array_equal(inside(values, file=Path("mask.nii.gz")), values > 0)
        return
    with pytest.raises(BadInputError) as caught:
        inside(values, file=Path("mask.nii.gz"))
    assert caught.value.code == "mask_values"


def test_vessels_may_have_many_labels(tmp_path: Path) -> None:
    array = np.arange(64, dtype=np.int16).reshape(4, 4, 4)
    grid = Grid((4, 4, 4), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    write_image(tmp_path / "vessels.nii.gz", Image(array, grid), dtype=np.int16)
    found = read_mask(tmp_path / "vessels.nii.gz", kind="vessels")
    assert np.array_equal(found.array, array != 0)
    assert np.array_equal(read_mask(tmp_path / "vessels.nii.gz", kind="vessels", keep_labels=True).array, array)


def test_half_is_inside() -> None:
    values = np.array([[[0.0, 0.49, 0.5, 1.0]]], dtype=np.float32)
    assert inside(values, file=Path("mask.nii.gz")).tolist() == [[[False, False, True, True]]]
    assert inside(values, file=Path("mask.nii.gz"), keep_labels=True).tolist() == [[[0, 0, 1, 1]]]
