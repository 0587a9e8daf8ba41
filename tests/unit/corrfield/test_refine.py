"""Refinement: its linear system against the definition, known motion, smoothness, threads."""

import itertools

import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.corrfield.motion import upsampled
from lcsd.corrfield.on_numba import NumbaKernels
from lcsd.corrfield.refine import Lattice, normal_equations, refine
from lcsd.corrfield.relaxation import relax

Floats = NDArray[np.float32]
OPTIONS = {"step": 2, "smoothness": 0.1, "blur": 1.0, "robust": 0.5, "rounds": 8, "kernels": NumbaKernels()}


def smooth_features(seed: int, shape: tuple[int, int, int] = (20, 22, 24)) -> Floats:
    noise = np.random.default_rng(seed).normal(size=(4, *shape))
    return np.stack([6 * gaussian_filter(channel, 2.0) for channel in noise]).astype(np.float32)


def box(shape: tuple[int, ...], margin: int) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[(slice(margin, -margin),) * 3] = True
    return mask


def equations(
    fixed: Floats, moving: Floats, nodes: NDArray[np.int64], places: NDArray[np.float64], robust: float
) -> tuple[Floats, Floats]:
    normal, right = np.empty((6, len(nodes)), np.float32), np.empty((3, len(nodes)), np.float32)
    normal_equations(fixed, moving, nodes, places, robust, normal, right)
    return normal, right


@pytest.mark.slow
def test_equations_are_those_of_the_linear_interpolant() -> None:
    fixed, moving = smooth_features(0), smooth_features(1)
    rng = np.random.default_rng(2)
    nodes = rng.integers(0, 20, size=(30, 3))
    places = rng.uniform(0.1, 18.8, size=(30, 3))
    near = 1e-3  # stays in the cell: the interpolant is linear along each axis there
    places = np.where(np.abs(places - np.rint(places)) < 2 * near, places + 3 * near, places)
    normal, right = equations(fixed, moving, nodes, places, 0.5)

    def at(where: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack([map_coordinates(c.astype(float), where.T, order=1) for c in moving])

    slopes = np.stack([(at(places + s) - at(places - s)) / (2 * near) for s in near * np.eye(3)])
    r = fixed[(slice(None), *nodes.T)] - at(places)
    w = 0.5 / (0.5 + (r**2).sum(axis=0))
    for row, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]):
        expected = w * (slopes[a] * slopes[b]).sum(axis=0)
        np.testing.assert_allclose(normal[row], expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(right, w * (slopes * r).sum(axis=1), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_places_outside_take_the_border_and_single_slices_have_no_slope() -> None:
    fixed, moving = smooth_features(0), smooth_features(1)
    nodes = np.array([[3, 4, 5], [3, 4, 5]])
    outside = equations(fixed, moving, nodes, np.array([[-7.0, 4.2, 99], [50, -3, 5.5]]), 0.5)
    clamped = equations(fixed, moving, nodes, np.array([[0.0, 4.2, 23], [19, 0, 5.5]]), 0.5)
    for found, expected in zip(outside, clamped, strict=True):
        np.testing.assert_array_equal(found, expected)
    normal, right = equations(fixed, moving[:, :1], nodes, np.array([[0.0, 4, 5], [2, 4, 5]]), 0.5)
    assert np.isfinite(normal).all()
    assert (normal[[0, 3, 4]] == 0).all()
    assert (right[0] == 0).all()


def test_sweeps_solve_the_whole_system() -> None:
    shape = (3, 4, 2)
    rng = np.random.default_rng(4)
    slopes = rng.normal(size=(*shape, 5, 3))
    blocks = np.einsum("...ci,...cj->...ij", slopes, slopes)
    blocks[1, 1] = 0  # nodes without data
    right = rng.normal(size=(3, *shape)).astype(np.float32)
    right[:, 1, 1] = 0
    places = list(np.ndindex(shape))
    system = np.zeros((3 * len(places),) * 2)
    for i, place in enumerate(places):
        system[3 * i : 3 * i + 3, 3 * i : 3 * i + 3] += blocks[place]
        for j, other in enumerate(places):
            if sum(abs(a - b) for a, b in zip(place, other, strict=True)) == 1:
                for axis in range(3):
                    system[3 * i + axis, 3 * i + axis] += 0.7
                    system[3 * i + axis, 3 * j + axis] -= 0.7
    expected = np.linalg.solve(system, right.transpose(1, 2, 3, 0).ravel()).reshape(*shape, 3)
    entries = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    normal = np.stack([blocks[..., a, b] for a, b in entries]).astype(np.float32)
    values = np.zeros((3, *shape), np.float32)
    found = relax(values, normal, right, 0.7, sweeps=300)
    np.testing.assert_allclose(found.transpose(1, 2, 3, 0), expected, atol=2e-4)


@pytest.mark.parametrize("step", [1, 2, 3])
def test_lattice_interpolates_linear_values_and_continues_them(step: int) -> None:
    mask = np.zeros((40, 30, 5), bool)
    mask[14:20, 12:15, 1:5] = True
    lattice = Lattice.around(mask, step=step)
    assert lattice.low == tuple(first - min(first, 8) // step * step for first in (14, 12, 1))
    index = np.stack(np.indices(lattice.inside.shape)) * step
    values = (index[0] + 2 * index[1] - index[2]).astype(np.float32)
    found = upsampled(values, mask.shape, step=lattice.step, low=lattice.low)
    last = [(n - 1) * step for n in lattice.inside.shape]
    for voxel in itertools.product((0, 6, 15, 26, 39), (0, 4, 13, 29), (0, 3, 4)):
        z, y, x = (min(max(v - low, 0), end) for v, low, end in zip(voxel, lattice.low, last, strict=True))
        assert found[voxel] == pytest.approx(z + 2 * y - x, abs=1e-4)
    expected = [v for v in np.argwhere(mask) if not ((v - lattice.low) % step).any()]
    np.testing.assert_array_equal(lattice.nodes(), expected)


@pytest.mark.slow
def test_a_shift_of_a_fraction_of_a_voxel_is_found() -> None:
    moving = smooth_features(3)
    shift = np.array([0.6, -0.35, 0.8])
    index = np.indices(moving.shape[1:]) + shift[:, None, None, None]
    fixed = np.stack([map_coordinates(c, index, order=3, mode="nearest") for c in moving])
    mask = box(fixed.shape[1:], 3)
    found = refine(fixed.astype(np.float32), moving, mask, np.zeros((3, *mask.shape), np.float32), **OPTIONS)
    error = np.abs(found - shift[:, None, None, None].astype(np.float32))[:, mask]
    assert error.mean() < 0.03
    assert error.max() < 0.25


def test_agreeing_or_flat_features_leave_the_motion_as_it_is() -> None:
    features = smooth_features(5)
    mask = box(features.shape[1:], 4)
    still = np.zeros((3, *mask.shape), np.float32)
    np.testing.assert_array_equal(refine(features, features, mask, still, **OPTIONS), still)
    start = np.random.default_rng(6).normal(size=still.shape).astype(np.float32)
    flat = np.ones_like(features)
    np.testing.assert_array_equal(refine(flat, flat, mask, start, **OPTIONS), start)
    nothing = np.zeros_like(mask)
    nothing[5, 5, 6] = nothing[6, 6, 5] = True
    assert not len(Lattice.around(nothing, step=2).nodes())
    other = smooth_features(4)
    np.testing.assert_array_equal(refine(features, other, nothing, start, **OPTIONS), start)


def test_smoothness_flattens_the_correction() -> None:
    fixed, moving = smooth_features(7), smooth_features(8)
    mask = box(fixed.shape[1:], 2)
    start = np.zeros((3, *mask.shape), np.float32)
    rough, stiff = (refine(fixed, moving, mask, start, **{**OPTIONS, "smoothness": s}) for s in (0.1, 1e3))
    assert np.ptp(stiff[:, mask], axis=1).max() < 0.1 * np.ptp(rough[:, mask], axis=1).max()


def test_threads_do_not_change_the_result() -> None:
    fixed, moving = smooth_features(9), smooth_features(10)
    mask = box(fixed.shape[1:], 2)
    start = np.zeros((3, *mask.shape), np.float32)
    before, results = numba.get_num_threads(), []
    for threads in (1, before):
        numba.set_num_threads(threads)
        results.append(refine(fixed, moving, mask, start, **OPTIONS))
    np.testing.assert_array_equal(*results)
