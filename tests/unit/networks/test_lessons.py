"""Self-training: what a lesson holds, which pairs are left out, and a killed training that equals a whole one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lcsd.errors import BadInputError
from lcsd.networks.lessons import Lessons, View, drawn_view, generated, refined
from lcsd.networks.models import read_model, read_tensors
from lcsd.networks.pairs import PhantomPairs, TrainingPair
from lcsd.networks.train import CHECKPOINT, MODEL, Training, train
from lcsd.settings.train import SelfTrainingSettings
from tests.unit.networks.conftest import PAIRS, tiny_settings

STILL = SelfTrainingSettings(turn_deg=0.0, scale_share=0.0, jitter_mm=0.0, generated_share=0.0, refined=False)


class Knows:
    """A network that answers with a share of a motion, which it knows at each fixed point."""

    def __init__(self, vectors: np.ndarray, share: float) -> None:
        self._answer = torch.as_tensor(share * vectors, dtype=torch.float32)

    def displace(self, *_: Tensor) -> Tensor:
        return self._answer


@pytest.fixture(scope="module")
def pair() -> TrainingPair:
    rng = np.random.default_rng(3)
    points = rng.uniform(-60, 60, (2500, 3)) * [1, 1, 0.05]
    vectors = np.c_[4 + 0.02 * points[:, 0], 3 * np.ones(2500), np.zeros(2500)]
    return TrainingPair("made up", points[:1500], points[1000:] + vectors[1000:], vectors[:1500])


def lesson(pair: TrainingPair, settings: SelfTrainingSettings, *, student: float, teacher: float) -> TrainingPair:
    made = Lessons(settings, seed=0, device="cpu")
    vectors = pair.vectors
    assert vectors is not None
    blind = replace(pair, vectors=None)
    return made.lesson(blind, 0, student=Knows(vectors, student), teacher=Knows(vectors, teacher))  # type: ignore[arg-type,return-value]


def test_a_pair_is_learnt_only_where_the_teacher_brings_the_clouds_closer(pair: TrainingPair) -> None:
    learnt = lesson(pair, STILL, student=0.5, teacher=0.9)
    np.testing.assert_allclose(learnt.vectors, 0.9 * pair.vectors, atol=1e-5)
    assert lesson(pair, STILL, student=0.9, teacher=0.5) is None
    unfiltered = STILL.model_copy(update={"filtered": False})
    assert lesson(pair, unfiltered, student=0.9, teacher=0.5) is not None


@pytest.mark.slow
def test_refined_labels_are_nearer_to_the_truth(pair: TrainingPair) -> None:
    assert pair.vectors is not None
    rough = 0.7 * pair.vectors
    better = refined(pair, rough, device="cpu")
    left = [np.linalg.norm(label - pair.vectors, axis=1).mean() for label in (rough, better)]
    assert left[1] < 0.6 * left[0]
    settings = STILL.model_copy(update={"refined": True})
    learnt = lesson(pair, settings, student=0.5, teacher=0.7)
    np.testing.assert_allclose(learnt.vectors, better, atol=0.05)


def test_a_generated_pair_has_disjoint_halves_and_the_teachers_motion(pair: TrainingPair) -> None:
    assert pair.vectors is not None
    made, vectors = generated(pair, pair.vectors, np.random.default_rng(0))
    both = np.concatenate([made.fixed, made.moving])
    assert len(both) == len(pair.fixed)
    rows = {tuple(point): row for row, point in enumerate(pair.fixed)}
    own = [rows[tuple(point)] for point in made.fixed]
    other = sorted(set(range(len(pair.fixed))) - set(own))
    np.testing.assert_array_equal(vectors, pair.vectors[own])
    np.testing.assert_allclose(np.sort(made.moving, axis=0), np.sort((pair.fixed + pair.vectors)[other], axis=0))
    always = STILL.model_copy(update={"generated_share": 1.0})
    assert lesson(pair, always, student=0.9, teacher=0.5).name == "made up, generated"


def test_a_view_turns_points_and_its_vectors_come_back(pair: TrainingPair) -> None:
    assert pair.vectors is not None
    settings = SelfTrainingSettings(jitter_mm=0.0)
    view = drawn_view(pair, np.random.default_rng(1), settings)
    assert isinstance(view, View)
    assert np.linalg.norm(view.fixed - pair.fixed, axis=1).max() > 1
    targets = drawn_view(replace(pair, fixed=pair.fixed + pair.vectors), np.random.default_rng(1), settings).fixed
    np.testing.assert_allclose(view.back(targets - view.fixed), pair.vectors, atol=1e-9)


@pytest.mark.slow
def test_a_resumed_self_training_equals_a_whole_one_to_the_bit(
    model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = read_model(model_file)
    settings = tiny_settings(steps=4, validate_every=2, self_training={"generated_share": 0.5})
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = train("unet", settings, pairs=PAIRS, out_dir=whole, teacher=teacher)
    assert [row["step"] for row in done.rows] == [0, 2, 4]
    assert done.rows[0]["loss"] is None
    step = Training.step

    def stop(self: Training) -> None:
        if self.progress.step == 3:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as context:
        context.setattr(Training, "step", stop)
        with pytest.raises(KeyboardInterrupt):
            train("unet", settings, pairs=PAIRS, out_dir=stopped, teacher=teacher)
    train("unet", settings, pairs=PAIRS, out_dir=stopped, teacher=teacher, resume=True)
    ends = [read_tensors(folder / CHECKPOINT) for folder in (whole, stopped)]
    assert all(torch.equal(value, ends[1][0][key]) for key, value in ends[0][0].items())
    assert (whole / MODEL).read_bytes() == (stopped / MODEL).read_bytes()
    facts = ends[0][1]["training"]
    assert facts["teacher"] == teacher.sha256
    assert facts["self_training"]["generated_share"] == 0.5
    with pytest.raises(BadInputError, match=r"\[other_training\]"):
        train("unet", settings, pairs=PAIRS, out_dir=whole, resume=True)


@pytest.mark.slow
def test_a_self_training_uses_no_truth_and_begins_as_its_teacher(model_file: Path, tmp_path: Path) -> None:
    teacher = read_model(model_file)
    settings = tiny_settings(self_training={"generated_share": 1.0}, learning_rate=1e-9)
    training = Training("unet", settings, pairs=PAIRS, out_dir=tmp_path, seed=0, device="cpu", teacher=teacher)
    honest: PhantomPairs = training._pairs  # type: ignore[assignment]
    blind = replace(honest.pair(0), vectors=None)
    training._pairs.pair = lambda _: blind  # type: ignore[method-assign]
    training.step()
    assert training.progress.left_out == 0
    assert len(training.progress.losses) == 1
    for key, value in teacher.network.state_dict().items():
        torch.testing.assert_close(training.average.module.state_dict()[key], value, atol=1e-6, rtol=0)
    with pytest.raises(BadInputError, match="supervised with --teacher"):
        Training(
            "unet", tiny_settings(loss="divroc"), pairs=PAIRS, out_dir=tmp_path, seed=0, device="cpu", teacher=teacher
        )
