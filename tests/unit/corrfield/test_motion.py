"""Warping and interpolation of dense motion against scipy, borders and thin volumes included."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from lcsd.corrfield.correspond import kernels_on
from lcsd.corrfield.motion import GridMotion, upsampled
from lcsd.geometry import Grid


@pytest.mark.parametrize("shape", [(9, 8, 7), (1, 6, 5)])
def test_warp_equals_scipy_inside_and_beyond_the_border(shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    image = rng.normal(size=shape).astype(np.float32)
    vectors = rng.uniform(-6, 6, size=(3, *shape)).astype(np.float32)
    vectors[:, 0, 0] = 0  # whole voxels
    places = np.indices(shape) + vectors
    expected = map_coordinates(image.astype(float), places, order=1, mode="nearest")
    np.testing.assert_allclose(GridMotion(vectors, kernels_on("cpu")).warp(image), expected, atol=1e-5)


def test_no_motion_returns_the_image_itself() -> None:
    image = np.random.default_rng(1).normal(size=(4, 5, 6)).astype(np.float32)
    np.testing.assert_array_equal(
        GridMotion(np.zeros((3, *image.shape), np.float32), kernels_on("cpu")).warp(image), image
    )


@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("low", [(0, 0, 0), (-2, -1, 3)])
def test_upsampled_equals_scipy(step: int, low: tuple[int, int, int]) -> None:
    values = np.random.default_rng(2).normal(size=(4, 3, 1)).astype(np.float32)
    shape = (10, 9, 8)
    index = np.indices(shape).astype(float)
    places = [(axis - first) / step for axis, first in zip(index, low, strict=True)]
    expected = map_coordinates(values.astype(float), places, order=1, mode="nearest")
    np.testing.assert_allclose(upsampled(values, shape, step=step, low=low), expected, atol=1e-5)


@pytest.mark.parametrize("anchor", [(0, 0, 0), (4, 5, 7)])
def test_motions_are_composed(anchor: tuple[int, int, int]) -> None:
    """u(x) = v(x) + first(x + v(x)), for motions that the lattice represents exactly."""
    shape, rng = (12, 14, 16), np.random.default_rng(3)
    index = np.indices(shape).astype(np.float32)
    first = GridMotion(0.05 * index[[1, 2, 0]] + 0.3, kernels_on("cpu"))
    points = rng.uniform(1, 11, size=(40, 3))
    matrix = rng.normal(scale=0.03, size=(3, 3))
    step = points @ matrix + [0.5, -0.7, 0.2]
    grid = Grid(shape[::-1], (1.5, 1.5, 1.5), (0.0, 0.0, 0.0))
    found = first.composed(
        points, step, grid=grid, corner=np.zeros(3, int), rigid=False, smoothing=0.0, step=3, anchor=anchor
    )
    places = np.stack(np.meshgrid(*map(np.arange, (4, 5, 6)), indexing="ij"), -1).reshape(-1, 3) + 3
    moved = places @ matrix + [0.5, -0.7, 0.2]
    there = places + moved
    expected = moved + 0.05 * there[:, [1, 2, 0]] + 0.3
    np.testing.assert_allclose(found.at(places.astype(float)), expected, atol=1e-4)
