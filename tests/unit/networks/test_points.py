"""The networks on points: blind to the order of points, true to their parts' definitions, and able to learn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from lcsd.divroc.motion import sampled_vectors
from lcsd.networks.graph import SLOPE, EdgeConvolution, edges, neighbours, thinned
from lcsd.networks.grids import grid_around, spread
from lcsd.networks.models import make_network
from lcsd.networks.points import PointNetwork
from lcsd.networks.train import Training
from lcsd.settings.train import DGCNNSettings, NetworkName, NetworkSettings, PointPWCSettings
from tests.unit.networks.conftest import PAIRS, tiny_settings

SETTINGS: dict[NetworkName, NetworkSettings] = {
    "dgcnn": DGCNNSettings(points=400, channels=8, outputs=4, candidates=12, neighbours=6),
    "pointpwc": PointPWCSettings(
        points=400, channels=(8, 8), spreads_mm=(10.0, 16.0), coarser=(4,), candidates=8, neighbours=6
    ),
}


@pytest.fixture(params=SETTINGS)
def network(request: pytest.FixtureRequest) -> Iterator[PointNetwork]:
    """A network whose weights are all random, so that none of its parts is still."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = make_network(request.param, SETTINGS[request.param])
        for part in made.parameters():
            torch.nn.init.normal_(part, std=0.3)
        yield made


def lattice(seed: int, step: float = 1.5) -> Tensor:
    """Voxels along lines: many neighbours are at equal distances."""
    rng = np.random.default_rng(seed)
    along = np.linspace(-35, 35, 120)[:, None]
    lines = np.concatenate([rng.uniform(-40, 40, 3) + along * rng.normal(size=3) / 1.7 for _ in range(25)])
    return torch.as_tensor(np.unique(np.floor(lines / step), axis=0) * step, dtype=torch.float32)


def tied(cloud: Tensor, count: int) -> float:
    """Return the share of points whose neighbours a k-d tree must choose among equals."""
    away = cKDTree(cloud.numpy()).query(cloud.numpy(), k=count + 2)[0]
    return float((away[:, -1] == away[:, -2]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("most", [400, 100_000])
def test_the_order_of_points_on_a_voxel_lattice_changes_no_bit(network: PointNetwork, most: int) -> None:
    # Voxels as large as the smallest cells: where all are seen, each is a mean of its own.
    fixed, moving = lattice(0, 3.0), lattice(0, 3.0)[::3] + torch.tensor([3.0, 0.0, -6.0])
    network.settings = network.settings.model_copy(update={"points": most})
    assert tied(fixed, 6) > 0.2
    places = fixed[:50]
    found = network.displace(fixed, moving, places)
    for seed in range(3):
        turned = torch.randperm(len(fixed), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(found, network.displace(fixed[turned], moving.flip(0), places))
    assert found.abs().max() > 0.1


def test_few_points_are_the_means_of_cells() -> None:
    fixed, moving = lattice(0), lattice(1)[:500]
    few, others = thinned(fixed, moving, 200)
    assert 50 < max(len(few), len(others)) <= 200
    # The cells of 3 mm are enough for all: one cell holds 8 voxels at most.
    whole, _ = thinned(fixed, moving, 100_000)
    cells, number = np.unique(np.floor(fixed.numpy() / 3.0), axis=0, return_inverse=True)
    means = {tuple(fixed.numpy()[number == n].mean(axis=0).round(3)) for n in range(len(cells))}
    assert {tuple(row) for row in whole.numpy().round(3)} == means


def test_an_edge_convolution_is_the_largest_response_over_edges() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand((40, 3), generator=generator) * 50
    features = torch.randn((40, 5), generator=generator)
    layer = EdgeConvolution(5, 7)
    rows = neighbours(points, points, 4)
    found = layer(features, rows, edges(points, points, rows))
    for n in (0, 17):
        away = (points - points[n]).norm(dim=1)
        responses = []
        for j in away.argsort()[:4]:
            way = torch.cat([points[j] - points[n], away[j : j + 1]]) / 10
            whole = layer.own(features[n]) + layer.other(features[j]) + layer.edge(way)
            responses.append(torch.nn.functional.leaky_relu(whole, SLOPE))
        torch.testing.assert_close(found[n], layer.norm(torch.stack(responses).amax(dim=0)))


def test_spread_vectors_are_their_weighted_mean() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], [6.0, 0.0, 0.0]])
    grid = grid_around(points, points, node_mm=8.0)
    vectors = torch.tensor([[2.0, -1.0, 3.0], [4.0, 5.0, 3.0]])
    weights = torch.tensor([1.0, 0.0])
    field = spread(points, vectors, weights, grid, sigma_mm=12.0)
    torch.testing.assert_close(sampled_vectors(grid, field, points), vectors[:1].expand(2, 3), rtol=0.02, atol=0)
    both = sampled_vectors(grid, spread(points, vectors, torch.ones(2), grid, sigma_mm=12.0), points)
    assert (both[:, 0] > 2.4).all()
    assert (both[:, 0] < 3.6).all()


def test_turned_pairs_are_the_same_motion_backwards(network: PointNetwork) -> None:
    fixed = lattice(2)
    vectors = torch.stack([3 * torch.sin(fixed[:, 2] / 20), fixed[:, 0] / 20, torch.full((len(fixed),), 2.0)], dim=1)
    there = network.supervised(fixed, fixed + vectors, vectors, turned=True)
    back = network.supervised(fixed + vectors, fixed, -vectors, turned=False)
    torch.testing.assert_close(there, back, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["supervised", "divroc"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_few_steps_lower_either_loss(name: NetworkName, loss: str, tmp_path: Path) -> None:
    settings = tiny_settings(loss=loss, steps=200, learning_rate=0.02, warmup_share=0.0, **{name: SETTINGS[name]})
    training = Training(name, settings, pairs=PAIRS, out_dir=tmp_path, seed=0, device="cpu")
    pair = training._pairs.pair(4)
    pair = replace(pair, vectors=pair.vectors if loss == "supervised" else None)
    training._pairs.pair = lambda _: pair  # type: ignore[method-assign]
    for _ in range(16):
        training.step()
    losses = training.progress.losses
    assert np.mean(losses[-4:]) < 0.97 * np.mean(losses[:2])
