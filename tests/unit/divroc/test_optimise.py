"""The optimiser is torch's Adam, without torch's compiler."""

import subprocess
import sys

import pytest
import torch

from lcsd.divroc.adam import Adam


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_steps_are_those_of_the_class_to_the_last_bit(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    start = torch.randn(3, 4, 5, 6, dtype=dtype)
    own, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimiser, expected = Adam(own, 0.3), torch.optim.Adam([theirs], lr=0.3)
    for iteration in range(20):
        rate = 0.3 / (1 + iteration)
        optimiser.rate = expected.param_groups[0]["lr"] = rate
        gradient = torch.randn_like(start)
        optimiser.step(gradient)
        theirs.grad = gradient.clone()
        expected.step()
        assert torch.equal(own, theirs)
    assert not torch.equal(own, start)


@pytest.mark.slow
def test_a_registration_loads_no_compiler() -> None:
    """It would take longer to load than a fast registration takes."""
    script = """
import sys
import numpy as np
from lcsd.divroc.register import register_clouds
from lcsd.settings.register import RegisterLevel, RegisterSettings
points = np.random.default_rng(0).uniform(0, 60, (80, 3))
level = RegisterLevel(raster_mm=4.0, flow_mm=8.0, sigma_voxels=1.0, iterations=2)
settings = RegisterSettings(effort="fast", levels=(level,))
assert register_clouds(points, points + 1, settings=settings).iterations == 2
print([name for name in ("torch._dynamo", "torch._inductor") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
