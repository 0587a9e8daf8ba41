"""Training: the same bits after a kill, errors that name step and pair, and a network that learns."""

import csv
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lcsd.errors import BadInputError, WorkError
from lcsd.networks import train as module
from lcsd.networks.checks import phantom_seeds
from lcsd.networks.models import make_network, read_tensors
from lcsd.networks.pairs import PhantomPairs, TrainingPair
from lcsd.networks.train import CHECKPOINT, CURVE, MODEL, Training, train
from lcsd.settings.train import NETWORKS, TrainSettings, UNetSettings
from tests.unit.networks.conftest import PAIRS, tiny_settings

KILLED = """
import os, signal, sys
from pathlib import Path
from lcsd.networks.train import Training, train
from tests.unit.networks.conftest import PAIRS, tiny_settings
step = Training.step
def killed(self):
    if self.progress.step == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self)
Training.step = killed
train("unet", tiny_settings(), pairs=PAIRS, out_dir=Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_killed_and_resumed_training_equals_an_uninterrupted_one_to_the_bit(trained: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_tensors(tmp_path / CHECKPOINT)[1]["progress"]["step"] == 4
    train("unet", tiny_settings(), pairs=PAIRS, out_dir=tmp_path, resume=True)
    assert (tmp_path / MODEL).read_bytes() == (trained / MODEL).read_bytes()
    assert (tmp_path / CURVE).read_bytes() == (trained / CURVE).read_bytes()
    ends = [read_tensors(folder / CHECKPOINT) for folder in (tmp_path, trained)]
    assert ends[0][0].keys() == ends[1][0].keys()
    assert all(torch.equal(value, ends[1][0][key]) for key, value in ends[0][0].items())
    times = [facts["progress"].pop("seconds") for _, facts in ends]
    assert min(times) > 0
    assert ends[0][1] == ends[1][1]


def test_the_curve_has_a_row_for_each_validation(trained: Path) -> None:
    with (trained / CURVE).open(encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["step"] for row in rows] == ["4", "8"]
    assert float(rows[0]["rate"]) > float(rows[1]["rate"]) > 0
    assert all(float(row["validation_mm"]) > 0 for row in rows)
    assert (trained / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_training_is_not_begun_twice_nor_resumed_with_other_settings(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"\[training_exists\]"):
        train("unet", tiny_settings(), pairs=PAIRS, out_dir=trained)
    with pytest.raises(BadInputError, match="learning_rate.*0.5") as caught:
        train("unet", tiny_settings(learning_rate=0.5), pairs=PAIRS, out_dir=trained, resume=True)
    assert caught.value.code == "other_training"
    with pytest.raises(BadInputError, match="checkpoint") as caught:
        train("unet", tiny_settings(), pairs=PAIRS, out_dir=tmp_path, resume=True)
    assert caught.value.code == "missing_file"


def test_a_loss_that_is_not_finite_names_step_and_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = PhantomPairs.pair

    def broken(self: PhantomPairs, number: int) -> TrainingPair:
        pair = honest(self, number)
        return replace(pair, vectors=np.full_like(pair.fixed, np.nan)) if number == 1 else pair

    monkeypatch.setattr(PhantomPairs, "pair", broken)
    with pytest.raises(WorkError, match="step 1, pair phantom 0, draw 1") as caught:
        train("unet", tiny_settings(), pairs=PAIRS, out_dir=tmp_path)
    assert caught.value.code == "diverged"
    assert not (tmp_path / MODEL).exists()


def test_every_network_that_the_command_offers_can_be_made() -> None:
    for name in NETWORKS:
        assert sum(part.numel() for part in make_network(name, TrainSettings().of(name)).parameters()) > 1000


@pytest.mark.parametrize("text", ["phantom:", "phantom:5-2", "release", "phantom:1-2-3", "phantom:-3"])
def test_pairs_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="--pairs") as caught:
        phantom_seeds(text, option="--pairs")
    assert caught.value.code == "bad_pairs"


def test_held_out_phantoms_cannot_be_trained_on(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="1 shared, 1 the first"):
        Training("unet", tiny_settings(), pairs="phantom:0-1", out_dir=tmp_path, seed=0, device="cpu")


@pytest.mark.slow
def test_time_and_patience_end_a_training_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 100_000, 30))
    quick = tiny_settings(minutes=1.4)
    progress = train("unet", quick, pairs=PAIRS, out_dir=tmp_path / "a", clock=lambda: float(next(clock)))
    assert 1 <= progress.step < 8
    assert read_tensors(tmp_path / "a" / CHECKPOINT)[1]["progress"]["step"] == progress.step
    errors = iter([1.0, 2.0, 3.0])

    def worse(self: Training) -> None:
        error = next(errors)
        self.progress.rows.append(dict.fromkeys(module.COLUMNS, error))
        self.progress.since_best = 0 if error == 1.0 else self.progress.since_best + 1

    monkeypatch.setattr(Training, "validate", worse)
    patient = tiny_settings(validate_every=1, patience=2)
    assert train("unet", patient, pairs=PAIRS, out_dir=tmp_path / "b").step == 3


def test_training_without_truth_lowers_the_distance_of_the_clouds(tmp_path: Path) -> None:
    training = Training(
        "unet", tiny_settings(loss="divroc", steps=100), pairs=PAIRS, out_dir=tmp_path, seed=0, device="cpu"
    )
    pair = replace(training._pairs.pair(3), vectors=None)
    training._pairs.pair = lambda _: pair  # type: ignore[method-assign]
    for _ in range(12):
        training.step()
    losses = training.progress.losses
    assert np.mean(losses[-3:]) < 0.98 * losses[0]


@pytest.mark.slow
def test_a_short_training_learns_and_beats_the_affine_start_on_held_out_pairs(tmp_path: Path) -> None:
    settings = tiny_settings(
        steps=40, validation_pairs=3, learning_rate=4e-3, average=0.9, unet=UNetSettings(features=(8, 16), passes=1)
    )
    training = Training("unet", settings, pairs="phantom:0", out_dir=tmp_path, seed=0, device="cpu")
    pair = training._pairs.pair(4)
    training._pairs.pair = lambda _: pair  # type: ignore[method-assign]
    for _ in range(30):
        training.step()
    losses = list(training.progress.losses)
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
    training.validate()
    row = training.progress.rows[-1]
    assert row["validation_mm"] < 0.9 * row["validation_before_mm"]
