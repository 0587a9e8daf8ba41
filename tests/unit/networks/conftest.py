"""A tiny network in training, shared by the tests."""

from pathlib import Path

import pytest

from lcsd.networks.train import MODEL, train
from lcsd.settings.train import TrainSettings, UNetSettings

TINY = UNetSettings(node_mm=20.0, features=(4, 8), passes=1)
PAIRS = "phantom:0"


def tiny_settings(**changes: object) -> TrainSettings:
    values = {
        "steps": 8,
        "validate_every": 4,
        "validation_pairs": 1,
        "validation": "phantom:1",
        "unet": TINY,
        **changes,
    }
    return TrainSettings.model_validate(values)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole training of 8 steps."""
    folder = tmp_path_factory.mktemp("trained")
    train("unet", tiny_settings(), pairs=PAIRS, out_dir=folder)
    return folder


@pytest.fixture
def model_file(trained: Path) -> Path:
    return trained / MODEL
