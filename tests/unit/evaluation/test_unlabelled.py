"""Quality without landmarks: against sums over all voxels, on grids of any orientation, and at the edges."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.evaluation.unlabelled import (
    BINS,
    WINDOW_HU,
    Overlap,
    inverse_consistency,
    measured,
    mind_residual,
    mutual_information,
    overlap,
    similarity,
    structure_overlaps,
)
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image, write_image, write_mask
from lcsd.transforms.chain import part_of
from tests.grids import GRIDS

SMALL = Grid((9, 8, 7), (1.0, 1.5, 2.5), (3.0, -4.0, 5.0))
RNG = np.random.default_rng(5)


def naive_overlap(first: np.ndarray, second: np.ndarray, grid: Grid) -> tuple[float, float, float]:
    """Dice, HD95 and ASSD, voxel by voxel."""

    def border(mask: np.ndarray) -> list[np.ndarray]:
        found = []
        for z, y, x in np.argwhere(mask):
            for step in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)):
                at = np.array([z, y, x]) + step
                if (at < 0).any() or (at >= mask.shape).any() or not mask[tuple(at)]:
                    found.append(grid.voxel_to_world(np.array([x, y, z], float)))
                    break
        return found

    edges = border(first), border(second)
    apart = [[min(np.linalg.norm(a - b) for b in edges[1 - at]) for a in edges[at]] for at in (0, 1)]
    dice = 2 * (first & second).sum() / (first.sum() + second.sum())
    return dice, max(np.percentile(part, 95) for part in apart), float(np.mean([*apart[0], *apart[1]]))


def shift(grid: Grid, vector: tuple[float, float, float]) -> DisplacementField:
    return DisplacementField(np.broadcast_to(np.float32(vector), (*grid.shape, 3)).copy(), grid)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [SMALL, *GRIDS.values()], ids=["small", *GRIDS])
def test_overlap_is_what_the_definitions_say(grid: Grid) -> None:
    grid = Grid((9, 8, 7), grid.spacing, grid.origin, grid.direction)
    masks = [RNG.random(grid.shape) < share for share in (0.4, 0.6)]
    masks[0][0] = masks[1][:, -1] = True  # at the border of the volume
    found = overlap(*masks, grid)
    assert (found.dice, found.hd95_mm, found.assd_mm) == pytest.approx(naive_overlap(*masks, grid))


def test_equal_masks_agree_and_a_lost_one_has_no_distance() -> None:
    mask = np.zeros(SMALL.shape, bool)
    mask[2:5, 3:6, 2:7] = True
    assert overlap(mask, mask, SMALL) == Overlap(1.0, 0.0, 0.0)
    assert overlap(mask, np.zeros_like(mask), SMALL) == Overlap(0.0, None, None)
    with pytest.raises(BadInputError) as caught:
        overlap(np.zeros_like(mask), mask, SMALL)
    assert caught.value.code == "empty_mask"


@pytest.mark.parametrize("name", GRIDS)
def test_a_motion_that_fits_brings_each_label_back(name: str) -> None:
    grid = GRIDS[name]
    grid = Grid((20, 18, 16), grid.spacing, grid.origin, grid.direction)
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:9, 5:10, 4:9], labels[4:9, 5:10, 12:16] = 1, 2
    step = grid.voxel_vectors_to_world(np.array([2.0, -1.0, 3.0]))  # whole voxels along x, y, z
    moving = Image(np.roll(labels, (3, -1, 2), axis=(0, 1, 2)), grid)
    chain = [part_of(shift(grid, tuple(step)))]
    fixed = Image(labels, grid)
    assert structure_overlaps(fixed, moving, chain) == {1: Overlap(1, 0, 0), 2: Overlap(1, 0, 0)}
    assert all(part.dice < 0.5 for part in structure_overlaps(fixed, moving, []).values())
    found = measured({"lobes": (fixed, moving)}, chain)
    assert found == {"lobes_dice": 1.0, "lobes_hd95_mm": 0.0, "lobes_assd_mm": 0.0}


def test_labels_of_one_scan_only_are_left_out() -> None:
    fixed = np.zeros(SMALL.shape, np.uint8)
    fixed[1:3, 1:3, 1:3], fixed[4:6, 4:6, 4:6] = 1, 2
    moving = np.where(fixed == 1, 1, 0).astype(np.uint8)
    assert list(structure_overlaps(Image(fixed, SMALL), Image(moving, SMALL), [])) == [1]
    assert measured({"lobes": (Image(fixed, SMALL), Image(moving * 7, SMALL))}, []) == {}


def naive_information(first: np.ndarray, second: np.ndarray) -> float:
    low, high = WINDOW_HU
    counts = np.zeros((BINS, BINS))
    for a, b in zip(first, second, strict=True):
        at = [min(int((min(max(v, low), high) - low) / (high - low) * BINS), BINS - 1) for v in (a, b)]
        counts[at[0], at[1]] += 1
    p = counts / counts.sum()
    sides = [-sum(q * np.log(q) for q in p.sum(axis=axis) if q) for axis in (0, 1)]
    return sum(sides) / -sum(p[i, j] * np.log(p[i, j]) for i, j in itertools.product(range(BINS), repeat=2) if p[i, j])


def test_mutual_information_is_what_the_definition_says() -> None:
    first = RNG.uniform(-1100, 300, 2000)
    second = 0.5 * first - 400 + RNG.normal(0, 20, 2000)
    assert mutual_information(first, second) == pytest.approx(naive_information(first, second), abs=1e-9)
    assert mutual_information(first, first) == pytest.approx(2.0)
    assert mutual_information(first, np.zeros(2000)) == pytest.approx(1.0)
    assert mutual_information(np.zeros(9), np.zeros(9)) == 1.0


@pytest.mark.slow
def test_images_are_compared_after_the_motion_inside_the_lungs() -> None:
    grid = Grid((40, 36, 32), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    fixed = RNG.normal(-700, 150, grid.shape).astype(np.float32)
    lungs = np.zeros(grid.shape, bool)
    lungs[8:24, 8:28, 8:30] = True
    moving = np.roll(fixed, (2, 1, -1), axis=(0, 1, 2))
    moving[:4] = RNG.normal(size=moving[:4].shape)  # far from the lungs
    images = Image(fixed, grid), Image(moving, grid)
    good = similarity(images, Image(lungs, grid), [part_of(shift(grid, (-3.0, 3.0, 6.0)))])
    assert good["mind_residual"] < 0.01
    assert good["nmi"] == pytest.approx(2.0, abs=1e-6)
    bad = similarity(images, Image(lungs, grid), [])
    assert bad["mind_residual"] > 0.1
    assert bad["nmi"] < 1.2
    with pytest.raises(BadInputError, match="lungs"):
        similarity(images, Image(np.zeros_like(lungs), grid), [])


def test_mind_residual_ignores_the_intensity_scale() -> None:
    image = RNG.normal(size=(12, 12, 12)).astype(np.float32)
    inside = np.ones(image.shape, bool)
    assert mind_residual(image, image, inside) == 0
    assert mind_residual(image, 3 * image + 7, inside) < 0.01
    assert mind_residual(image, image[::-1].copy(), inside) > 0.1


def test_inverse_consistency_is_the_distance_from_the_start() -> None:
    grid = Grid((20, 20, 20), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    lungs = np.zeros(grid.shape, bool)
    lungs[6:14, 6:14, 6:14] = True
    there = [part_of(shift(grid, (3.0, 0.0, 0.0)))]
    assert inverse_consistency(there, [part_of(shift(grid, (-3.0, 0.0, 0.0)))], Image(lungs, grid)) == pytest.approx(0)
    assert inverse_consistency(there, [part_of(shift(grid, (0.0, 4.0, 0.0)))], Image(lungs, grid)) == pytest.approx(5)


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    grid = Grid((24, 22, 20), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    lungs = np.zeros(grid.shape, bool)
    lungs[5:15, 5:17, 5:18] = True
    values = RNG.normal(-700, 100, grid.shape).round()
    for name, step in (("fixed", 0), ("moving", 1)):
        write_mask(tmp_path / f"{name}_mask.nii.gz", Image(np.roll(lungs, step, axis=2), grid))
        write_image(tmp_path / f"{name}.nii.gz", Image(np.roll(values, step, axis=2), grid), dtype=np.int16)
    write_field(tmp_path / "field.nii.gz", shift(grid, (3.0, 0.0, 0.0)))
    write_field(tmp_path / "back.nii.gz", shift(grid, (-3.0, 0.0, 0.0)))
    return tmp_path


def quality(folder: Path, *rest: str) -> "tuple[int, str]":
    masks = [str(folder / f"{name}_mask.nii.gz") for name in ("fixed", "moving")]
    done = CliRunner().invoke(main, ["quality", "--lungs", *masks, *rest])
    return done.exit_code, done.output


def test_command_gives_figures_before_and_after(scans: Path) -> None:
    images = ["--images", str(scans / "fixed.nii.gz"), str(scans / "moving.nii.gz")]
    both = ["--transform", str(scans / "field.nii.gz"), "--inverse", str(scans / "back.nii.gz")]
    code, text = quality(scans, *images, *both, "--out", str(scans / "q.json"), "--json")
    found = json.loads(text)
    assert code == 0
    assert found == json.loads((scans / "q.json").read_text())
    assert found["after"]["lungs_dice"] == 1.0 > found["before"]["lungs_dice"]
    assert found["after"]["mind_residual"] < found["before"]["mind_residual"]
    assert found["inverse_consistency_mm"] == pytest.approx(0, abs=1e-5)
    assert found["folding_percent"] == 0
    assert "lungs_hd95_mm" in quality(scans, *both)[1]


def test_a_transform_of_the_other_direction_gives_a_warning_and_one_of_another_space_is_refused(scans: Path) -> None:
    code, text = quality(scans, "--transform", str(scans / "back.nii.gz"))
    assert code == 0
    assert "warning: the lungs overlap less after" in text
    grid = Grid((24, 22, 20), (3.0, 3.0, 3.0), (0.0, 0.0, 0.0))
    write_field(scans / "far.nii.gz", shift(grid, (400.0, 0.0, 0.0)))
    code, text = quality(scans, "--transform", str(scans / "far.nii.gz"))
    assert code == 2
    assert "[no_overlap]" in text
    assert "warning" not in quality(scans, "--transform", str(scans / "field.nii.gz"))[1]


def test_command_without_a_transform_compares_the_scans_as_they_are(scans: Path) -> None:
    code, text = quality(scans, "--json")
    assert (code, list(json.loads(text))) == (0, ["before"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--inverse", "back.nii.gz"], "--inverse needs the other direction"),
        (["--lobes", "fixed.nii.gz", "missing.nii.gz"], "missing.nii.gz"),
        (["--transform", "fixed_mask.nii.gz"], "not a displacement field"),
    ],
)
def test_command_refuses_what_does_not_fit(scans: Path, options: list[str], words: str) -> None:
    code, text = quality(scans, *(str(scans / o) if o.endswith(".nii.gz") else o for o in options))
    assert code == 2
    assert words in text
    assert len(text.strip().splitlines()) == 1
