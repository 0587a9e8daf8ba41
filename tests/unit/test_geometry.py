"""Frames agree with ITK, with grid_sample and with each other, in every orientation."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform, fit_rigid, flip_lps_ras
from tests.grids import GRIDS

ROUND_TRIP_MM = 1e-9
each_grid = pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())


def some_voxels() -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-2, 12, size=(50, 3))


def itk_image(grid: Grid) -> sitk.Image:
    image = sitk.Image(list(grid.size), sitk.sitkFloat32)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    return image


@each_grid
def test_voxel_to_world_agrees_with_itk(grid: Grid) -> None:
    image = itk_image(grid)
    voxels = some_voxels()
    expected = [image.TransformContinuousIndexToPhysicalPoint(v.tolist()) for v in voxels]
    np.testing.assert_allclose(grid.voxel_to_world(voxels), expected, atol=1e-9)


@each_grid
def test_round_trips(grid: Grid) -> None:
    voxels = some_voxels()
    world = grid.voxel_to_world(voxels)
    np.testing.assert_allclose(grid.world_to_voxel(world), voxels, atol=ROUND_TRIP_MM)
    normalised = grid.world_to_normalised(world)
    np.testing.assert_allclose(grid.normalised_to_world(normalised), world, atol=ROUND_TRIP_MM)
    vectors = grid.voxel_vectors_to_world(voxels)
    np.testing.assert_allclose(grid.world_vectors_to_voxel(vectors), voxels, atol=ROUND_TRIP_MM)
    np.testing.assert_allclose(
        grid.voxel_to_world(voxels + 1) - grid.voxel_to_world(voxels),
        grid.voxel_vectors_to_world(np.ones_like(voxels)),
        atol=ROUND_TRIP_MM,
    )


@each_grid
def test_normalised_is_what_grid_sample_wants(grid: Grid) -> None:
    """An image of world coordinates returns these coordinates at a sampled point."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.size], indexing="ij"), axis=-1)
    world = grid.voxel_to_world(index.astype(float)).transpose(3, 2, 1, 0)
    inside = np.random.default_rng(1).uniform(0.2, 4.5, size=(20, 3))
    points = grid.voxel_to_world(inside)
    places = torch.from_numpy(grid.world_to_normalised(points))[None, None, None]
    sampled = torch.nn.functional.grid_sample(torch.from_numpy(world)[None], places, align_corners=False)
    np.testing.assert_allclose(sampled[0, :, 0, 0].T.numpy(), points, atol=1e-6)


@each_grid
def test_torch_and_numpy_agree_and_keep_their_kind(grid: Grid) -> None:
    voxels = some_voxels().astype(np.float32)
    result = grid.voxel_to_world(torch.from_numpy(voxels))
    assert isinstance(result, torch.Tensor)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), grid.voxel_to_world(voxels), atol=1e-3)


@each_grid
def test_ras_affine_round_trip(grid: Grid) -> None:
    affine = grid.affine_ras()
    assert Grid.from_affine_ras(affine, grid.size).same_as(grid)
    voxel = np.array([3.0, 2.0, 1.0])
    ras = affine[:3, :3] @ voxel + affine[:3, 3]
    np.testing.assert_allclose(flip_lps_ras(ras), grid.voxel_to_world(voxel), atol=1e-9)


def test_contains_counts_whole_voxels() -> None:
    grid = GRIDS["anisotropic"]
    edges = grid.voxel_to_world(np.array([[-0.49, 0, 0], [-0.51, 0, 0], [10.49, 7.4, 5.4], [0, 7.6, 0]]))
    assert grid.contains(edges).tolist() == [True, False, True, False]


def test_same_as_sees_a_small_shift_and_a_flip() -> None:
    grid = GRIDS["lps"]
    assert grid.same_as(Grid(grid.size, grid.spacing, (-30.0005, 12.5, -700.0)))
    assert not grid.same_as(Grid(grid.size, grid.spacing, (-30.01, 12.5, -700.0)))
    assert not grid.same_as(GRIDS["ras"])


def test_centred_grid_has_its_middle_there() -> None:
    grid = Grid.centred(np.array([1.0, 2.0, 3.0]), size=(224, 192, 224), spacing_mm=1.5)
    np.testing.assert_allclose(grid.centre, [1, 2, 3])
    assert grid.shape == (224, 192, 224)


def faces(grid: Grid) -> NDArray[np.float64]:
    """The outermost corners of the first and last voxels, LPS mm, (8, 3)."""
    ends = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    return grid.voxel_to_world(ends * np.asarray(grid.size) - 0.5)


@each_grid
@pytest.mark.parametrize("spacing_mm", [0.3, 1.5, 3.0, 4.0, 50.0])
def test_covering_grid_reaches_the_faces_and_no_further_than_it_must(grid: Grid, spacing_mm: float) -> None:
    found = Grid.covering(grid, spacing_mm)
    assert found.spacing == (spacing_mm,) * 3
    assert found.direction == grid.direction
    np.testing.assert_allclose(found.centre, grid.centre, atol=1e-9)
    assert found.contains(faces(grid) + 1e-6 * (grid.centre - faces(grid))).all()
    larger = np.asarray(found.size) * spacing_mm - np.asarray(grid.size) * np.asarray(grid.spacing)
    assert (larger < spacing_mm).all()
    assert Grid.covering(found, spacing_mm).same_as(found)
    voxels = some_voxels()
    np.testing.assert_allclose(found.world_to_voxel(found.voxel_to_world(voxels)), voxels, atol=ROUND_TRIP_MM)
    assert Grid.from_affine_ras(found.affine_ras(), found.size).same_as(found)


@each_grid
def test_covering_grid_has_the_same_faces_where_its_spacing_divides_the_extent(grid: Grid) -> None:
    even = Grid((12, 8, 6), (1.5, 1.5, 1.5), grid.origin, grid.direction)
    found = Grid.covering(even, 3.0)
    assert found.size == (6, 4, 3)
    np.testing.assert_allclose(faces(found), faces(even), atol=1e-9)
    assert Grid.covering(even, 1.5).same_as(even)


def test_rounded_spacing_of_a_header_makes_no_further_voxel() -> None:
    rounded = float(np.float32(0.7))
    assert Grid.covering(Grid((300, 300, 300), (rounded,) * 3, (0.0, 0.0, 0.0)), 2.1).size == (100, 100, 100)


@pytest.mark.parametrize("spacing_mm", [0.0, -1.0, float("nan"), float("inf")])
def test_covering_refuses_what_is_no_spacing(spacing_mm: float) -> None:
    with pytest.raises(BadInputError) as caught:
        Grid.covering(GRIDS["lps"], spacing_mm)
    assert caught.value.code == "bad_spacing"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"spacing": (1.0, 0.0, 1.0)}, "bad_spacing"),
        ({"spacing": (1.0, float("nan"), 1.0)}, "bad_spacing"),
        ({"size": (0, 3, 3)}, "bad_size"),
        ({"direction": (1.0, 0.1, 0, 0, 1, 0, 0, 0, 1)}, "sheared_affine"),
        ({"origin": (float("inf"), 0, 0)}, "sheared_affine"),
    ],
)
def test_broken_grids_are_refused(change: dict[str, tuple[float, ...]], code: str) -> None:
    good = {"size": (3, 3, 3), "spacing": (1.0, 1.0, 1.0), "origin": (0.0, 0.0, 0.0)}
    with pytest.raises(BadInputError) as caught:
        Grid(**{**good, **change})  # type: ignore[arg-type]
    assert caught.value.code == code


def test_rigid_inverse_compose_and_fit() -> None:
    rng = np.random.default_rng(2)
    points = rng.normal(size=(30, 3)) * 50
    rotation = GRIDS["oblique"].matrix
    first = RigidTransform(rotation, np.array([5.0, -7.0, 30.0]))
    second = RigidTransform(rotation.T @ rotation.T, np.array([1.0, 2.0, 3.0]))
    np.testing.assert_allclose(first.inverse().apply(first.apply(points)), points, atol=1e-9)
    np.testing.assert_allclose(second.compose(first).apply(points), second.apply(first.apply(points)), atol=1e-9)
    fitted = fit_rigid(points, first.apply(points))
    np.testing.assert_allclose(fitted.rotation, rotation, atol=1e-9)
    np.testing.assert_allclose(fitted.translation, first.translation, atol=1e-8)


def test_weights_of_fit_rigid_count_points_several_times() -> None:
    rng = np.random.default_rng(4)
    source, target = rng.normal(size=(2, 9, 3))
    times = np.arange(1, 10)
    weighted = fit_rigid(source, target, weights=times / 3.0)
    repeated = fit_rigid(np.repeat(source, times, axis=0), np.repeat(target, times, axis=0))
    assert weighted.rotation == pytest.approx(repeated.rotation, abs=1e-12)
    assert weighted.translation == pytest.approx(repeated.translation, abs=1e-12)


def test_fit_rigid_never_mirrors() -> None:
    points = np.random.default_rng(3).normal(size=(20, 3))
    mirrored = points * [1, 1, -1]
    assert np.linalg.det(fit_rigid(points, mirrored).rotation) == pytest.approx(1.0)
