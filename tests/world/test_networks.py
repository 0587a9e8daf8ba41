"""Models and trainings as people report them: refused by name, or the same as they would have been."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.divroc.register import register_clouds
from lcsd.errors import WorkError
from lcsd.io.files import read_json
from lcsd.networks.models import make_network, read_tensors, write_model, write_tensors
from lcsd.networks.pairs import TrainingPair
from lcsd.networks.register import register_with_network
from lcsd.networks.train import CHECKPOINT, Training, train
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NETWORKS, NetworkName, TrainSettings, UNetSettings
from tests.world.test_registration import Points, far_keypoints, moved, noisy, tree

TINY = UNetSettings(node_mm=16.0, features=(4, 8))
WEIGHT = "body.decoder.seg_layers.0.weight"


def whole(path: Path) -> None:
    torch.manual_seed(0)
    write_model(path, "unet", make_network("unet", TINY), TINY, {})


def cut(path: Path, keep: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])


def other_shape(path: Path) -> None:
    tensors, facts = read_tensors(path)
    write_tensors(path, {**tensors, WEIGHT: tensors[WEIGHT][:1]}, facts)


def less(path: Path) -> None:
    tensors, facts = read_tensors(path)
    tensors.pop(WEIGHT)
    write_tensors(path, tensors, facts)


@dataclass(frozen=True)
class FileRow:
    """A damage to a model file, where it was reported, and the reason code."""

    name: str
    source: str
    damage: Callable[[Path], None]
    code: str


FILES = [
    FileRow(
        "written_by_a_killed_process",
        "Lightning-AI/pytorch-lightning, issue 688",
        lambda path: cut(path, 0.9),
        "bad_model",
    ),
    FileRow("header_cut_short", "lyogavin/airllm, issue 137", lambda path: cut(path, 0.01), "bad_model"),
    FileRow("shape_that_would_broadcast", "pytorch/pytorch, issue 8282", other_shape, "bad_model"),
    FileRow("weights_left_out", "LsNatan/NICE, issue 2", less, "bad_model"),
    FileRow(
        "pickled_checkpoint",
        "facebookresearch/seamless_communication, issue 159",
        lambda path: torch.save({"model": torch.zeros(2)}, path),
        "bad_model",
    ),
]


@pytest.mark.parametrize("row", FILES, ids=lambda row: row.name)
def test_damaged_models_are_refused(row: FileRow, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    whole(path)
    assert CliRunner().invoke(main, ["models", "show", str(path)]).exit_code == 0
    row.damage(path)
    done = CliRunner().invoke(main, ["models", "show", str(path)])
    assert done.exit_code == 2
    assert f"[{row.code}]" in done.stderr
    assert "model.safetensors" in done.stderr


def training(folder: Path) -> Training:
    """A training whose pairs are three shifted lines, so that a step takes no time."""
    settings = TrainSettings(steps=10, validation="phantom:1", unet=TINY)
    made = Training("unet", settings, pairs="phantom:0", out_dir=folder, seed=0, device="cpu")

    def pair(number: int) -> TrainingPair:
        line = np.linspace(0, 60, 100)
        fixed = np.stack([line, 10 * np.sin(line / 9), line[::-1]], axis=1)
        vectors = np.full_like(fixed, 2.0 + number)
        return TrainingPair(f"line {number}", fixed, fixed + vectors, vectors)

    made._pairs.pair = pair  # type: ignore[method-assign]
    return made


def test_the_rate_goes_on_where_a_resumed_training_stopped(tmp_path: Path) -> None:
    """Reported of ultralytics/yolov5, issue 292, and IntelLabs/distiller, issue 145: it began again."""
    first = training(tmp_path)
    for _ in range(4):
        first.step()
    first.save()
    again = training(tmp_path)
    again.load()
    for made in (first, again):
        made.step()
    rates = [made.optimiser.param_groups[0]["lr"] for made in (first, again)]
    assert rates[0] == rates[1] < TrainSettings().learning_rate
    assert again.progress.losses[-1] == first.progress.losses[-1]


def test_a_loss_that_is_not_a_number_ends_the_training_and_spares_the_checkpoint(tmp_path: Path) -> None:
    """Reported of Lilac-Lee/PointNetLK_Revisited, issue 8, and tianweiy/CenterPoint, 396: it went on."""
    made = training(tmp_path)
    made.step()
    made.save()
    honest = made._pairs.pair
    made._pairs.pair = lambda number: replace(honest(number), vectors=np.full((100, 3), np.nan))  # type: ignore[method-assign]
    with pytest.raises(WorkError, match="step 1, pair line 1") as caught:
        made.step()
    assert caught.value.code == "diverged"
    tensors, facts = read_tensors(tmp_path / CHECKPOINT)
    assert facts["progress"]["step"] == 1
    assert all(bool(value.isfinite().all()) for value in tensors.values())


def test_the_order_of_points_changes_nothing() -> None:
    """Reported of charlesq34/pointnet2, issue 143, and facebookresearch/votenet, issue 92."""
    torch.manual_seed(0)
    network = make_network("unet", TINY).eval()
    fixed = 60 * torch.rand(500, 3)
    moving = fixed + torch.tensor([3.0, 0.0, -4.0])
    found = network.displace(fixed, moving, fixed)
    turned = network.displace(fixed.flip(0), moving[torch.randperm(500)], fixed)
    assert not math.isclose(float(found.abs().max()), 0.0)
    torch.testing.assert_close(found, turned, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_program_that_set_torchs_threads_trains_to_the_same_bits(tmp_path: Path) -> None:
    """pytorch/pytorch 88718: sums of matrix products depend on ``torch.set_num_threads``, whatever the seed."""
    settings = TrainSettings(steps=4, validate_every=4, validation_pairs=1, validation="phantom:1", unet=TINY)
    before = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            train("unet", settings, pairs="phantom:0", out_dir=tmp_path / str(count))
            assert torch.get_num_threads() == count  # the program keeps its threads
    finally:
        torch.set_num_threads(before)
    one, two = (read_tensors(tmp_path / count / CHECKPOINT)[0] for count in "12")
    assert all(torch.equal(value, two[key]) for key, value in one.items())


@dataclass(frozen=True)
class PairRow:
    """Two clouds and the true places of the fixed points, where a network failed on such, and ours that are asked."""

    name: str
    source: str
    make: Callable[[], tuple[Points, Points, Points]]
    networks: tuple[NetworkName, ...]


def halves(motion: Callable[[Points], Points], *, keep: int = 1, away: float = 0) -> tuple[Points, Points, Points]:
    """Return two halves of one tree that share no node; of the fixed one every ``keep``-th node."""
    whole = tree(3)
    own = whole[::2][::keep]
    return away + noisy(own, 1), away + noisy(motion(whole[1::2]), 2), away + motion(own)


PAIRS = [
    PairRow("a_cloud_onto_itself", "yewzijian/RegTR, issue 15", lambda: (tree(3), tree(3), tree(3)), NETWORKS),
    PairRow("sampled_anew", "WangYueFt/dcp, issue 27", lambda: halves(moved), ("pointpwc",)),
    PairRow(
        "breathes_deeply",
        "DeepRegNet/DeepReg, issue 764",
        lambda: halves(lambda rows: moved(moved(moved(rows)))),
        NETWORKS,
    ),
    PairRow(
        "smaller_than_in_training",
        "zgojcic/3DSmoothNet, issue 15",
        lambda: halves(lambda rows: 0.8 * moved(rows)),
        ("unet",),
    ),
    PairRow("ten_times_as_many_points", "xingyul/flownet3d, issue 10", lambda: halves(moved, keep=10), ("dgcnn",)),
    PairRow("far_from_the_origin", "chenzhaiyu/polygnn, issue 25", lambda: halves(moved, away=900), ("unet",)),
]


@pytest.mark.slow
@pytest.mark.parametrize("row", PAIRS, ids=lambda row: row.name)
def test_a_start_does_no_harm(row: PairRow) -> None:
    """isl-org/Open3D, issue 1170: what followed a good start made it worse."""
    fixed, moving, targets = row.make()

    def error(effort: Literal["fast", "none"], method: NetworkName | None) -> float:
        settings = RegisterSettings(effort=effort, method=method or "divroc", trust="none")
        if method is None:
            found = register_clouds(fixed, moving, settings=settings)
        else:
            found, _ = register_with_network(fixed, moving, settings=settings)
        return float(np.linalg.norm(found.moved_points - targets, axis=1).mean())

    start, levels = error("none", None), error("fast", None)
    for name in row.networks:
        guess, fast = error("none", name), error("fast", name)
        assert guess <= 1.1 * start + 0.05, name
        assert fast <= 1.05 * levels + 0.05, name
        assert fast <= 1.1 * guess + 0.05, name


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_guess_is_taken_where_keypoints_move_far(name: NetworkName) -> None:
    """siavashk/pycpd, issue 43: after the affine part, the deformable one hardly changed two sparse clouds."""
    fixed, moving, targets = far_keypoints()
    found, facts = register_with_network(fixed, moving, settings=RegisterSettings(method=name, effort="none"))
    start = register_clouds(fixed, moving, settings=RegisterSettings(effort="none"))
    off, before = (np.linalg.norm(one.moved_points - targets, axis=1).mean() for one in (found, start))
    assert facts.taken
    assert off < 0.6 * before


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_clouds_of_two_people_are_not_trusted(name: NetworkName, tmp_path: Path) -> None:
    """yewzijian/RegTR, issue 21: a network answers whatever it is given, and nothing tells what the answer is worth."""
    for side, seed in (("fixed", 3), ("moving", 4)):
        np.save(tmp_path / f"{side}.npy", tree(seed))
    words = ["register", str(tmp_path / "fixed.npy"), str(tmp_path / "moving.npy"), "--method", name]
    done = CliRunner().invoke(main, [*words, "--refine", "fast", "--out-dir", str(tmp_path / "fast")])
    assert done.exit_code == 0, done.stderr
    assert read_json(tmp_path / "fast" / "registration.json")["untrusted_share"] > 0.05
    assert "the registration is untrusted" in done.stderr
    done = CliRunner().invoke(main, [*words, "--refine", "none", "--out-dir", str(tmp_path / "none")])
    assert done.exit_code == 0, done.stderr
    assert "has no expected errors" in done.stderr
