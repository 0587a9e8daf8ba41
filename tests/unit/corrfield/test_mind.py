"""MIND-SSC against the definition, voxel by voxel."""

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lcsd.corrfield.mind import CHANNELS, FULL, HIGHEST_VARIANCE, LOWEST_VARIANCE, PAIRS, TRUNCATE_SIGMAS, mind_ssc
from lcsd.corrfield.smoothing import gaussian_taps


def image(shape: tuple[int, int, int] = (9, 8, 10), seed: int = 0) -> NDArray[np.float32]:
    noise = np.random.default_rng(seed).normal(size=shape)
    return (300 * gaussian_filter(noise, 1)).astype(np.float32)


def oracle(volume: NDArray[np.float32], step: int, sigma: float) -> NDArray[np.float64]:
    taps = gaussian_taps(sigma, truncate=TRUNCATE_SIGMAS).astype(float)
    radius = len(taps) // 2
    depth, height, width = volume.shape

    def value(z: int, y: int, x: int) -> float:
        return float(volume[min(max(z, 0), depth - 1), min(max(y, 0), height - 1), min(max(x, 0), width - 1)])

    result = np.empty((CHANNELS, *volume.shape))
    reach = range(-radius, radius + 1)
    for z, y, x in itertools.product(range(depth), range(height), range(width)):
        for channel, (a, b) in enumerate(PAIRS):
            total = 0.0
            for i, j, k in itertools.product(reach, reach, reach):
                weight = taps[i + radius] * taps[j + radius] * taps[k + radius]
                one = value(z + i + step * a[0], y + j + step * a[1], x + k + step * a[2])
                two = value(z + i + step * b[0], y + j + step * b[1], x + k + step * b[2])
                total += weight * (one - two) ** 2
            result[channel, z, y, x] = total
    result -= result.min(axis=0)
    variance = result.mean(axis=0)
    mean = variance.mean()
    return np.exp(-result / variance.clip(LOWEST_VARIANCE * mean, HIGHEST_VARIANCE * mean))


@pytest.mark.parametrize("step", [1, 2])
def test_equals_the_definition_up_to_the_border(step: int) -> None:
    volume = image((5, 4, 6))
    found = mind_ssc(volume, step=step, sigma=0.5)
    np.testing.assert_allclose(found, FULL * oracle(volume, step, 0.5), atol=0.51)


def test_there_are_twelve_different_pairs() -> None:
    assert len(PAIRS) == CHANNELS == len({frozenset(pair) for pair in PAIRS})


def test_scale_and_offset_of_intensity_do_not_matter() -> None:
    volume = image()
    changed = (1.7 * volume - 400).astype(np.float32)
    one, two = (mind_ssc(v, step=1, sigma=1.0).astype(int) for v in (volume, changed))
    assert np.abs(one - two).max() <= 1
    assert (one != two).mean() < 1e-2


def test_moves_with_the_image() -> None:
    volume = image((14, 14, 14))
    moved = np.roll(volume, (1, -2, 3), axis=(0, 1, 2))
    one, two = (mind_ssc(v, step=1, sigma=1.0) for v in (volume, moved))
    inner = (slice(None), *(slice(7, 9),) * 3)
    rolled = np.roll(one, (1, -2, 3), axis=(1, 2, 3))
    # Only the clamp of the variance depends on the whole image, and it has no effect here.
    np.testing.assert_array_equal(rolled[inner], two[inner])


def test_constant_and_thin_images_are_finite() -> None:
    assert (mind_ssc(np.full((4, 4, 4), 9, np.float32), step=1, sigma=1.0) == FULL).all()
    thin = mind_ssc(image((1, 5, 1)), step=1, sigma=1.0)
    np.testing.assert_allclose(thin, FULL * oracle(image((1, 5, 1)), 1, 1.0), atol=0.51)
