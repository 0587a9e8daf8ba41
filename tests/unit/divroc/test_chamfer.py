"""The Chamfer distance equals all pairs compared, in value and gradient."""

import numpy as np
import torch
from torch.autograd import gradcheck

from lcsd.divroc.chamfer import ChamferDistance

TARGET = np.random.default_rng(0).uniform(-20, 20, (60, 3))


def points(count: int = 50) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(1).uniform(-20, 20, (count, 3)))


def test_equals_all_pairs_in_value_and_gradient() -> None:
    moved = points().requires_grad_()
    pairs = torch.cdist(moved, torch.as_tensor(TARGET), compute_mode="donot_use_mm_for_euclid_dist")
    wanted = (pairs.min(dim=1).values.mean() + pairs.min(dim=0).values.mean()) / 2 / 1.5
    found = ChamferDistance(TARGET, scale_mm=1.5)(moved)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(v, moved)[0] for v in (found, wanted)))


def test_gradcheck() -> None:
    assert gradcheck(ChamferDistance(TARGET, scale_mm=2.0), (points(8).requires_grad_(),))


def test_zero_with_zero_gradient_at_the_target() -> None:
    moved = torch.as_tensor(TARGET).requires_grad_()
    distance = ChamferDistance(TARGET, scale_mm=1.0)(moved)
    distance.backward()
    assert float(distance) == 0
    assert moved.grad is not None
    assert not moved.grad.any()


def test_one_point_each() -> None:
    distance = ChamferDistance(np.zeros((1, 3)), scale_mm=1.0)
    assert float(distance(torch.tensor([[3.0, 4.0, 0.0]]))) == 5
