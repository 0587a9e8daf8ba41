"""The torch kernels agree with the compiled kernels, on every available device."""

from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lcsd.cli.failures import failures_named
from lcsd.cli.main import main
from lcsd.corrfield import correspond
from lcsd.corrfield.on_numba import NumbaKernels
from lcsd.corrfield.on_torch.kernels import TorchKernels
from lcsd.corrfield.refine import refine
from lcsd.corrfield.tree import Tree, spanning_tree
from lcsd.errors import BadInputError, WorkError
from lcsd.numerics.tps import ThinPlateSpline
from tests.grids import GRIDS
from tests.unit.corrfield.test_correspond import SMALL, pair, sized

CPU = NumbaKernels()
TINY_MIB = 1e-4
"""A limit so low that each batch has one item."""

without_cuda = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")

Floats = NDArray[np.float32]


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def kernels(request: pytest.FixtureRequest) -> TorchKernels:
    return TorchKernels(request.param)


def bounded(kernels: TorchKernels) -> TorchKernels:
    return TorchKernels(str(kernels.device), batch_mib=TINY_MIB)


def image(shape: tuple[int, int, int] = (24, 22, 20), seed: int = 0) -> Floats:
    noise = np.random.default_rng(seed).normal(size=shape)
    return (500 * gaussian_filter(noise, 1.5)).astype(np.float32)


def features(dtype: str, seed: int, shape: tuple[int, int, int] = (11, 12, 13)) -> NDArray[Any]:
    values = np.random.default_rng(seed).random((12, *shape))
    return (255 * values).astype(dtype) if dtype == "uint8" else values.astype(dtype)


def tree_of(points: NDArray[np.float64]) -> Tree:
    return spanning_tree(points, np.zeros(len(points)), neighbours=5, beta=150)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("shape", [(14, 13, 15), (1, 9, 2)], ids=["box", "thin"])
def test_features_differ_by_rounding_only(kernels: TorchKernels, step: int, shape: tuple[int, int, int]) -> None:
    volume = image(shape)
    expected = CPU.features(volume, step=step, sigma=1.0).astype(int)
    found = kernels.features(kernels.upload(volume), step=step, sigma=1.0)
    assert found.dtype == torch.uint8
    apart = np.abs(kernels.download(found).astype(int) - expected)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-2


def test_scores_and_keypoints(kernels: TorchKernels) -> None:
    volume = image()
    mask = np.zeros(volume.shape, bool)
    mask[3:20, 2:, :18] = True
    expected = CPU.keypoint_scores(volume, mask, sigma=1.4, erosion=2)
    found = kernels.keypoint_scores(kernels.upload(volume), mask, sigma=1.4, erosion=2)
    np.testing.assert_allclose(kernels.download(found), expected, rtol=1e-4, atol=1e-6 * expected.max())
    for nms_radius in (1, 3):
        points = kernels.keypoints(found, nms_radius=nms_radius, threshold=1e-8)
        np.testing.assert_array_equal(points, CPU.keypoints(expected, nms_radius=nms_radius, threshold=1e-8))
        assert len(points) > 1


def test_missing_keypoints_are_refused_as_on_the_cpu(kernels: TorchKernels) -> None:
    volume = image()
    scores = kernels.upload(volume)
    with pytest.raises(BadInputError, match="no_keypoints"):
        kernels.keypoints(scores, nms_radius=2, threshold=1e9)
    with pytest.raises(BadInputError, match="empty_mask"):
        kernels.keypoint_scores(scores, np.zeros(volume.shape, bool), sigma=1.4, erosion=1)


PLACES = np.array([[5.0, 6, 6], [5.3, 6.7, 6.5], [0, 11, 12], [-3.4, 5, 20.2], [40, -30.5, 6], [4, 4.5, 0]])
"""Whole, between voxels, in a corner, outside, far outside, fractional along one axis."""


@pytest.mark.slow
@pytest.mark.parametrize(("step", "patch"), [(1, 1), (1, 2), (2, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_cost_volumes(kernels: TorchKernels, step: int, patch: int, dtype: str) -> None:
    source, target = features(dtype, 0), features(dtype, 1)
    options = {"radius": 2, "step": step, "patch_radius": patch, "alpha": 2.5}
    on_device = kernels.upload(source), kernels.upload(target)
    for points in (PLACES, PLACES[1:2], PLACES[:0]):
        expected = CPU.cost_volumes(source, target, points, **options)
        found = kernels.download(kernels.cost_volumes(*on_device, points, **options))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    again = kernels.download(bounded(kernels).cost_volumes(*on_device, PLACES, **options))
    whole = kernels.download(kernels.cost_volumes(*on_device, PLACES, **options))
    np.testing.assert_allclose(again, whole, rtol=1e-6)


def star() -> Tree:
    """0 with three children: one level below the root."""
    return Tree(
        np.array([0, 1, 2, 3]), np.array([-1, 0, 0, 0]), np.array([1, 0.7, 2.0, 1.3], np.float32), np.array([0, 1, 4])
    )


@pytest.mark.parametrize("name", ["many", "star", "one"])
def test_marginals_are_the_same_bits(kernels: TorchKernels, name: str) -> None:
    rng = np.random.default_rng(2)
    tree = {"many": tree_of(rng.uniform(0, 50, size=(40, 3))), "star": star(), "one": tree_of(np.zeros((1, 3)))}[name]
    cost = (5 * rng.random((len(tree.order), 7, 7, 7))).astype(np.float32)
    expected = CPU.tree_marginals(cost.copy(), tree)
    for some in (kernels, bounded(kernels)):
        found = some.tree_marginals(some.upload(cost), tree)
        np.testing.assert_array_equal(some.download(found), expected)


def test_soft_minimum_and_the_mirrored_average(kernels: TorchKernels) -> None:
    there, back = (4 * np.random.default_rng(3).random((2, 9, 5, 5, 5))).astype(np.float32)
    there[0] = 0  # no preference
    expected = CPU.soft_minimum(there, gamma=5.0, step=2)
    assert np.abs(expected[0]).max() < 1e-12
    for some in (kernels, bounded(kernels)):
        found = some.soft_minimum(some.upload(there), gamma=5.0, step=2)
        np.testing.assert_allclose(found, expected, atol=1e-6)
    found = kernels.average_mirrored(kernels.upload(there), kernels.upload(back))
    np.testing.assert_array_equal(kernels.download(found), CPU.average_mirrored(there, back))


@pytest.mark.parametrize("shape", [(9, 8, 10), (1, 6, 2)], ids=["box", "thin"])
def test_warp_and_samples(kernels: TorchKernels, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(4)
    volumes = rng.normal(size=(3, *shape)).astype(np.float32)
    vectors = rng.normal(scale=4, size=(3, *shape)).astype(np.float32)  # many lead outside
    vectors[:, 0, 0] = 1  # whole voxels
    expected = CPU.warp(volumes, vectors)
    for some in (kernels, bounded(kernels)):
        found = some.warp(some.upload(volumes), some.upload(vectors))
        np.testing.assert_allclose(some.download(found), expected, atol=1e-6)
    found = kernels.sample(kernels.upload(vectors), PLACES)
    np.testing.assert_allclose(found, CPU.sample(vectors, PLACES), atol=2e-6)


@pytest.mark.parametrize("nodes", [(4, 3, 5), (1, 3, 2)], ids=["box", "thin"])
def test_upsampled(kernels: TorchKernels, nodes: tuple[int, int, int]) -> None:
    values = np.random.default_rng(5).normal(size=nodes)
    options = {"shape": (13, 9, 11), "step": 3, "low": (2, 0, -1)}
    found = kernels.download(kernels.upsampled(kernels.upload(values), **options))
    np.testing.assert_allclose(found, CPU.upsampled(values, **options), atol=1e-6)


def test_spline(kernels: TorchKernels, record_property: Any) -> None:
    rng = np.random.default_rng(6)
    size = np.array([200.0, 180, 220])
    points = np.unique(rng.integers(10, 170, size=(600, 3)), axis=0).astype(float)
    vectors = 8 * np.sin(points[:, [1, 2, 0]] / 30) + rng.normal(scale=0.5, size=points.shape)
    half = (size - 1) / 2
    spline = ThinPlateSpline.fit(points, vectors, offset=half, scale=half)
    places = np.concatenate([rng.uniform(-3, size + 3, size=(500, 3)), points[:20]])
    expected = CPU.spline_at(spline, places)
    np.testing.assert_allclose(expected[500:], vectors[:20], atol=1e-8)
    for some in (kernels, bounded(kernels)):
        error = np.abs(some.spline_at(spline, places) - expected).max()
        record_property("spline, voxels", f"{error:.1e}")
        assert error < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("shape", [(11, 12, 13), (1, 12, 2)], ids=["box", "thin"])
def test_normal_equations(kernels: TorchKernels, shape: tuple[int, int, int], dtype: str) -> None:
    fixed, moving = features(dtype, 7, shape), features(dtype, 8, shape)
    robust = 0.5 * (255**2 if dtype == "uint8" else 1)
    rng = np.random.default_rng(9)
    nodes = rng.integers(0, shape, size=(60, 3))
    places = rng.uniform(-4, np.array(shape) + 4, size=nodes.shape)
    places[:6], places[6:20] = PLACES, nodes[6:20]
    places[20:25] = np.array(shape) - 1
    expected = CPU.normal_equations(fixed, moving, nodes, places, robust=robust)
    uploaded = [kernels.upload(array) for array in (fixed, moving, nodes, places)]
    for found, wanted in zip(kernels.normal_equations(*uploaded, robust=robust), expected, strict=True):
        np.testing.assert_allclose(kernels.download(found), wanted, rtol=1e-4, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("shape", [(7, 6, 9), (1, 4, 1)], ids=["box", "thin"])
def test_smoothing_and_relaxation(kernels: TorchKernels, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(10)
    slopes = rng.normal(size=(5, 3, *shape))
    axes = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    normal = np.stack([(slopes[:, a] * slopes[:, b]).sum(axis=0) for a, b in axes])
    normal = normal.astype(np.float32)
    normal[:, 0, 1] = 0  # nodes without data
    values, right = rng.normal(size=(2, 3, *shape)).astype(np.float32)
    taps = np.array([0.1, 0.2, 0.4, 0.2, 0.1], np.float32)
    found = kernels.download(kernels.smooth(kernels.upload(normal), taps))
    np.testing.assert_allclose(found, CPU.smooth(normal, taps), atol=3e-6)
    expected = CPU.relax(values, normal, right, 0.3, sweeps=10)
    uploaded = [kernels.upload(array) for array in (values, normal, right)]
    found = kernels.download(kernels.relax(*uploaded, 0.3, sweeps=10))
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_refinement(kernels: TorchKernels, blur: float) -> None:
    shape = (20, 18, 22)
    fixed, moving = (CPU.features(image(shape, s), step=1, sigma=1.0) for s in (11, 12))
    start = np.random.default_rng(13).normal(scale=0.5, size=(3, *shape)).astype(np.float32)
    mask = np.zeros(shape, bool)
    mask[3:-3, 2:-4, 1:-1] = True
    options = {"step": 2, "smoothness": 0.1 * 255**2, "blur": blur, "robust": 0.5 * 255**2, "rounds": 4}
    expected = refine(fixed, moving, mask, start, **options, kernels=CPU)
    uploaded = [kernels.upload(array) for array in (fixed, moving)]
    found = refine(*uploaded, mask, kernels.upload(start), **options, kernels=kernels)
    assert np.abs(expected - start).max() > 0.1
    np.testing.assert_allclose(kernels.download(found), expected, atol=2e-3)


def solved(some: Any, monkeypatch: pytest.MonkeyPatch, transform: tuple[str, str]) -> tuple[Any, Any]:
    grid = sized(GRIDS["oblique"], (1.5, 1.5, 1.5))
    settings = SMALL.model_copy(update={"erosion": 1, "transform": transform})
    monkeypatch.setattr(correspond, "kernels_on", lambda _: some)
    return correspond.find_correspondences(*pair(grid)[:3], settings=settings), grid


@pytest.mark.slow
@pytest.mark.parametrize("transform", [("n", "n"), ("r", "n")])
def test_a_whole_solve(
    kernels: TorchKernels, transform: tuple[str, str], monkeypatch: pytest.MonkeyPatch, record_property: Any
) -> None:
    expected, grid = solved(CPU, monkeypatch, transform)
    found, _ = solved(kernels, monkeypatch, transform)
    again, _ = solved(kernels, monkeypatch, transform)
    small, _ = solved(bounded(kernels), monkeypatch, transform)
    np.testing.assert_array_equal(found.field.vectors, again.field.vectors)
    assert found.seconds.keys() == expected.seconds.keys()
    for result in (found, small):
        assert result.field.vectors.dtype == np.float32
        apart = np.linalg.norm(result.field.vectors - expected.field.vectors, axis=-1)
        voxels = apart / min(grid.spacing)
        record_property("field, voxels", f"mean {voxels.mean():.1e}, max {voxels.max():.1e}")
        assert voxels.mean() < (1e-4 if kernels.device.type == "cpu" else 0.02)
        assert len(result.pairs) == len(expected.pairs)
        np.testing.assert_allclose(result.pairs.moving, expected.pairs.moving, atol=0.05)
        np.testing.assert_allclose(result.pairs.weight, expected.pairs.weight, atol=0.01)


@pytest.mark.slow
def test_kernels_put_all_they_make_on_their_device() -> None:
    """The meta device has no data and refuses sums with arrays on the CPU."""
    kernels = TorchKernels("meta")
    volumes, nodes = kernels.zeros((3, 9, 8, 10)), kernels.upload(PLACES.astype(int))
    cost = kernels.cost_volumes(volumes, volumes, PLACES, radius=2, step=2, patch_radius=3, alpha=1.0)
    mask = np.ones((9, 8, 10), bool)
    tree = tree_of(PLACES)
    for made in (
        kernels.keypoint_scores(volumes[0], mask, sigma=1.4, erosion=1),
        kernels.tree_marginals(cost, tree),
        kernels.average_mirrored(cost, cost.clone()),
        kernels.warp(volumes, volumes),
        kernels.upsampled(volumes[0], (20, 20, 20), step=2, low=(0, 0, 0)),
        *kernels.normal_equations(volumes, volumes, nodes, nodes.double(), robust=0.5),
        kernels.smooth(volumes, np.ones(3, np.float32)),
        kernels.relax(volumes, kernels.zeros((6, 9, 8, 10)), volumes, 0.3, sweeps=1),
    ):
        assert made.is_meta


def test_running_out_of_device_memory_is_named() -> None:
    with pytest.raises(WorkError, match="out_of_memory"), failures_named():
        raise torch.cuda.OutOfMemoryError


@without_cuda
def test_a_device_that_is_not_there_is_refused() -> None:
    grid = sized(GRIDS["lps"], (1.5, 1.5, 1.5))
    for device, code in (("cuda", "no_cuda"), ("abacus", "unknown_device")):
        with pytest.raises(BadInputError) as caught:
            correspond.find_correspondences(*pair(grid)[:3], settings=SMALL, device=device)
        assert caught.value.code == code


@without_cuda
@pytest.mark.parametrize(
    "arguments",
    [
        ["correspond", "f.nii.gz", "m.nii.gz", "--fixed-mask", "k.nii.gz", "--out", "p.csv"],
        ["register", "f.npz", "m.npz", "--out-dir", "o"],
    ],
    ids=["correspond", "register"],
)
def test_commands_say_in_one_line_that_there_is_no_device(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, [*arguments, "--device", "cuda"])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"lcsd {arguments[0]}: error: device: no CUDA device")
    assert result.stderr.count("\n") == 1
    assert "[no_cuda]" in result.stderr
