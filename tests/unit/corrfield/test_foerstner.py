"""Foerstner keypoints against the definition, voxel by voxel."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lcsd.corrfield.foerstner import TRUNCATE_SIGMAS, distinctiveness, find_keypoints, keypoint_scores
from lcsd.errors import BadInputError


def blobs(seed: int = 0, shape: tuple[int, int, int] = (24, 22, 20)) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return (500 * gaussian_filter(noise, 1.5)).astype(np.float32)


def oracle(image: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
    padded = np.pad(image.astype(np.float64), 2, mode="edge")

    def slope(axis: int) -> NDArray[np.float64]:
        def at(offset: int) -> NDArray[np.float64]:
            rolled = np.roll(padded, -offset, axis=axis)
            return rolled[2:-2, 2:-2, 2:-2]

        return (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / 12

    slopes = [slope(axis) for axis in range(3)]
    tensor = np.empty((*image.shape, 3, 3))
    for a in range(3):
        for b in range(3):
            tensor[..., a, b] = gaussian_filter(slopes[a] * slopes[b], sigma, mode="nearest", truncate=TRUNCATE_SIGMAS)
    return 1 / np.trace(np.linalg.inv(tensor), axis1=-2, axis2=-1)


def test_distinctiveness_is_one_over_the_trace_of_the_inverse() -> None:
    image = blobs()
    np.testing.assert_allclose(distinctiveness(image, sigma=1.4), oracle(image, 1.4), rtol=2e-2)


def test_a_plane_and_a_line_are_not_distinctive_but_a_corner_is() -> None:
    z, y, x = np.mgrid[:21, :21, :21]
    corner = ((z > 10) & (y > 10) & (x > 10)).astype(np.float32)
    line = ((z > 10) & (y > 10)).astype(np.float32)
    at_corner = distinctiveness(corner, sigma=1.4)[10, 10, 10]
    assert at_corner > 1e-3
    assert distinctiveness(line, sigma=1.4).max() < 1e-6 * at_corner
    assert distinctiveness(np.full_like(corner, 7), sigma=1.4).max() == 0


@pytest.mark.parametrize("nms_radius", [1, 3])
def test_keypoints_are_cube_maxima_in_the_eroded_mask(nms_radius: int) -> None:
    image = blobs(1)
    mask = np.zeros(image.shape, bool)
    mask[2:20, 3:19, 1:18] = True
    scores = keypoint_scores(image, mask, sigma=1.4)
    found = find_keypoints(scores, nms_radius=nms_radius, threshold=1e-8)
    score = np.zeros(image.shape)
    inner = (slice(3, 19), slice(4, 18), slice(2, 17))
    score[inner] = distinctiveness(image, sigma=1.4)[inner]
    np.testing.assert_array_equal(scores, score.astype(np.float32))
    padded = np.pad(score, nms_radius)
    expected = [
        voxel
        for voxel in np.argwhere(score > 1e-8)
        if score[tuple(voxel)] == padded[tuple(slice(v, v + 2 * nms_radius + 1) for v in voxel)].max()
    ]
    np.testing.assert_array_equal(found, expected)
    assert len(found) > 3


def test_no_keypoint_and_no_interior_are_refused() -> None:
    image, mask = blobs(), np.ones((24, 22, 20), bool)
    with pytest.raises(BadInputError, match=r"\[no_keypoints\]"):
        find_keypoints(keypoint_scores(image, mask, sigma=1.4), nms_radius=3, threshold=1e12)
    thin = np.zeros_like(mask)
    thin[5] = True
    with pytest.raises(BadInputError, match=r"\[empty_mask\]"):
        keypoint_scores(image, thin, sigma=1.4)


@pytest.mark.parametrize("erosion", [1, 3])
def test_scores_are_zero_near_the_border_of_the_mask(erosion: int) -> None:
    """A voxel survives if no voxel outside is within that many steps along the axes."""
    image, mask = blobs(2), np.zeros((24, 22, 20), bool)
    mask[3:21, 3:19, 2:18] = True
    mask[11, 10, 9] = False
    scores = keypoint_scores(image, mask, sigma=1.4, erosion=erosion)
    outside = np.argwhere(~mask)
    for voxel in np.argwhere(mask)[::7]:
        survives = np.abs(outside - voxel).sum(axis=1).min() > erosion
        assert (scores[tuple(voxel)] > 0) == survives
