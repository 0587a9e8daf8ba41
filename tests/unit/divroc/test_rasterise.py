"""Rasterising equals a splat written from the definition, and is the adjoint of sampling."""

import itertools
import math
import sys
import tracemalloc
from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional

from lcsd.divroc import rasterise, reference
from lcsd.divroc.places import Places
from lcsd.divroc.rasters import sample
from lcsd.errors import BadInputError

SHAPE = (4, 5, 7)

EDGE_POINTS = {
    "voxel_centre": [[1 / 7, 0.0, 0.25]],
    "centre_of_first_voxel": [[1 / 7 - 1, 1 / 5 - 1, 1 / 4 - 1]],
    "faces": [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]],
    "corner_outside": [[-1.1, 1.12, -1.2]],
    "far_outside": [[3.0, 0.0, 0.0], [0.0, -50.0, 1e9]],
    "not_a_number": [[math.nan, 0.0, 0.0]],
    "twice_the_same": [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]],
}


def oracle(points: torch.Tensor, weights: torch.Tensor, shape: tuple[int, int, int]) -> np.ndarray:
    """Splat by a loop over all points and the voxels around each."""
    batch, channels, count = weights.shape
    volume = np.zeros((batch, channels, *shape))
    for b, n in itertools.product(range(batch), range(count)):
        x, y, z = (float(v) for v in points[b, n])
        if not all(abs(v) < 10 for v in (x, y, z)):
            continue
        place = [((v + 1) * size - 1) / 2 for v, size in zip((z, y, x), shape, strict=True)]
        for steps in itertools.product((0, 1), repeat=3):
            voxel = [math.floor(p) + s for p, s in zip(place, steps, strict=True)]
            if all(0 <= v < size for v, size in zip(voxel, shape, strict=True)):
                share = math.prod(1 - abs(p - v) for p, v in zip(place, voxel, strict=True))
                for c in range(channels):
                    volume[b, c, *voxel] += share * float(weights[b, c, n])
    return volume


def figure_6(points: torch.Tensor, weights: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Minus the gradient of ``0.5 |sample(v, points) - weights|^2`` at ``v = 0``."""
    volume = torch.zeros((*weights.shape[:2], *shape), dtype=points.dtype, requires_grad=True)
    seen = functional.grid_sample(volume, points[:, :, None, None], align_corners=False)
    energy = 0.5 * (seen[..., 0, 0] - weights).square().sum()
    return -torch.autograd.grad(energy, volume)[0]


def random_cloud(
    *, batch: int = 2, channels: int = 3, count: int = 40, dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    # Beyond [-1, 1] on purpose: some points are cut by the border, some lie outside.
    points = torch.rand((batch, count, 3), generator=generator, dtype=dtype) * 2.8 - 1.4
    return points, torch.randn((batch, channels, count), generator=generator, dtype=dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_definition(dtype: torch.dtype) -> None:
    points, weights = random_cloud(dtype=dtype)
    found = rasterise(points, weights, SHAPE)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, oracle(points, weights, SHAPE), atol=20 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", EDGE_POINTS)
def test_edges_equal_the_definition(name: str) -> None:
    points = torch.tensor([EDGE_POINTS[name]], dtype=torch.float64)
    weights = torch.arange(1.0, 1 + len(points[0]), dtype=torch.float64)[None, None]
    found = rasterise(points, weights, SHAPE)
    np.testing.assert_allclose(found, oracle(points, weights, SHAPE), atol=1e-14)


@pytest.mark.parametrize("name", EDGE_POINTS)
def test_plain_form_agrees_at_the_edges_in_value_and_gradients(name: str) -> None:
    results = []
    for form in (rasterise, reference.rasterise):
        points = torch.tensor([EDGE_POINTS[name]], dtype=torch.float64, requires_grad=True)
        weights = torch.arange(1.0, 1 + points.shape[1]).double()[None, None].requires_grad_()
        volume = form(points, weights, SHAPE)
        upstream = torch.arange(volume.numel()).double().sin().view_as(volume)
        volume.backward(upstream)
        results.append((volume.detach(), points.grad, weights.grad))
    for fast, slow in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-12, equal_nan=True)


def test_plain_forms_agree_and_have_second_derivatives() -> None:
    points, weights = random_cloud(count=12)
    points = away_from_kinks(points, SHAPE)
    torch.testing.assert_close(reference.rasterise(points, weights, SHAPE), rasterise(points, weights, SHAPE))
    volume = torch.randn((2, 2, *SHAPE), generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(reference.sample(volume, points), sample(volume, points))
    few = (points[:1, :3].clone().requires_grad_(), weights[:1, :1, :3].clone().requires_grad_())
    assert gradgradcheck(lambda p, w: reference.rasterise(p, w, SHAPE), few)


def test_chunks_of_points_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    points, weights = random_cloud(count=50)
    volume = torch.randn((2, 3, *SHAPE), generator=torch.Generator().manual_seed(1)).double()
    results = []
    for chunk in (1 << 18, 7):
        # The package has a function of the module's name.
        monkeypatch.setattr(sys.modules["lcsd.divroc.places"], "CHUNK_POINTS", chunk)
        p, w, v = (part.clone().requires_grad_() for part in (points, weights, volume))
        loss = (rasterise(p, w, SHAPE) * v.detach()).sum() + (sample(v, p) * w.detach()).sum()
        loss.backward()
        results.append((p.grad, w.grad, v.grad))
    for whole, parts in zip(*results, strict=True):
        torch.testing.assert_close(whole, parts)


def test_memory_besides_inputs_and_outputs_does_not_grow_with_the_points() -> None:
    peaks = []
    for count in (600_000, 1_200_000):
        points, weights = random_cloud(batch=1, channels=1, count=count, dtype=torch.float32)
        tracemalloc.start()
        rasterise(points, weights, SHAPE)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[0] > 1 << 20  # the sorted chunk is seen
    assert peaks[1] < 1.4 * peaks[0]  # not twice; how far threads run ahead of each other varies


def value_and_gradients(
    form: Callable[..., torch.Tensor], points: torch.Tensor, weights: torch.Tensor, shape: tuple[int, int, int]
) -> list[torch.Tensor]:
    points, weights = points.clone().requires_grad_(), weights.clone().requires_grad_()
    volume = form(points, weights, shape)
    volume.backward(torch.arange(volume.numel()).to(volume).sin().view_as(volume))
    assert points.grad is not None
    assert weights.grad is not None
    return [volume.detach(), points.grad, weights.grad]


# More slices than slabs, several blocks of rows, whole cells at either side of every cut.
@pytest.mark.parametrize("shape", [(20, 70, 9), (9, 33, 2), (3, 1, 40)])
@pytest.mark.parametrize("count", [5, 20_000])  # 20,000: slices are read ahead
def test_cuts_between_slabs_and_blocks_leave_no_trace(shape: tuple[int, int, int], count: int) -> None:
    points, weights = random_cloud(channels=2, count=count)
    fast, slow = (value_and_gradients(form, points, weights, shape) for form in (rasterise, reference.rasterise))
    for part, wanted in zip(fast, slow, strict=True):
        torch.testing.assert_close(part, wanted, rtol=0, atol=1e-10)


def test_same_bits_for_any_number_of_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    points, weights = random_cloud(count=3000, dtype=torch.float32)
    results = []
    for parts in (1, 3, 8):
        monkeypatch.setattr(sys.modules["lcsd.divroc.places"], "PARTS", parts)
        results.append(value_and_gradients(rasterise, points, weights, (11, 40, 13)))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_a_splat_replaces_what_the_volume_held() -> None:
    points, weights = random_cloud(batch=1)
    for count in (points.shape[1], 0):
        volume = np.full((3, *SHAPE), np.nan)
        Places(points[0, :count].numpy(), SHAPE).splat(weights[0, :, :count].numpy(), volume)
        np.testing.assert_allclose(volume, oracle(points[:, :count], weights[..., :count], SHAPE)[0], atol=1e-14)


def test_a_voxel_that_no_point_touches_says_nothing() -> None:
    volume = torch.full((1, 1, *SHAPE), math.nan, dtype=torch.float64)
    volume[0, 0, :2, :2, :2] = 1
    corner = torch.tensor([[[-1.0, -1.0, -1.0], [2 / 7 * 2 - 1, 1 / 5 * 2 - 1, 1 / 4 * 2 - 1]]]).double()
    seen = sample(volume, corner)
    assert seen[0, 0, 0] == pytest.approx(1 / 8)  # one voxel of eight is inside
    assert torch.isfinite(seen[0, 0, 0])
    assert torch.isnan(seen[0, 0, 1])


def test_a_voxel_centre_fills_one_voxel_on_each_axis() -> None:
    # Sizes differ, so a transposed axis cannot pass.
    points = torch.tensor([[[2 * 5.5 / 7 - 1, 2 * 1.5 / 5 - 1, 2 * 2.5 / 4 - 1]]]).double()
    volume = rasterise(points, torch.full((1, 1, 1), 2.0).double(), SHAPE)[0, 0]
    assert volume[2, 1, 5] == pytest.approx(2.0)
    assert volume.sum() == pytest.approx(2.0)


def test_no_points_give_an_empty_volume_and_gradients() -> None:
    points = torch.zeros((2, 0, 3), requires_grad=True)
    weights = torch.zeros((2, 3, 0), requires_grad=True)
    volume = rasterise(points, weights, SHAPE)
    volume.sum().backward()
    assert volume.shape == (2, 3, *SHAPE)
    assert not volume.any()
    assert points.grad is not None
    assert points.grad.shape == points.shape


def test_one_voxel() -> None:
    points, weights = random_cloud()
    np.testing.assert_allclose(rasterise(points, weights, (1, 1, 1)), oracle(points, weights, (1, 1, 1)), atol=1e-14)


def test_is_the_adjoint_of_torchs_sampling() -> None:
    points, weights = random_cloud()
    volume = torch.randn((2, 3, *SHAPE), generator=torch.Generator().manual_seed(1)).double()
    seen = functional.grid_sample(volume, points[:, :, None, None], align_corners=False)[..., 0, 0]
    torch.testing.assert_close(sample(volume, points), seen)
    splatted = rasterise(points, weights, SHAPE)
    torch.testing.assert_close((seen * weights).sum(), (volume * splatted).sum())


def test_equals_the_supplements_form_in_value_and_gradients() -> None:
    points, weights = random_cloud(dtype=torch.float32)
    upstream = torch.randn((2, 3, *SHAPE), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(rasterise(points, weights, SHAPE), figure_6(points, weights, SHAPE))
    # Its backward: the sampler's gradient of the upstream volume, weighted.
    at = points.clone().requires_grad_()
    seen = functional.grid_sample(upstream, at[:, :, None, None], align_corners=False)[..., 0, 0]
    wanted = torch.autograd.grad((seen * weights).sum(), at)[0]
    points.requires_grad_()
    weights.requires_grad_()
    rasterise(points, weights, SHAPE).backward(upstream)
    torch.testing.assert_close(points.grad, wanted)
    torch.testing.assert_close(weights.grad, seen.detach())


def away_from_kinks(points: torch.Tensor, shape: tuple[int, int, int]) -> torch.Tensor:
    """Move voxel coordinates that are near an integer into the voxel's middle third."""
    size = torch.tensor(shape[::-1], dtype=points.dtype)
    voxels = ((points + 1) * size - 1) / 2
    voxels = voxels.floor() + 0.2 + 0.6 * (voxels - voxels.floor())
    return (2 * voxels + 1) / size - 1


@pytest.mark.slow
def test_rasterise_gradcheck_in_both_inputs() -> None:
    points, weights = random_cloud(count=12)
    points = away_from_kinks(points, SHAPE).requires_grad_()
    weights.requires_grad_()
    assert gradcheck(lambda p, w: rasterise(p, w, SHAPE), (points, weights))


def test_sample_gradcheck_in_both_inputs() -> None:
    points, _ = random_cloud(count=12)
    points = away_from_kinks(points, SHAPE).requires_grad_()
    volume = torch.randn((2, 2, *SHAPE), dtype=torch.float64, requires_grad=True)
    assert gradcheck(sample, (volume, points))


def test_second_derivative_is_refused() -> None:
    points, weights = random_cloud()
    points.requires_grad_()
    (slope,) = torch.autograd.grad(rasterise(points, weights, SHAPE).square().sum(), points, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_same_bits_for_any_number_of_threads() -> None:
    points, weights = random_cloud(count=5000, dtype=torch.float32)
    before = numba.get_num_threads()
    results = []
    try:
        for threads in {1, numba.config.NUMBA_NUM_THREADS}:
            numba.set_num_threads(threads)
            results.append(rasterise(points, weights, (30, 30, 30)))
    finally:
        numba.set_num_threads(before)
    assert all(torch.equal(results[0], other) for other in results)


@pytest.mark.parametrize(
    ("points", "weights"),
    [
        (torch.zeros(1, 4, 2), torch.zeros(1, 1, 4)),
        (torch.zeros(4, 3), torch.zeros(1, 1, 4)),
        (torch.zeros(1, 4, 3), torch.zeros(1, 1, 5)),
        (torch.zeros(2, 4, 3), torch.zeros(1, 1, 4)),
        (torch.zeros(1, 4, 3), torch.zeros(1, 1, 4).double()),
        (torch.zeros(1, 4, 3).half(), torch.zeros(1, 1, 4).half()),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(points: torch.Tensor, weights: torch.Tensor) -> None:
    with pytest.raises(BadInputError):
        rasterise(points, weights, SHAPE)


@pytest.mark.cuda
def test_cuda_equals_the_cpu() -> None:
    points, weights = random_cloud()
    results = []
    for device in ("cpu", "cuda"):
        p, w = points.to(device).requires_grad_(), weights.to(device).requires_grad_()
        volume = rasterise(p, w, SHAPE)
        volume.square().sum().backward()
        results.append([volume.detach().cpu(), p.grad.cpu(), w.grad.cpu()])
    for on_cpu, on_cuda in zip(*results, strict=True):
        torch.testing.assert_close(on_cpu, on_cuda)


@pytest.mark.cuda
def test_cuda_repeats_its_bits_when_asked() -> None:
    points, weights = (part.cuda() for part in random_cloud(count=5000, dtype=torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (rasterise(points, weights, SHAPE) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first, second)
