"""The adapters of docs/dataset.md with MONAI and TorchIO themselves."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lcsd.data import Augment
from tests.unit.data.test_augment import make_sample

DOC = Path(__file__).resolve().parents[3] / "docs" / "dataset.md"
IMAGES = ("fixed_image", "moving_image")

Sample = dict[str, object]
Transform = Callable[[Sample, np.random.Generator], Sample]

pytestmark = pytest.mark.slow  # both libraries import for seconds


def adapters() -> dict[str, Callable[[object], Transform]]:
    """Run the page's block of code, with an augmentation that moves everything by the same rotation."""
    (block,) = (part for part in re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL) if "with_monai" in part)
    space: dict[str, object] = {"augment": Augment(rotation_deg=10)}
    exec(block, space)  # noqa: S102
    return {name: space[f"with_{name}"] for name in ("monai", "torchio")}  # type: ignore[misc]


def intensity(name: str) -> object:
    if name == "monai":
        from monai.transforms import RandGaussianNoised

        return RandGaussianNoised(list(IMAGES), prob=1.0, std=30.0, sample_std=False)
    from torchio import RandomNoise

    return RandomNoise(std=(30, 30))


@pytest.mark.parametrize("name", ["monai", "torchio"])
def test_intensities_change_after_the_geometry_and_nothing_else_does(name: str) -> None:
    changed = adapters()[name](intensity(name))(make_sample(), np.random.default_rng(1))
    drawn = np.random.default_rng(1)
    if name == "monai":
        drawn.integers(2**31)  # the adapter's own draw comes first
    moved = Augment(rotation_deg=10)(make_sample(), drawn)
    assert changed.keys() == moved.keys()
    for key, value in moved.items():
        if key in IMAGES:
            noise = changed[key] - value  # type: ignore[operator]
            assert changed[key].shape == value.shape  # type: ignore[attr-defined]
            assert float(noise.std()) == pytest.approx(30, rel=0.05)
        elif isinstance(value, torch.Tensor):
            assert torch.equal(torch.as_tensor(changed[key]), value), key


@pytest.mark.parametrize("name", ["monai", "torchio"])
def test_the_samples_generator_decides_what_is_drawn(name: str) -> None:
    transform = adapters()[name](intensity(name))
    torch.manual_seed(5)
    first = transform(make_sample(), np.random.default_rng(3))["fixed_image"]
    elsewhere = torch.rand(1)
    again = transform(make_sample(), np.random.default_rng(3))["fixed_image"]
    other = transform(make_sample(), np.random.default_rng(4))["fixed_image"]
    assert torch.equal(torch.as_tensor(first), torch.as_tensor(again))
    assert not torch.equal(torch.as_tensor(first), torch.as_tensor(other))
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), elsewhere)  # the program's own numbers go on as if nothing had happened
