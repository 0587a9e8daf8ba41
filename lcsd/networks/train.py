"""Training: one pair a step, drawn from the seed and the step, so that a resumed run equals an uninterrupted one."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lcsd.divroc.bending import bending_energy
from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import require_file, sha256, write_table
from lcsd.networks.cases import CasePairs, Cases, label_of
from lcsd.networks.checks import check_apart, check_loss, phantom_seeds
from lcsd.networks.lessons import Lessons
from lcsd.networks.models import Model, load_weights, make_network, read_tensors, weights_of, write_model, write_tensors
from lcsd.networks.pairs import PhantomPairs, TrainingPair
from lcsd.numerics.device import progress_bar
from lcsd.numerics.threads import torch_threads
from lcsd.settings.train import NETWORKS, NetworkName, TrainSettings

CHECKPOINT = "checkpoint.safetensors"
MODEL = "model.safetensors"
CURVE = "curve.csv"
COLUMNS = ("step", "rate", "loss", "before_mm", "left_out", "validation_mm", "validation_before_mm")

SCORED_POINTS = 2_000
"""Fixed points of a held-out pair at which the error is taken."""

TRAINED_POINTS = 6_000
"""Fixed points of a pair at which the error is made small."""

VALIDATION_SEED = 777
"""Held-out pairs are the same for every training, so that models can be compared."""


@dataclass
class Progress:
    """What training has done so far; all of it is in the checkpoint."""

    step: int = 0
    best_mm: float | None = None
    since_best: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    befores: list[float] = field(default_factory=list)
    left_out: int = 0
    seconds: float = 0.0


class Training:
    """A network in training; see :func:`train`."""

    def __init__(
        self,
        name: NetworkName,
        settings: TrainSettings,
        *,
        pairs: str | Cases,
        out_dir: Path,
        seed: int,
        device: str,
        teacher: Model | None = None,
    ) -> None:
        self.name = name
        if teacher is not None:
            settings = settings.model_copy(update={name: teacher.settings})
        self.settings = settings
        self.out_dir = out_dir
        self.device = device
        held_out = phantom_seeds(settings.validation, option="validation")
        motions, share = [Path(path) for path in settings.motions], settings.keypoint_share
        check_loss(settings, truth=isinstance(pairs, str), teacher=teacher is not None)
        self._pairs: PhantomPairs | CasePairs
        if isinstance(pairs, str):
            seeds, label = phantom_seeds(pairs, option="--pairs"), pairs
            check_apart(seeds, held_out)
            self._pairs = PhantomPairs(seeds, seed=seed, motions=motions, keypoint_share=share)
        else:
            self._pairs, label = CasePairs(pairs, seed=seed), label_of(pairs)
        self._held_out = PhantomPairs(held_out, seed=VALIDATION_SEED, motions=motions, keypoint_share=share)
        self.facts = {"pairs": label, "seed": seed, "training": _facts_of(name, settings, teacher)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = make_network(name, settings.of(name)).to(device)
        self.lessons: Lessons | None = None
        if teacher is not None:
            self.network.load_state_dict(teacher.network.state_dict())
            self.lessons = Lessons(settings.self_training, seed=seed, device=device)
        self.average: Any = AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(settings.average))
        if teacher is not None:
            self.average.n_averaged.fill_(1)  # at 0 the first step would replace the teacher by the student
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.progress = Progress()
        self._validation: list[TrainingPair] | None = None

    def rate(self, step: int) -> float:
        """Return the learning rate of a step (from 0): a short rise, then a cosine to zero."""
        rise = self.settings.warmup_share * self.settings.steps
        wave = 0.5 * (1 + math.cos(math.pi * step / self.settings.steps))
        return self.settings.learning_rate * wave * min(1.0, (step + 1) / max(rise, 1.0))

    def _tensor(self, points: Any) -> Tensor:
        return torch.as_tensor(np.asarray(points), dtype=torch.float32, device=self.device)

    def _loss(self, pair: TrainingPair, step: int) -> Tensor:
        fixed, moving = self._tensor(pair.fixed), self._tensor(pair.moving)
        if self.settings.loss == "divroc":
            distance, motion, spacing = self.network.unsupervised(fixed, moving)
            loss: Tensor = distance + self.settings.smoothness_mm2 * bending_energy(motion, spacing)
            return loss
        found: Tensor = self.network.supervised(fixed, moving, self._tensor(pair.vectors), turned=step % 2 == 1)
        return found

    def step(self) -> None:
        """Train on the pair of this step. Raises ``WorkError`` (``diverged``) that names step and pair."""
        step = self.progress.step
        self.progress.step += 1
        pair = self._pairs.pair(step)
        if self.lessons is not None:
            lesson = self.lessons.lesson(pair, step, student=self.network, teacher=self.average.module)
            if lesson is None:
                self.progress.left_out += 1
                return
            pair = lesson
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(step)
        loss = self._loss(pair, step)
        self.optimiser.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip)
        if not math.isfinite(loss.item()) or not math.isfinite(norm.item()):
            raise WorkError(
                "the training diverged",
                code="diverged",
                field=f"step {step}, pair {pair.name}",
                expected="a finite loss and gradient",
                found=f"loss {loss.item()}, gradient {norm.item()}",
                remedy="lower learning_rate; the last checkpoint is kept",
            )
        self.optimiser.step()
        self.average.update_parameters(self.network)
        self.progress.losses.append(loss.item())
        if pair.vectors is not None:
            self.progress.befores.append(float(np.linalg.norm(pair.vectors, axis=1).mean()))

    def validate(self) -> None:
        """Score the averaged weights on the held-out pairs, add a row to the curve, and keep the best model."""
        if self._validation is None:
            self._validation = [self._held_out.pair(number) for number in range(self.settings.validation_pairs)]
        errors, befores = [], []
        for pair in self._validation:
            rows = np.random.default_rng(0).permutation(len(pair.fixed))[:SCORED_POINTS]
            fixed, moving = self._tensor(pair.fixed), self._tensor(pair.moving)
            truth = self._tensor(pair.vectors)[rows]
            found = self.average.module.displace(fixed, moving, fixed[rows])
            errors.append(float((found - truth).norm(dim=1).mean()))
            befores.append(float(truth.norm(dim=1).mean()))
        progress, error = self.progress, float(np.mean(errors))
        progress.rows.append(
            {
                "step": progress.step,
                "rate": self.rate(progress.step - 1),
                "loss": float(np.mean(progress.losses)) if progress.losses else None,
                "before_mm": float(np.mean(progress.befores)) if progress.befores else None,
                "left_out": progress.left_out,
                "validation_mm": error,
                "validation_before_mm": float(np.mean(befores)),
            }
        )
        progress.losses, progress.befores, progress.left_out = [], [], 0
        progress.since_best += 1
        if progress.best_mm is None or error < progress.best_mm:
            progress.best_mm, progress.since_best = error, 0
            self._keep(progress.rows[-1])

    def _keep(self, row: Mapping[str, Any]) -> None:
        facts = {**self.facts, **row, "torch": torch.__version__}
        write_model(self.out_dir / MODEL, self.name, self.average.module, self.settings.of(self.name), facts)

    def save(self) -> None:
        """Write the checkpoint, then the curve as table and figure."""
        optimiser = self.optimiser.state_dict()["state"]
        tensors = {f"network.{key}": value for key, value in weights_of(self.network).items()}
        tensors |= {f"average.{key}": value for key, value in weights_of(self.average).items()}
        tensors |= {f"adam.{number}.{key}": value for number, part in optimiser.items() for key, value in part.items()}
        write_tensors(
            self.out_dir / CHECKPOINT, tensors, {"network": self.name, **self.facts, "progress": vars(self.progress)}
        )
        write_table(self.out_dir / CURVE, COLUMNS, self.progress.rows)
        draw_curve(self.out_dir / "curve.png", self.progress.rows)

    def load(self) -> None:
        """Continue from the checkpoint. Raises ``BadInputError`` if it is missing, damaged or of another training."""
        path = self.out_dir / CHECKPOINT
        tensors, facts = read_tensors(path)
        wanted = {"network": self.name, **self.facts}
        for key, value in wanted.items():
            if facts.get(key) != value:
                raise BadInputError(
                    "the checkpoint is of another training",
                    code="other_training",
                    file=path,
                    field=key,
                    expected=_difference(value, facts.get(key)),
                    found=_difference(facts.get(key), value),
                    remedy="resume with the same options and settings, or choose another --out-dir",
                )

        def part(prefix: str) -> dict[str, Tensor]:
            return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}

        load_weights(self.network, part("network."), path)
        load_weights(self.average, part("average."), path)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in part("adam.").items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.progress = Progress(**facts["progress"])


def _facts_of(name: NetworkName, settings: TrainSettings, teacher: Model | None) -> dict[str, Any]:
    """Return what decides the result: all settings that are used but the time; tables and teacher by their hash."""
    tables = [f"{Path(path).name} {sha256(require_file(Path(path)))}" for path in settings.motions]
    unused = {"minutes", *NETWORKS} - {name} | (set() if teacher else {"self_training"})
    facts = {**settings.model_dump(mode="json", exclude=unused), "motions": tables}
    return {**facts, "teacher": teacher.sha256} if teacher else facts


def _difference(value: object, other: object) -> object:
    """Return only what differs of two mappings, for a short error."""
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return {key: part for key, part in value.items() if other.get(key) != part}
    return value


@torch_threads(1)
def train(
    name: NetworkName,
    settings: TrainSettings,
    *,
    pairs: str | Cases,
    out_dir: Path,
    seed: int = 0,
    device: str = "cpu",
    resume: bool = False,
    teacher: Model | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """Train a network and write ``model.safetensors`` (the best), ``checkpoint.safetensors`` and the curve.

    Parameters
    ----------
    name
        The network.
    settings
        Loss, steps, rates, held-out pairs.
    pairs
        Phantoms to train on, ``phantom:FIRST-LAST``, or cases without truth, as an ``LCSDataset`` has.
    out_dir
        Folder of the results.
    seed
        Of the first weights and of all draws: equal calls give equal bits on the CPU.
    device
        ``"cpu"`` or ``"cuda"``.
    resume
        Continue from the checkpoint in ``out_dir``.
    teacher
        Self-training: the network begins with this model's weights, and learns the motions that the moving average of
        its weights finds (:mod:`lcsd.networks.lessons`). No truth is used but that of the held-out pairs.
    clock
        Seconds, for ``settings.minutes``.

    Returns
    -------
    Progress
        Steps, best error in mm and the rows of the curve.

    Raises
    ------
    BadInputError
        Pairs that are none or also held out, or without the truth that the loss needs; with ``resume``, no checkpoint
        or one of another training; without it,
        a folder that has one.
    WorkError
        If loss or gradient is not finite; names step and pair.
    """
    training = Training(name, settings, pairs=pairs, out_dir=out_dir, seed=seed, device=device, teacher=teacher)
    if resume:
        training.load()
    elif (out_dir / CHECKPOINT).exists():
        raise BadInputError(
            "the folder holds a training already",
            code="training_exists",
            file=out_dir / CHECKPOINT,
            remedy="continue it with --resume, or choose another --out-dir",
        )
    elif teacher is not None:
        training.validate()
    progress, began, before = training.progress, clock(), training.progress.seconds
    with progress_bar(label=f"train: {name}", total=settings.steps, unit="step") as bar:
        bar.update(progress.step)
        while progress.step < settings.steps and not _ended(training):
            training.step()
            progress.seconds = before + clock() - began
            bar.set_postfix_str(_shown(progress), refresh=False)
            bar.update()
            late = settings.minutes is not None and clock() - began >= 60 * settings.minutes
            if late or progress.step % settings.validate_every == 0 or progress.step == settings.steps:
                training.validate()
                training.save()
            if late:
                break
    return progress


def _ended(training: Training) -> bool:
    patience = training.settings.patience
    return patience is not None and training.progress.since_best >= patience


def _shown(progress: Progress) -> str:
    best = "" if progress.best_mm is None else f", held out {progress.rows[-1]['validation_mm']:.2f} mm"
    loss = f"loss {np.mean(progress.losses[-50:]):.3f}" if progress.losses else "no loss yet"
    return f"{loss}{best}"


def draw_curve(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the errors during training as a figure."""
    from matplotlib.figure import Figure

    from lcsd.io.plotting import BEFORE_COLOUR, METHOD_COLOURS, render, save

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    axes = figure.subplots()
    steps = [row["step"] for row in rows]
    for key, colour in (("validation_before_mm", BEFORE_COLOUR), ("validation_mm", METHOD_COLOURS["divroc"])):
        axes.plot(steps, [row[key] for row in rows], color=colour, label=key.replace("_mm", "").replace("_", " "))
    axes.set(xlabel="step", ylabel="mean error, mm", ylim=(0, None))
    axes.legend()
    save(path, render(figure, "png"))
