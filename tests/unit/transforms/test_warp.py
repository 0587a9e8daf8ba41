"""Warping by ITK's own functions as the oracle, on grids of every orientation; inversions, chains, wrong calls."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result
from scipy.ndimage import gaussian_filter

from lcsd.cli.main import main
from lcsd.geometry import Grid, RigidTransform, flip_lps_ras
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.images import Image, read_image, to_sitk_transform, write_image, write_rigid
from lcsd.io.points import Cloud, PointPairs, read_cloud, read_point_pairs, write_cloud, write_point_pairs
from lcsd.landmarks.lists import PointList
from lcsd.landmarks.slicer import read_fcsv, read_markups, write_fcsv, write_markups
from lcsd.transforms.chain import Part, as_itk, part_of, there_and_back
from lcsd.transforms.warp import is_label_map
from tests.grids import GRIDS

ORIENTED = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def smooth_field(grid: Grid, *, size_mm: float = 1.5, seed: int = 0) -> DisplacementField:
    """Return a random smooth field without folds."""
    noise = np.random.default_rng(seed).normal(size=(*grid.shape, 3))
    soft = gaussian_filter(noise, (2, 2, 2, 0))
    return DisplacementField((size_mm * soft / np.abs(soft).max()).astype(np.float32), grid)


def inner_points(grid: Grid, count: int = 40) -> np.ndarray:
    low, high = 1.5, np.asarray(grid.size) - 2.5
    return grid.voxel_to_world(np.random.default_rng(1).uniform(low, high, size=(count, 3)))


def turned(grid: Grid) -> RigidTransform:
    """Return a small rotation about the middle of a grid, and a shift."""
    angle, middle = np.deg2rad(4.0), grid.corners().mean(axis=0)
    cos, sin = np.cos(angle), np.sin(angle)
    rotation = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return RigidTransform(rotation, middle - rotation @ middle + np.array([300.0, -20.0, 7.0]))


def itk(path: Path) -> Any:
    """Return a transform as SimpleITK reads it."""
    if path.name.endswith(".nii.gz"):
        return sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    return sitk.ReadTransform(str(path))


def warp(*arguments: object, transforms: Sequence[Path], code: int = 0) -> Result:
    options = [text for path in transforms for text in ("--transform", str(path))]
    result = CliRunner().invoke(main, ["warp", *map(str, arguments), *options, "--threads", "1", "--json"])
    assert result.exit_code == code, result.output + result.stderr
    return result


@pytest.fixture
def chain(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Grid, list[Path]]:
    """A grid, and a field over it followed by a rigid transform."""
    grid: Grid = getattr(request, "param", GRIDS["oblique"])
    paths = [tmp_path / "field.nii.gz", tmp_path / "rigid.tfm"]
    write_field(paths[0], smooth_field(grid))
    write_rigid(paths[1], turned(grid))
    return grid, paths


EVERY_GRID = pytest.mark.parametrize("chain", GRIDS.values(), ids=GRIDS.keys(), indirect=True)


@pytest.mark.slow
@EVERY_GRID
def test_points_equal_itk_and_come_back(chain: tuple[Grid, list[Path]], tmp_path: Path) -> None:
    grid, paths = chain
    points = inner_points(grid)
    write_cloud(tmp_path / "fixed.npz", Cloud(points.astype(np.float32), radius=np.ones(40, np.float32)))
    warp(tmp_path / "fixed.npz", tmp_path / "moving.npz", transforms=paths)
    moved = read_cloud(tmp_path / "moving.npz")
    stored = read_cloud(tmp_path / "fixed.npz").points.astype(np.float64)
    expected = [itk(paths[1]).TransformPoint(itk(paths[0]).TransformPoint(point)) for point in stored.tolist()]
    np.testing.assert_allclose(moved.points, expected, atol=1e-3)
    assert moved.radius is not None
    back = warp(tmp_path / "moving.npz", tmp_path / "back.npz", "--from", "moving", transforms=paths)
    np.testing.assert_allclose(read_cloud(tmp_path / "back.npz").points, stored, atol=1e-3)
    assert json.loads(back.stdout)["residual_max_mm"] < 1e-3


@pytest.mark.slow
@EVERY_GRID
@pytest.mark.parametrize("kind", ["scan", "mask", "labels"])
def test_images_equal_itk(chain: tuple[Grid, list[Path]], kind: str, tmp_path: Path) -> None:
    grid, paths = chain
    rng = np.random.default_rng(2)
    voxels = {
        "scan": gaussian_filter(rng.normal(0, 4000, grid.shape), 1.0).astype(np.int16),
        "mask": (gaussian_filter(rng.normal(size=grid.shape), 1.5) > 0).astype(np.uint8),
        "labels": rng.integers(0, 6, grid.shape).astype(np.uint8),
    }[kind]
    moving_grid = Grid(grid.size, grid.spacing, tuple(turned(grid).apply(np.array([grid.origin]))[0]), grid.direction)
    write_image(tmp_path / "moving.nii.gz", Image(voxels, moving_grid), dtype=voxels.dtype.type)
    shown = json.loads(warp(tmp_path / "moving.nii.gz", tmp_path / "warped.nii.gz", transforms=paths).stdout)
    assert shown["interpolation"] == ("linear" if kind == "scan" else "nearest")
    assert shown["covered_percent"] > 50
    reference = sitk.Image(list(grid.size), sitk.sitkUInt8)
    reference.SetSpacing(grid.spacing)
    reference.SetOrigin(grid.origin)
    reference.SetDirection(grid.direction)
    way = sitk.CompositeTransform([itk(paths[1]), itk(paths[0])])
    interpolator = sitk.sitkLinear if kind == "scan" else sitk.sitkNearestNeighbor
    moving = sitk.ReadImage(str(tmp_path / "moving.nii.gz"))
    expected = sitk.GetArrayFromImage(sitk.Resample(moving, reference, way, interpolator, shown["outside"]))
    found = read_image(tmp_path / "warped.nii.gz")
    assert found.array.dtype == voxels.dtype
    assert found.grid.same_as(grid)
    if kind == "scan":
        assert (found.array != expected).mean() < 0.01  # rounding of single voxels
        assert np.abs(found.array.astype(int) - expected).max() <= 1
    else:
        np.testing.assert_array_equal(found.array, expected)


@EVERY_GRID
def test_an_image_warped_there_and_back_is_the_image(chain: tuple[Grid, list[Path]], tmp_path: Path) -> None:
    grid, paths = chain
    ramp = grid.voxel_to_world(np.stack(np.meshgrid(*map(np.arange, grid.size), indexing="ij"), axis=-1))[..., 0].T
    write_image(tmp_path / "fixed.nii.gz", Image(ramp.astype(np.float32), grid), dtype=np.float32)
    moving_grid = Grid(grid.size, grid.spacing, tuple(turned(grid).apply(np.array([grid.origin]))[0]), grid.direction)
    write_image(tmp_path / "moving.nii.gz", Image(np.zeros(grid.shape, np.int16), moving_grid), dtype=np.int16)
    reference = ["--reference", tmp_path / "moving.nii.gz"]
    warped = warp(tmp_path / "fixed.nii.gz", tmp_path / "there.nii.gz", "--inverse", *reference, transforms=paths)
    assert json.loads(warped.stdout)["residual_max_mm"] < 1e-3
    warp(tmp_path / "there.nii.gz", tmp_path / "back.nii.gz", transforms=paths)
    back = read_image(tmp_path / "back.nii.gz").array[2:-2, 2:-2, 2:-2]
    apart = np.abs(back - ramp[2:-2, 2:-2, 2:-2])
    # The warped ramp is not linear, so its interpolation is not exact; the wrong direction is off by twice the motion.
    motion = np.abs(smooth_field(grid).vectors[2:-2, 2:-2, 2:-2, 0])
    assert apart.mean() < 0.1 * motion.mean()


@pytest.mark.parametrize("kind", ["bspline", "composite", "field.h5"])
def test_other_programs_transforms_equal_itk(kind: str, tmp_path: Path) -> None:
    grid = GRIDS["anisotropic"]
    spline = sitk.BSplineTransformInitializer(
        sitk.ReadImage(_written(tmp_path / "grid.nii.gz", grid)), [3, 3, 3], order=3
    )
    spline.SetParameters(np.random.default_rng(3).normal(0, 0.5, len(spline.GetParameters())).tolist())
    affine = sitk.AffineTransform(3)
    affine.SetMatrix([1.02, 0.01, 0, 0, 0.98, 0.02, 0, 0, 1.01])
    affine.SetCenter(grid.corners().mean(axis=0).tolist())
    write_field(tmp_path / "f.nii.gz", smooth_field(grid))
    transform = {
        "bspline": spline,
        "composite": sitk.CompositeTransform([affine, spline]),
        "field.h5": itk(tmp_path / "f.nii.gz"),
    }[kind]
    path = tmp_path / ("t.h5" if kind == "field.h5" else "t.tfm")
    sitk.WriteTransform(transform, str(path))
    points = inner_points(grid).astype(np.float32)
    np.save(tmp_path / "points.npy", points)
    warp(tmp_path / "points.npy", tmp_path / "moved.npy", transforms=[path])
    moved = np.load(tmp_path / "moved.npy")
    expected = [transform.TransformPoint(point) for point in points.astype(np.float64).tolist()]
    np.testing.assert_allclose(moved, expected, atol=1e-3)
    warp(tmp_path / "moved.npy", tmp_path / "back.npy", "--inverse", transforms=[path])
    np.testing.assert_allclose(np.load(tmp_path / "back.npy"), points, atol=2e-3)


def _written(path: Path, grid: Grid) -> str:
    write_image(path, Image(np.zeros(grid.shape, np.int16), grid), dtype=np.int16)
    return str(path)


def test_every_kind_of_landmark_file(chain: tuple[Grid, list[Path]], tmp_path: Path) -> None:
    grid, paths = chain
    points = inner_points(grid, 5)
    expected = np.array([itk(paths[1]).TransformPoint(itk(paths[0]).TransformPoint(p)) for p in points.tolist()])
    labels = tuple("abcde")
    write_point_pairs(tmp_path / "pairs.csv", PointPairs(points, points + 1, ids=labels))
    write_markups(tmp_path / "list.mrk.json", [PointList(points, labels, name="fixed")])
    write_fcsv(tmp_path / "list.fcsv", PointList(points, labels))
    for name in ("pairs.csv", "list.mrk.json", "list.fcsv"):
        assert json.loads(warp(tmp_path / name, tmp_path / f"out_{name}", transforms=paths).stdout)["points"] == 5
    pairs = read_point_pairs(tmp_path / "out_pairs.csv")
    np.testing.assert_allclose(pairs.fixed, points, atol=1e-3)
    np.testing.assert_allclose(pairs.moving, expected, atol=1e-3)
    (markups,) = read_markups(tmp_path / "out_list.mrk.json")
    fcsv = read_fcsv(tmp_path / "out_list.fcsv")
    for part in (markups, fcsv):
        assert part.labels == labels
        np.testing.assert_allclose(part.points, expected, atol=1e-3)


def test_a_cloud_in_ras_stays_in_ras(chain: tuple[Grid, list[Path]], tmp_path: Path) -> None:
    grid, paths = chain
    points = inner_points(grid, 7)
    np.savetxt(tmp_path / "ras.txt", flip_lps_ras(points))
    warp(tmp_path / "ras.txt", tmp_path / "out.txt", "--frame", "ras", transforms=paths)
    moved = flip_lps_ras(np.loadtxt(tmp_path / "out.txt"))
    expected = [itk(paths[1]).TransformPoint(itk(paths[0]).TransformPoint(p)) for p in points.tolist()]
    np.testing.assert_allclose(moved, expected, atol=1e-2)  # six digits of text


def test_points_beyond_the_field_are_said(chain: tuple[Grid, list[Path]], tmp_path: Path) -> None:
    grid, paths = chain
    points = inner_points(grid, 10)
    points[3] += 500
    np.save(tmp_path / "points.npy", points)
    result = warp(tmp_path / "points.npy", tmp_path / "out.npy", transforms=paths)
    assert json.loads(result.stdout)["outside"] == 1
    assert "1 of 10 points" in result.stderr


def test_a_folding_field_is_said_to_have_no_inverse(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    wave = DisplacementField(np.zeros((*grid.shape, 3), np.float32), grid)
    wave.vectors[..., 0] = 3 * np.sin(np.arange(grid.size[0]))  # slopes of up to 2
    write_field(tmp_path / "field.nii.gz", wave)
    np.save(tmp_path / "points.npy", inner_points(grid))
    result = warp(tmp_path / "points.npy", tmp_path / "out.npy", "--inverse", transforms=[tmp_path / "field.nii.gz"])
    assert "no exact inverse" in result.stderr
    assert "voxels fold" in result.stderr


def test_an_image_without_an_exact_inverse_or_mostly_outside_is_said(tmp_path: Path) -> None:
    grid = GRIDS["lps"]
    wave = DisplacementField(np.zeros((*grid.shape, 3), np.float32), grid)
    wave.vectors[..., 0] = 3 * np.sin(np.arange(grid.size[0]))  # slopes of up to 2
    write_field(tmp_path / "wave.nii.gz", wave)
    shift = sitk.TranslationTransform(3, (0.75 * grid.size[0] * grid.spacing[0], 0.0, 0.0))
    sitk.WriteTransform(shift, str(tmp_path / "shift.tfm"))
    reference = ["--reference", _written(tmp_path / "image.nii.gz", grid)]
    folded = warp(
        tmp_path / "image.nii.gz", tmp_path / "a.nii.gz", "--inverse", *reference, transforms=[tmp_path / "wave.nii.gz"]
    )
    assert "no exact inverse" in folded.stderr
    moved = warp(tmp_path / "image.nii.gz", tmp_path / "b.nii.gz", *reference, transforms=[tmp_path / "shift.tfm"])
    assert json.loads(moved.stdout)["covered_percent"] < 50
    assert "come from" in moved.stderr


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0, 1], True), ([0, 1001, 2035], True), ([0.0, 3.0], True), ([0.0, 0.5], False), ([-1000, 40], False)],
)
def test_few_whole_numbers_from_0_are_labels(values: list[float], labels: bool) -> None:
    assert is_label_map(np.array(values).reshape(1, 1, -1)) == labels
    assert not is_label_map(np.arange(4096, dtype=np.int16))


def test_a_transform_that_flattens_space_has_no_inverse(tmp_path: Path) -> None:
    flat = sitk.AffineTransform(3)
    flat.SetMatrix([1, 0, 0, 0, 1, 0, 0, 0, 0])
    sitk.WriteTransform(flat, str(tmp_path / "flat.tfm"))
    np.save(tmp_path / "points.npy", inner_points(GRIDS["lps"]))
    result = warp(
        tmp_path / "points.npy", tmp_path / "out.npy", "--inverse", transforms=[tmp_path / "flat.tfm"], code=2
    )
    assert "[not_invertible]" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "order", "reason"),
    [
        ((), (1, 0), "outside_transform"),  # the rigid transform leaves the field's grid
        (("--from", "moving"), (0,), "outside_transform"),  # far from the field
        (("--from", "fixed", "--to", "fixed"), (0, 1), "bad_usage"),
        (("--from", "fixed", "--inverse"), (0, 1), "bad_usage"),
        (("--frame", "ras"), (0, 1), "outside_transform"),
    ],
)
def test_wrong_order_direction_and_frame_are_refused(
    arguments: tuple[str, ...], order: tuple[int, ...], reason: str, chain: tuple[Grid, list[Path]], tmp_path: Path
) -> None:
    grid, paths = chain
    points = inner_points(grid) + (500 if arguments == ("--from", "moving") else 0)
    np.savetxt(tmp_path / "points.txt", points)
    chosen = [paths[number] for number in order]
    result = warp(tmp_path / "points.txt", tmp_path / "out.txt", *arguments, transforms=chosen, code=2)
    assert f"[{reason}]" in result.stderr
    assert not (tmp_path / "out.txt").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--transform", "rigid.tfm"), "missing_reference"),
        (("--transform", "field.nii.gz", "--inverse"), "missing_reference"),
        (("--transform", "field.nii.gz"), "no_overlap"),  # the moving scan is 300 mm away
        (
            ("--transform", "field.nii.gz", "--transform", "rigid.tfm", "--interpolation", "nearest"),
            "fractional_labels",
        ),
        (("--transform", "nothing.tfm"), "missing_file"),
    ],
)
def test_wrong_calls_with_an_image_are_refused(
    arguments: tuple[str, ...], reason: str, chain: tuple[Grid, list[Path]], tmp_path: Path
) -> None:
    grid, _ = chain
    moving_grid = Grid(grid.size, grid.spacing, tuple(turned(grid).apply(np.array([grid.origin]))[0]), grid.direction)
    voxels = np.random.default_rng(0).normal(size=grid.shape).astype(np.float32)
    write_image(tmp_path / "moving.nii.gz", Image(voxels, moving_grid), dtype=np.float32)
    placed = [str(tmp_path / text) if "." in text else text for text in arguments]
    made = ["warp", str(tmp_path / "moving.nii.gz"), str(tmp_path / "out.nii.gz"), *placed]
    result = CliRunner().invoke(main, made)
    assert result.exit_code == 2
    assert f"[{reason}]" in result.stderr
    assert not (tmp_path / "out.nii.gz").exists()


@ORIENTED
def test_many_points_come_back_without_a_call_for_each(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image has millions; the inverse of a rigid step is made once, and it and points equal ITK's."""
    chain = [part_of(smooth_field(grid), Path()), Part(Path(), to_sitk_transform(turned(grid)), None)]
    calls = []
    monkeypatch.setattr(Part, "_inverse", lambda part: calls.append(part) or part.transform.GetInverse())
    points = inner_points(grid, 500)
    moved = np.array([as_itk(chain).TransformPoint(point) for point in points.tolist()])
    found, back, known = there_and_back(chain, moved)
    assert len(calls) == 1
    assert known.all()
    np.testing.assert_allclose(found, points, atol=1e-3)
    np.testing.assert_allclose(back, moved, atol=1e-3)
