"""The U-Net: turned around by exchanging the clouds, blind to the order of points, and right about a plain motion."""

import numpy as np
import pytest
import torch
from torch import Tensor

from lcsd.networks import unet
from lcsd.networks.kernels import block_differences
from lcsd.networks.unet import Rasters, UNet, compared
from lcsd.settings.train import UNetSettings

SETTINGS = UNetSettings(node_mm=8.0, features=(4, 8))


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(0)
    made = UNet(SETTINGS).eval()
    # A fresh network answers with the guess alone.
    torch.nn.init.normal_(made.body.decoder.seg_layers[-1].weight, std=0.1)
    return made


def cloud(seed: int) -> Tensor:
    rng = np.random.default_rng(seed)
    along = np.linspace(-35, 35, 60)[:, None]
    parts = [rng.uniform(-40, 40, 3) + along * rng.normal(size=3) / 1.7 for _ in range(25)]
    return torch.as_tensor(np.concatenate(parts), dtype=torch.float32)


def test_exchanging_the_clouds_turns_the_answer_around(network: UNet) -> None:
    fixed, moving = cloud(0), cloud(0)[::2] + torch.tensor([3.0, -2.0, 4.0])
    there = network.field(Rasters(fixed, moving, SETTINGS))
    back = network.field(Rasters(moving, fixed, SETTINGS))
    assert there.abs().max() > 1
    torch.testing.assert_close(there, -back, atol=1e-3, rtol=0)


def test_the_order_of_points_changes_nothing(network: UNet) -> None:
    fixed, moving = cloud(0), cloud(1)
    places = fixed[:50]
    turned = network.displace(fixed.flip(0), moving[torch.randperm(len(moving))], places)
    torch.testing.assert_close(network.displace(fixed, moving, places), turned, atol=1e-3, rtol=0)


def test_the_guess_lays_both_densities_onto_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = cloud(2)
    moving = fixed + torch.tensor([8.0, -8.0, 8.0])
    seen = Rasters(fixed, moving, SETTINGS).channels
    assert seen.costs.mean(dim=(0, 2, 3, 4)).argmin() == 13  # the step of nothing
    found = unet._guesses
    monkeypatch.setattr(unet, "_guesses", lambda *given: tuple(0 * part for part in found(*given)))
    apart = Rasters(fixed, moving, SETTINGS).channels
    assert (seen.fixed - seen.moving).abs().mean() < 0.6 * (apart.fixed - apart.moving).abs().mean()


@pytest.mark.slow
@pytest.mark.parametrize("shift", [[8.0, 0.0, 0.0], [0.0, -8.0, 0.0], [0.0, 0.0, 8.0], [6.0, 3.0, -9.0]])
def test_an_untrained_network_finds_a_shift_along_each_axis(shift: list[float]) -> None:
    fixed = cloud(2)
    moving = fixed + torch.tensor(shift)
    network = UNet(SETTINGS).eval()
    found = network.displace(fixed, moving, fixed)
    left = network.displace(fixed + found, moving, fixed + found)
    off = (found + left - torch.tensor(shift)).norm(dim=1)
    assert off.median() < 0.35 * np.linalg.norm(shift)


def test_both_orders_of_training_mean_the_same_motion() -> None:
    fixed = cloud(2)
    vectors = torch.tensor([4.0, -4.0, 4.0]).expand_as(fixed)
    network = UNet(SETTINGS)
    errors = [network.supervised(fixed, fixed + vectors, vectors, turned=turned).item() for turned in (False, True)]
    assert max(errors) < 0.6 * float(vectors[0].norm())
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_the_kernel_compares_blocks_as_torch_does() -> None:
    rng = np.random.default_rng(0)
    fixed, moving = rng.uniform(size=(2, 12 + 4, 8 + 4, 16 + 4)).astype(np.float32)
    steps = [(0, 0, 0), (1, -2, 2), (-2, 1, 0)]
    found = np.empty((3, 3, 2, 4), np.float32)
    block_differences(fixed, moving, np.array(steps), 4, found)
    both = (torch.as_tensor(volume)[None, None] for volume in (fixed, moving))
    np.testing.assert_allclose(found, compared(*both, steps, 4)[0].numpy(), rtol=1e-5)
    assert np.abs(found[1] - found[2]).min() > 0
