"""Levels on the CPU: their gradient is the one that torch makes by itself, and they need no torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lcsd.divroc.cpu_adam import CpuAdam
from lcsd.divroc.cpu_level import CpuHalfwayLevel, CpuLevel
from lcsd.divroc.level import HalfwayLevel, Level
from lcsd.divroc.motion import LayeredMotion
from lcsd.divroc.optimise import optimise
from lcsd.divroc.pair import CloudPair, suits_halfway
from lcsd.divroc.trust import backward_motion
from lcsd.geometry import Grid
from lcsd.settings.register import RegisterLevel, RegisterSettings

LEVEL = RegisterLevel(raster_mm=4.0, flow_mm=9.0, sigma_voxels=0.8, iterations=3)


def pair(*, labelled: bool = False) -> CloudPair:
    """Return two clouds of 400 and 300 points in a box of 60 mm, 3 mm of noise apart."""
    rng = np.random.default_rng(0)
    fixed = rng.uniform(-30, 30, (400, 3)) + np.array([0, 0, 80])
    moving = fixed[:300] + rng.normal(scale=3, size=(300, 3))
    labels = (rng.integers(1, 3, 400).astype(np.uint8), rng.integers(1, 3, 300).astype(np.uint8))
    return CloudPair(fixed, moving, labels if labelled else None, "cpu")


def before() -> LayeredMotion:
    """Return an affine motion and one displacement grid, as an array."""
    grid = Grid(size=(8, 7, 6), spacing=(12.0, 12.0, 12.0), origin=(-40.0, -40.0, 45.0))
    vectors = np.random.default_rng(1).normal(size=(1, 3, *grid.shape)).astype(np.float32)
    return LayeredMotion(np.zeros(3), 0.01 * np.eye(3), np.array([1.0, 0, -2])).with_layer(grid, vectors)


KINDS = [(CpuLevel, Level), (CpuHalfwayLevel, HalfwayLevel)]


@pytest.mark.parametrize("kinds", KINDS, ids=["one", "both"])
@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("changes", [{}, {"norm": "l2"}, {"saturation": 0.0, "balance": 0.0}])
def test_objective_and_gradient_are_those_of_torch(
    changes: dict[str, object], labelled: bool, kinds: tuple[type[CpuLevel], type[Level]]
) -> None:
    settings = RegisterSettings.model_validate(changes)
    clouds = pair(labelled=labelled)
    own, torchs = (kind(clouds, before(), LEVEL, settings) for kind in kinds)
    control = np.random.default_rng(2).normal(size=torchs.control.shape).astype(np.float32)
    with torch.no_grad():
        torchs.control += torch.from_numpy(control)
    own.control[:] = control[0]
    distance, objective = torchs.losses()
    wanted = torch.autograd.grad(objective, torchs.control)[0][0].numpy()
    found = own.value_and_gradient()
    np.testing.assert_allclose(found[:2], [distance.item(), objective.item()], rtol=2e-6)
    np.testing.assert_allclose(found[2], wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", [CpuLevel, CpuHalfwayLevel])
def test_the_gradient_is_that_of_the_objective(kind: type[CpuLevel]) -> None:
    own = kind(pair(), LayeredMotion(np.zeros(3), np.zeros((3, 3)), np.zeros(3)), LEVEL, RegisterSettings(norm="l2"))
    along = np.random.default_rng(3).normal(size=own.control.shape).astype(np.float32)
    slope = float((own.value_and_gradient()[2] * along).sum(dtype=np.float64))
    values = []
    for step in (-0.02, 0.02):
        own.control[:] = step * along
        values.append(own.value_and_gradient()[1])
    assert (values[1] - values[0]) / 0.04 == pytest.approx(slope, rel=0.02)


def test_both_clouds_move_by_half() -> None:
    """A level that adds the whole way brings the clouds together in the middle."""
    fixed = pair().fixed
    moving = fixed + np.array([2.0, 0.0, -1.0])
    still = LayeredMotion(np.zeros(3), np.zeros((3, 3)), np.zeros(3))
    own = CpuHalfwayLevel(CloudPair(fixed, moving, None, "cpu"), still, LEVEL, RegisterSettings())
    apart = own.value_and_gradient()[0]
    own.control[:] = np.array([2.0, 0.0, -1.0], np.float32)[:, None, None, None]
    assert own.value_and_gradient()[0] < 0.1 * apart


def test_sparse_clouds_are_compared_halfway(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Watched(CpuHalfwayLevel):
        def __init__(self, *given: object) -> None:
            made.append(1)
            super().__init__(*given)

    monkeypatch.setattr("lcsd.divroc.optimise.CpuHalfwayLevel", Watched)
    changes: list[dict[str, object]] = [{}, {"halfway_mm": None}, {"halfway_mm": 100.0}]
    counts = []
    for change in changes:
        made.clear()
        optimise(pair(), RegisterSettings(**{"effort": "fast", "levels": (LEVEL,), **change}))
        counts.append(len(made))
    assert counts == [1, 0, 0]
    assert suits_halfway(pair(), RegisterSettings())
    assert not any(suits_halfway(pair(), RegisterSettings(method=name)) for name in ("chamfer", "ot"))
    # The way back is as it was when the model of expected errors was fitted to it.
    made.clear()
    backward_motion(pair(), RegisterSettings())
    assert made == []


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_are_those_of_adam(dtype: type) -> None:
    rng = np.random.default_rng(0)
    own = rng.normal(size=(3, 4, 5)).astype(dtype)
    theirs = torch.nn.Parameter(torch.from_numpy(own.copy()))
    adam, expected = CpuAdam(own), torch.optim.Adam([theirs], lr=0.3)
    for step in range(20):
        gradient = rng.normal(size=own.shape).astype(dtype)
        theirs.grad = torch.from_numpy(gradient.copy())
        expected.param_groups[0]["lr"] = rate = 0.3 / (1 + step)
        adam.step(gradient, rate)
        expected.step()
    np.testing.assert_allclose(own, theirs.detach().numpy(), rtol=20 * np.finfo(dtype).eps, atol=1e-6)


def test_levels_continue_each_other_on_either_side() -> None:
    """Layers of one side are read by the other: a network's tensors by the CPU's levels."""
    motion = optimise(pair(), RegisterSettings(effort="fast", levels=(LEVEL,)))[0]
    points = pair().fixed
    tensor = motion.layered(torch.from_numpy(points.astype(np.float32)))
    assert len(motion.layers) == 1
    np.testing.assert_array_equal(tensor.numpy(), motion.layered(points.astype(np.float32)))


@pytest.mark.slow
def test_the_command_on_the_cpu_loads_neither_torch_nor_pandas(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-40, 40, (400, 3))
    for name, cloud in (("a", points), ("b", points + 1.0)):
        np.savetxt(tmp_path / f"{name}.csv", cloud, delimiter=",", header="x,y,z", comments="")
    program = """
import sys
from lcsd.cli.main import main
main(["register", "a.csv", "b.csv", "--out-dir", "out", "--json"], standalone_mode=False)
print([name for name in ("torch", "pandas") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"
