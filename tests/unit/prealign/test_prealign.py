"""Pre-alignment recovers known motion in every orientation and in the right direction."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid, RigidTransform, fit_rigid
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, read_rigid, write_image, write_mask
from lcsd.io.points import read_point_pairs
from lcsd.prealign.common import common_grid, resample_hu
from lcsd.prealign.correlation import correlate
from lcsd.prealign.prealign import prealign
from lcsd.settings.prealign import PrealignSettings
from tests.thorax import CENTRE, scan, thorax_grid
from tests.unit.prealign.pairs import MOTION, SMALL, error_mm, moved_scan


@pytest.mark.parametrize(
    ("name", "spacing"),
    [
        ("lps", (2.5, 2.5, 2.5)),
        pytest.param("ras", (2.5, 2.5, 2.5), marks=pytest.mark.slow),
        pytest.param("left_handed", (2.0, 2.0, 4.0), marks=pytest.mark.slow),
        pytest.param("oblique", (2.0, 2.0, 3.0), marks=pytest.mark.slow),
        pytest.param("permuted", (3.0, 2.0, 2.0), marks=pytest.mark.slow),
    ],
)
def test_known_motion_is_recovered(first: dict[str, Image], name: str, spacing: tuple[float, float, float]) -> None:
    second = moved_scan(name, spacing)
    pair = prealign(first["hu"], second["hu"], fixed_mask=first["lungs"], moving_mask=second["lungs"], settings=SMALL)
    assert error_mm(pair.rigid, first) < 0.5
    assert pair.report["rotation_deg"] == pytest.approx(7.7, abs=0.5)
    assert pair.report["dice_aligned"] > max(0.97, pair.report["dice_centred"])
    assert pair.report["method"] == "blocks"
    assert pair.report["matches_kept"] <= pair.report["matches_tried"]
    assert pair.report["fixed_lung_inside"] == pair.report["moving_lung_inside"] == 1
    inside = pair.fixed_mask.array
    apart = np.abs(pair.fixed.array - pair.moving.array)[inside]
    assert np.median(apart) < 40


def test_common_grid_is_centred_on_the_box_of_the_lungs(first: dict[str, Image]) -> None:
    grid = common_grid(first["lungs"], PrealignSettings())
    assert grid.size == (224, 192, 224)
    assert grid.spacing == (1.5, 1.5, 1.5)
    assert (grid.matrix == np.eye(3)).all()
    points = first["lungs"].grid.voxel_to_world(np.argwhere(first["lungs"].array)[:, ::-1].astype(float))
    assert grid.centre == pytest.approx((points.min(axis=0) + points.max(axis=0)) / 2)
    assert grid.contains(points).all()


@pytest.mark.slow
def test_lungs_outside_the_grid_are_counted(first: dict[str, Image]) -> None:
    narrow = SMALL.model_copy(update={"size": (64, 44, 20)})
    pair = prealign(first["hu"], first["hu"], fixed_mask=first["lungs"], moving_mask=first["lungs"], settings=narrow)
    points = first["lungs"].grid.voxel_to_world(np.argwhere(first["lungs"].array)[:, ::-1].astype(float))
    expected = pair.fixed.grid.contains(points).mean()
    assert pair.report["method"] == "blocks"
    assert pair.report["matches_kept"] <= pair.report["matches_tried"]
    assert pair.report["fixed_lung_inside"] == pytest.approx(expected, abs=1e-5)
    assert 0.4 < expected < 0.9


def test_outside_of_the_scan_is_air_and_noise_is_averaged() -> None:
    rng = np.random.default_rng(0)
    fine = Grid((60, 60, 60), (0.5, 0.5, 0.5), (0.0, 0.0, 0.0))
    noise = Image(rng.normal(0, 100, fine.shape).astype(np.float32), fine)
    coarse = Grid((16, 16, 16), (2.0, 2.0, 2.0), (-1.0, -1.0, 2.0))
    array = resample_hu(noise, coarse).array
    assert (array[:, 0, :] == -1024).all()
    assert array[2:10, 2:10, 2:10].std() < 25
    same = resample_hu(noise, fine).array
    assert np.allclose(same, noise.array, atol=1e-3)


def test_correlate_agrees_with_the_definition() -> None:
    rng = np.random.default_rng(3)
    fixed = rng.normal(0, 100, (16, 15, 14)).astype(np.float32)
    moving = rng.normal(0, 100, fixed.shape).astype(np.float32)
    moving[3:12, 4:12, 5:12] = fixed[4:13, 3:11, 5:12]
    blocks = np.array([[8, 7, 8], [4, 4, 4], [12, 11, 10]])
    radius, reach = 2, 3
    shift, score = correlate(fixed, moving, blocks, radius=radius, reach=reach)
    wide = np.pad(moving, radius + reach)
    for block, found, height in zip(blocks, shift, score, strict=True):
        z, y, x = (slice(c - radius, c + radius + 1) for c in block)
        own = fixed[z, y, x].astype(float).ravel()
        best, where = -2.0, (0, 0, 0)
        for step in np.ndindex(*(2 * reach + 1,) * 3):
            z, y, x = (slice(c + s, c + s + 2 * radius + 1) for c, s in zip(block, step, strict=True))
            other = wide[z, y, x].astype(float).ravel()
            if other.std() > 15:
                value = float(np.corrcoef(own, other)[0, 1])
                if value > best:
                    best, where = value, step
        assert height == pytest.approx(best, abs=1e-4)
        assert np.abs(found - (np.array(where) - reach)).max() <= 0.5
    assert np.abs(shift[0] - [-1, 1, 0]).max() < 0.5
    assert score[0] > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("method", ["blocks", "corrfield"])
def test_scans_that_do_not_match_are_an_error(first: dict[str, Image], method: str) -> None:
    rng = np.random.default_rng(5)
    noise = rng.normal(-850, 120, first["hu"].array.shape).astype(np.int16)
    with pytest.raises(WorkError) as caught:
        prealign(
            first["hu"],
            Image(noise, first["hu"].grid),
            fixed_mask=first["lungs"],
            moving_mask=first["lungs"],
            settings=SMALL.model_copy(update={"method": method}),
        )
    assert caught.value.code == "too_few_matches"


def test_empty_or_foreign_mask_is_refused(first: dict[str, Image]) -> None:
    empty = Image(np.zeros_like(first["lungs"].array), first["lungs"].grid)
    with pytest.raises(BadInputError) as caught:
        prealign(first["hu"], first["hu"], fixed_mask=first["lungs"], moving_mask=empty)
    assert caught.value.code == "empty_lungs"
    other = scan(thorax_grid((8.0, 8.0, 8.0)))["lungs"]
    with pytest.raises(BadInputError) as caught:
        prealign(first["hu"], first["hu"], fixed_mask=first["lungs"], moving_mask=other)
    assert caught.value.code == "grid_mismatch"


@pytest.mark.slow
def test_command_writes_the_contracts_files_for_any_thread_count(first: dict[str, Image], tmp_path: Path) -> None:
    second = moved_scan("oblique", (2.0, 2.0, 3.0))
    for role, case in (("fixed", first), ("moving", second)):
        write_image(tmp_path / f"{role}.nii.gz", case["hu"], dtype=np.int16)
        write_mask(tmp_path / f"{role}_mask.nii.gz", case["lungs"])
    outputs = []
    for threads in (1, 2):
        out = tmp_path / f"out{threads}"
        subprocess.run(
            [
                sys.executable,
                "-c",
                "from lcsd.cli.main import main; main()",
                "prealign",
                str(tmp_path / "fixed.nii.gz"),
                str(tmp_path / "moving.nii.gz"),
                "--fixed-mask",
                str(tmp_path / "fixed_mask.nii.gz"),
                "--moving-mask",
                str(tmp_path / "moving_mask.nii.gz"),
                "--out-dir",
                str(out),
                "--threads",
                str(threads),
                "--set",
                "size=[64,44,50]",
                "--set",
                "spacing_mm=3.0",
            ],
            check=True,
            env={**os.environ},
            capture_output=True,
        )
        names = sorted(p.name for p in out.iterdir() if "provenance" not in p.name)
        assert names == [
            "fixed.nii.gz",
            "fixed_mask.nii.gz",
            "moving.nii.gz",
            "moving_mask.nii.gz",
            "prealign.json",
            "rigid.tfm",
        ]
        outputs.append({name: (out / name).read_bytes() for name in names})
    assert outputs[0] == outputs[1]
    # rigid.tfm maps a landmark of the fixed scan to its position in the follow-up, LPS.
    landmark = CENTRE + np.array([48.0, 10.0, -30.0])
    rigid = read_rigid(tmp_path / "out1" / "rigid.tfm")
    assert np.linalg.norm(rigid.apply(landmark) - MOTION.apply(landmark)) < 0.5
    for name in ("fixed", "moving"):
        image = read_image(tmp_path / "out1" / f"{name}.nii.gz")
        mask = read_mask(tmp_path / "out1" / f"{name}_mask.nii.gz", like=image.grid)
        assert image.array.dtype == np.int16
        assert np.median(image.array[mask.array]) == pytest.approx(-855, abs=25)
    assert "seconds" not in json.dumps(read_json(tmp_path / "out1" / "prealign.json"))


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
    )
    truth = read_point_pairs(folder / "truth.csv")

    def mean(rigid: RigidTransform) -> float:
        return float(np.linalg.norm(rigid.apply(truth.fixed) - truth.moving, axis=1).mean())

    best = mean(fit_rigid(truth.fixed, truth.moving))
    print(f"right lung: prealign {mean(pair.rigid):.2f} mm, best rigid {best:.2f} mm")  # noqa: T201
    assert mean(pair.rigid) < 1.15 * best
