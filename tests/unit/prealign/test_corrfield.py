"""The rigid step by corrfield: known motion in every orientation, outliers."""

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from lcsd.geometry import Grid, RigidTransform, fit_rigid
from lcsd.io.images import Image, read_image, read_mask, resample
from lcsd.io.points import read_point_pairs
from lcsd.prealign.corrfield import block_correlation, fit_without_outliers, levels
from lcsd.prealign.prealign import prealign
from lcsd.settings.prealign import PrealignSettings
from tests.grids import _rotation
from tests.unit.prealign.pairs import MOTION, SMALL, error_mm, moved_scan

VOXEL_MM = 2.0
"""The default voxel of the volumes in which keypoints are matched."""

CORRFIELD = SMALL.model_copy(update={"method": "corrfield"})


@pytest.mark.slow
@pytest.mark.parametrize(("name", "spacing"), [("lps", (2.5, 2.5, 2.5)), ("oblique", (2.0, 2.0, 3.0))])
def test_known_motion_is_recovered(first: dict[str, Image], name: str, spacing: tuple[float, float, float]) -> None:
    second = moved_scan(name, spacing)
    pair = prealign(
        first["hu"], second["hu"], fixed_mask=first["lungs"], moving_mask=second["lungs"], settings=CORRFIELD
    )
    assert error_mm(pair.rigid, first) < VOXEL_MM
    assert pair.report["method"] == "corrfield"
    assert pair.report["match_residual_mean_mm"] < 1.5
    assert 20 <= pair.report["matches_kept"] <= pair.report["matches_tried"]
    assert 0 < pair.report["match_score_mean"] <= 1
    assert pair.report["dice_aligned"] > max(0.97, pair.report["dice_centred"])


def test_gross_outliers_are_left_out() -> None:
    rng = np.random.default_rng(1)
    source = rng.uniform(-80, 80, (200, 3))
    target = MOTION.apply(source) + rng.normal(0, 0.5, source.shape)
    target[:60] += [40.0, 0.0, -25.0]
    rigid, kept = fit_without_outliers(source, target)
    assert not kept[:60].any()
    assert kept[60:].mean() > 0.97
    apart = np.linalg.norm(rigid.apply(source) - MOTION.apply(source), axis=1)
    assert apart.max() < 0.3
    plain = np.linalg.norm(fit_rigid(source, target).apply(source) - MOTION.apply(source), axis=1)
    assert plain.min() > 5


def test_exact_points_are_all_kept() -> None:
    source = np.random.default_rng(2).uniform(-80, 80, (30, 3))
    rigid, kept = fit_without_outliers(source, MOTION.apply(source))
    assert kept.all()
    assert np.abs(rigid.apply(source) - MOTION.apply(source)).max() < 1e-9


def test_block_correlation_agrees_with_the_definition() -> None:
    """The moving volume is the rotated fixed volume, so rotated blocks are equal."""
    grid = Grid((40, 36, 32), (2.0, 2.0, 2.0), (-30.0, 10.0, 5.0))
    rng = np.random.default_rng(3)
    smooth = 900 * ndimage.gaussian_filter(rng.normal(0, 1, grid.shape), 1.5) - 500
    fixed = Image(smooth.astype(np.float32), grid)
    turn = RigidTransform(_rotation((0, 0, 8)), grid.centre - _rotation((0, 0, 8)) @ grid.centre)
    moving = resample(fixed, grid, transform=turn.inverse(), outside=-500.0)
    here = grid.centre + rng.uniform(-6, 6, (5, 3))
    args = {"rotation": turn.rotation, "radius_mm": 8.0}
    assert block_correlation(fixed, moving, here, turn.apply(here), **args).min() > 0.95
    wrong = block_correlation(fixed, moving, here, turn.apply(here) + 9.0, **args)
    assert np.abs(wrong).max() < 0.7
    voxel = grid.voxel_to_world(np.array([[20.0, 18.0, 16.0]]))
    one, other = fixed.array[12:21, 14:23, 16:25], moving.array[12:21, 14:23, 16:25]
    found = block_correlation(fixed, moving, voxel, voxel, rotation=np.eye(3), radius_mm=8.0)
    assert found[0] == pytest.approx(np.corrcoef(one.ravel(), other.ravel())[0, 1], abs=1e-5)
    flat = Image(np.zeros_like(fixed.array), grid)
    assert block_correlation(fixed, flat, voxel, voxel, **args).tolist() == [0.0]


def test_the_search_reaches_as_far_as_the_setting_says() -> None:
    for search, spacing in ((36.0, 2.0), (50.0, 3.0), (6.0, 1.0)):
        found = levels(PrealignSettings(search_mm=search, keypoint_spacing_mm=spacing))
        reach = found.search_radius[0] * found.quantisation[0] * spacing
        assert search <= reach < search + found.quantisation[0] * spacing
        assert found.transform == ("r", "r")


@pytest.mark.slow
@pytest.mark.real_data
def test_real_right_lung(real_data: Path) -> None:
    """Two scans in different frames: the result is near the best rigid fit of the truth."""
    folder = real_data / "right_lung"
    pair = prealign(
        read_image(folder / "fixed.nii.gz"),
        read_image(folder / "moving.nii.gz"),
        fixed_mask=read_mask(folder / "fixed_mask.nii.gz"),
        moving_mask=read_mask(folder / "moving_mask.nii.gz"),
        settings=PrealignSettings(method="corrfield"),
    )
    truth = read_point_pairs(folder / "truth.csv")

    def mean(rigid: RigidTransform) -> float:
        return float(np.linalg.norm(rigid.apply(truth.fixed) - truth.moving, axis=1).mean())

    assert mean(pair.rigid) < 1.15 * mean(fit_rigid(truth.fixed, truth.moving))
