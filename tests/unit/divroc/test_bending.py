"""The bending energy: its formula, its gradient, and nothing for affine motion."""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from lcsd.divroc.bending import bend, bending_energy


def squares(flow: torch.Tensor) -> torch.Tensor:
    """Sum the squared second differences, axis by axis."""
    total = flow.new_zeros(())
    for axis in (2, 3, 4):
        total = total + flow.diff(n=2, dim=axis).square().sum()
    for axis, other in ((2, 3), (2, 4), (3, 4)):
        total = total + 2 * flow.diff(dim=axis).diff(dim=other).square().sum()
    return total


def random_flow(*size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn((1, 3, *size), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("size", [(5, 6, 7), (1, 2, 3), (3, 1, 4), (2, 2, 1), (1, 1, 1), (9, 4, 3)])
def test_equals_the_sum_of_squares_in_value_and_gradient(size: tuple[int, int, int]) -> None:
    flow = random_flow(*size).requires_grad_()
    scale = 1 / (np.prod(size) * 2.0**4)
    wanted, found = squares(flow) * scale, bending_energy(flow, 2.0)
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), abs=1e-12)
    found.backward()
    (slope,) = torch.autograd.grad(wanted, flow) if wanted.requires_grad else (0 * flow,)
    torch.testing.assert_close(flow.grad, slope)
    torch.testing.assert_close(bend(flow.detach()), slope / (2 * scale))


def test_gradcheck() -> None:
    flow = random_flow(4, 3, 5).requires_grad_()
    assert gradcheck(lambda f: bending_energy(f, 1.5), (flow,))


def test_affine_motion_has_none_of_any_size() -> None:
    where = torch.as_tensor(np.indices((6, 7, 8)), dtype=torch.float64)
    matrix = torch.tensor([[0.5, 2.0, 0.1], [0.0, -1.0, 3.0], [7.0, 0.2, 0.0]]).double()
    affine = torch.einsum("ca,azyx->czyx", matrix, where)[None] + 50
    assert float(bending_energy(affine, 3.0)) == pytest.approx(0, abs=1e-20)
    assert float(bending_energy(where[None] ** 2, 3.0)) > 0.01


def test_does_not_depend_on_the_spacing() -> None:
    # The same parabola on two grids has the same second derivative, 2 per mm in one component.
    for spacing in (0.5, 0.25):
        x = torch.arange(40, dtype=torch.float64) * spacing
        flow = torch.zeros(1, 3, 30, 30, 40, dtype=torch.float64)
        flow[0, 0] = x**2
        inner = 38 / 40  # the outermost nodes have no second difference
        assert float(bending_energy(flow, spacing)) == pytest.approx(4 * inner, rel=1e-6)
