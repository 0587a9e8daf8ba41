"""corrfield on small images: known motion, every orientation, bad input."""

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial import cKDTree

import lcsd
from lcsd.cli.main import main
from lcsd.corrfield.correspond import _trusted, find_correspondences
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, read_field
from lcsd.io.files import read_json
from lcsd.io.images import Image, write_image, write_mask
from lcsd.io.points import read_point_pairs
from lcsd.settings.correspond import CorrespondSettings
from tests.grids import GRIDS

SMALL = CorrespondSettings(
    search_radius=(4, 3),
    nms_radius=(3, 2),
    quantisation=(2, 1),
    patch_radius=(3, 2),
    transform=("n", "n"),
    alpha=2.5,
    erosion=1,
)
SIZE = (40, 36, 32)


def texture(seed: int = 0) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).normal(size=tuple(n + 20 for n in SIZE[::-1]))
    return 800 * gaussian_filter(noise, 1.5)


def smooth_motion(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacement in voxels (z, y, x) of voxel positions (..., 3): a shift and a stretch."""
    phase = points / 15.0
    return np.stack([2.5 + np.sin(phase[..., 1]), -1.5 + np.cos(phase[..., 2]), 1.0 + np.sin(phase[..., 0])], axis=-1)


def pair(grid: Grid) -> tuple[Image, Image, Image, NDArray[np.float64]]:
    """Return fixed = moving(x + u(x)), moving, mask, and u in voxels (z, y, x)."""
    large = texture()
    index = np.stack(np.indices(grid.shape), axis=-1).astype(float)
    moving = large[10:-10, 10:-10, 10:-10]
    motion = smooth_motion(index)
    fixed = map_coordinates(large, (index + motion + 10).transpose(3, 0, 1, 2), order=3)
    mask = np.zeros(grid.shape, bool)
    mask[5:-5, 5:-5, 5:-5] = True
    return (Image(fixed.astype(np.float32), grid), Image(moving.astype(np.float32), grid), Image(mask, grid), motion)


def sized(grid: Grid, spacing: tuple[float, float, float]) -> Grid:
    return Grid(SIZE, spacing, grid.origin, grid.direction)


@pytest.mark.parametrize("name", ["lps", "ras", "oblique", "permuted"])
def test_known_motion_is_found_in_every_orientation(name: str) -> None:
    grid = sized(GRIDS[name], (1.5, 1.5, 1.5))
    fixed, moving, mask, motion = pair(grid)
    result = find_correspondences(fixed, moving, mask, settings=SMALL)
    voxels = grid.world_to_voxel(result.pairs.fixed)
    truth = grid.voxel_to_world(voxels + smooth_motion(voxels[:, ::-1])[:, ::-1])
    error = np.linalg.norm(truth - result.pairs.moving, axis=1)
    before = np.linalg.norm(truth - result.pairs.fixed, axis=1)
    assert before.mean() > 4
    assert error.mean() < 0.6
    assert len(result.pairs) > 30
    dense = grid.voxel_vectors_to_world(motion[..., ::-1])
    inside = mask.array
    assert np.linalg.norm(result.field.vectors - dense, axis=-1)[inside].mean() < 0.8
    at_pairs = result.pairs.fixed + result.field.at(result.pairs.fixed)
    assert np.linalg.norm(at_pairs - result.pairs.moving, axis=1).mean() < 0.5


def test_refinement_brings_field_and_pairs_closer_and_keeps_them_together() -> None:
    grid = sized(GRIDS["oblique"], (1.5, 1.5, 1.5))
    fixed, moving, mask, motion = pair(grid)
    dense = grid.voxel_vectors_to_world(motion[..., ::-1])
    error = {}
    for refined in (False, True):
        settings = SMALL.model_copy(update={"refine": refined})
        result = find_correspondences(fixed, moving, mask, settings=settings)
        error[refined] = np.linalg.norm(result.field.vectors - dense, axis=-1)[mask.array].mean()
    assert error[True] < 0.6 * error[False]
    at_pairs = result.pairs.fixed + result.field.at(result.pairs.fixed)
    np.testing.assert_allclose(at_pairs, result.pairs.moving, atol=1e-4)


def test_rigid_stage_finds_a_shift() -> None:
    grid = sized(GRIDS["oblique"], (1.5, 1.5, 1.5))
    large = texture()
    moving = large[10:-10, 10:-10, 10:-10].astype(np.float32)
    fixed = large[13:-7, 8:-12, 11:-9].astype(np.float32)
    mask = np.zeros(grid.shape, bool)
    mask[5:-5, 5:-5, 5:-5] = True
    settings = SMALL.model_copy(update={"transform": ("r", "r")})
    result = find_correspondences(Image(fixed, grid), Image(moving, grid), Image(mask, grid), settings=settings)
    expected = grid.voxel_vectors_to_world(np.array([1.0, -2.0, 3.0]))
    error = np.linalg.norm(result.field.vectors[mask] - expected, axis=1)
    assert error.mean() < 0.4
    assert error.max() < 1.0


def test_identical_images_do_not_move_and_runs_are_equal() -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    fixed, _, mask, _ = pair(grid)
    first = find_correspondences(fixed, fixed, mask, settings=SMALL)
    apart = np.linalg.norm(first.pairs.moving - first.pairs.fixed, axis=1)
    assert np.median(apart) < 0.05
    assert apart.max() < 0.5
    second = find_correspondences(fixed, fixed, mask, settings=SMALL)
    np.testing.assert_array_equal(first.field.vectors, second.field.vectors)
    assert first.pairs.weight is not None
    assert ((first.pairs.weight > 0.8) & (first.pairs.weight <= 1)).mean() > 0.9


def test_intensity_scale_and_offset_do_not_matter() -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    fixed, moving, mask, _ = pair(grid)
    changed = Image((1.3 * moving.array + 200).astype(np.float32), grid)
    one = find_correspondences(fixed, moving, mask, settings=SMALL)
    two = find_correspondences(fixed, changed, mask, settings=SMALL)
    assert np.abs(one.field.vectors - two.field.vectors)[mask.array].mean() < 0.02


def test_bad_input_is_named() -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    fixed, moving, mask, _ = pair(grid)

    def expect(code: str, *images: Image, settings: CorrespondSettings = SMALL) -> None:
        with pytest.raises(BadInputError) as caught:
            find_correspondences(*images, settings=settings)  # type: ignore[arg-type]
        assert caught.value.code == code

    other = Image(moving.array, sized(GRIDS["ras"], (1.5, 1.5, 1.5)))
    expect("grid_mismatch", fixed, other, mask)
    expect("grid_mismatch", fixed, moving, Image(mask.array, other.grid))
    expect("empty_mask", fixed, moving, Image(np.zeros_like(mask.array), grid))
    expect("constant_image", Image(np.zeros(grid.shape), grid), moving, mask)
    broken = moving.array.copy()
    broken[3, 3, 3] = np.nan
    expect("non_finite", fixed, Image(broken, grid), mask)
    wide = SMALL.model_copy(update={"search_radius": (40, 3)})
    expect("image_too_small", fixed, moving, mask, settings=wide)
    strict = SMALL.model_copy(update={"keypoint_threshold": 1e12})
    expect("no_keypoints", fixed, moving, mask, settings=strict)


def test_settings_refuse_lists_of_unequal_length() -> None:
    with pytest.raises(ValueError, match="one entry per stage"):
        CorrespondSettings(nms_radius=(6, 3, 2))


def test_command_writes_pairs_field_and_counts(tmp_path: Path) -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    fixed, moving, mask, _ = pair(grid)
    write_image(tmp_path / "f.nii.gz", fixed, dtype=np.int16)
    write_image(tmp_path / "m.nii.gz", moving, dtype=np.int16)
    write_mask(tmp_path / "k.nii.gz", mask)

    def call(out: Path, *options: str) -> Result:
        images = [str(tmp_path / f"{name}.nii.gz") for name in ("f", "m")]
        wanted = ["--out", str(out / "pairs.csv"), "--field", str(out / "field.nii.gz")]
        rest = ["--fixed-mask", str(tmp_path / "k.nii.gz"), "--set", "search_radius=[4, 3]", *options]
        return CliRunner().invoke(main, ["correspond", *images, *wanted, *rest])

    def correspond(out: Path, *options: str) -> DisplacementField:
        result = call(out, *options)
        assert result.exit_code == 0, result.output
        return read_field(out / "field.nii.gz")

    field = correspond(tmp_path / "o")
    pairs = read_point_pairs(tmp_path / "o" / "pairs.csv")
    assert read_json(tmp_path / "o" / "pairs.json")["count"] == len(pairs)
    assert field.grid.same_as(grid)
    coarse = correspond(tmp_path / "coarse", "--field-mm", "3")
    assert coarse.grid.same_as(Grid.covering(grid, 3.0))
    np.testing.assert_allclose(coarse.vectors, field.on(coarse.grid).vectors, atol=1e-4)
    assert (tmp_path / "coarse" / "pairs.csv").read_bytes() == (tmp_path / "o" / "pairs.csv").read_bytes()
    assert "cost" in read_json(tmp_path / "o" / "pairs.provenance.json")["steps_s"]
    refused = call(tmp_path / "huge", "--field-mm", "0.01")
    assert refused.exit_code == 2
    assert "[field_too_large]" in refused.stderr
    assert not (tmp_path / "huge" / "pairs.csv").exists()


def test_is_public() -> None:
    assert lcsd.find_correspondences is find_correspondences


@pytest.mark.parametrize("transform", ["n", "r"])
def test_a_lung_in_a_corner_of_a_large_image_moves_alike(transform: str) -> None:
    """The work is then on a box of the image, and the result must be placed in the whole image."""
    settings = SMALL.model_copy(update={"transform": (transform, transform)})
    grid = sized(GRIDS["oblique"], (1.5, 1.2, 2.0))
    fixed, moving, mask, _ = pair(grid)
    far = (40, 30, 35)  # z, y, x

    def placed(image: Image, mode: str) -> Image:
        array = np.pad(image.array, [(n, 0) for n in far], mode=mode)  # type: ignore[call-overload]
        size = tuple(n + more for n, more in zip(grid.size, far[::-1], strict=True))
        origin = grid.voxel_to_world(-np.array([far[::-1]], dtype=float))[0]
        return Image(array, Grid(size, grid.spacing, tuple(origin), grid.direction))  # type: ignore[arg-type]

    near = find_correspondences(fixed, moving, mask, settings=settings)
    away = find_correspondences(
        placed(fixed, "edge"), placed(moving, "edge"), placed(mask, "constant"), settings=settings
    )
    index = np.argwhere(mask.array)[::50]
    places = grid.voxel_to_world(index[:, ::-1].astype(float))
    apart = np.linalg.norm(near.field.at(places) - away.field.at(places), axis=1)
    length = np.linalg.norm(near.field.at(places), axis=1)
    assert away.field.grid.size != near.field.grid.size
    assert length.mean() > 3
    assert apart.mean() < 0.3
    both = cKDTree(near.pairs.fixed).query(away.pairs.fixed)[0] < 1e-6
    assert both.mean() > 0.9


def test_untrusted_matches_are_dropped_unless_nothing_is_left() -> None:
    grid = Grid((50, 50, 50), (2.0, 2.0, 2.0), (0.0, 0.0, 0.0))
    points = np.random.default_rng(0).uniform(0, 50, size=(60, 3))
    displacement = points @ np.diag([0.1, 0.0, -0.1])
    inconsistency = np.zeros(60)
    inconsistency[3] = 6.1
    displacement[7] += [0.0, 2.0, 0.0]  # 4 mm from what its neighbours say
    kept = _trusted(points, displacement, inconsistency, grid, CorrespondSettings())
    assert np.flatnonzero(~kept).tolist() == [3, 7]
    all_kept = CorrespondSettings(reject_mm=None, outlier_mm=None)
    assert _trusted(points, displacement, inconsistency, grid, all_kept).all()
    assert _trusted(points, displacement, np.full(60, 9.0), grid, CorrespondSettings()).all()


def test_matches_in_one_plane_move_by_their_mean() -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    fixed, moving, mask, _ = pair(grid)
    flat = np.zeros_like(mask.array)
    flat[15:18] = mask.array[15:18]
    settings = SMALL.model_copy(update={"refine": False})
    result = find_correspondences(fixed, moving, Image(flat, grid), settings=settings)
    assert len(set(result.pairs.fixed[:, 2])) == 1
    assert np.isfinite(result.field.vectors).all()


def test_a_patch_beside_its_keypoint_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of quantisation"):
        CorrespondSettings(patch_radius=(2, 2), quantisation=(3, 1))
