"""``lcsd train`` on the command line: files, resumed as uninterrupted, pairs of a release, refused calls."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from lcsd.io.points import Cloud, write_cloud
from lcsd.networks.models import make_network, read_tensors
from lcsd.networks.train import CHECKPOINT, CURVE, MODEL, Progress, Training
from lcsd.settings.train import NETWORKS, TrainSettings
from tests.unit.release.made_up import make_build

SMALL = {
    "unet": '{"node_mm": 20, "features": [4, 8], "passes": 1}',
    "dgcnn": '{"points": 200, "channels": 8, "outputs": 4, "candidates": 8, "node_mm": 20}',
}
STEPS = ("--steps", "4", "--set", "validate_every=2", "--set", "validation_pairs=1", "--set", "validation=phantom:1")


def trained(folder: Path, *more: str, network: str = "unet", pairs: str = "phantom:0") -> Result:
    call = ("train", "--network", network, "--pairs", pairs, "--out-dir", str(folder), "--threads", "1", *STEPS)
    return CliRunner().invoke(main, [*call, "--settings", f'{{"{network}": {SMALL[network]}}}', *more])


@pytest.mark.slow
@pytest.mark.parametrize("network", SMALL)
def test_a_stopped_and_resumed_training_writes_the_same_files(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    done = trained(whole, "--json", network=network)
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert figures["steps"] == 4
    assert 0 < figures["best_mm"] < 2 * figures["before_mm"]
    step = Training.step

    def stop(self: Training) -> None:
        if self.progress.step == 3:
            raise KeyboardInterrupt
        step(self)

    with monkeypatch.context() as context:
        context.setattr(Training, "step", stop)
        assert trained(stopped, network=network).exit_code != 0
    assert read_tensors(stopped / CHECKPOINT)[1]["progress"]["step"] == 2
    done = trained(stopped, network=network)
    assert done.exit_code == 2
    assert "[training_exists]" in done.stderr
    assert trained(stopped, "--resume", network=network).exit_code == 0
    for name in (MODEL, CURVE, "curve.png"):
        assert (stopped / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.slow
def test_cases_of_a_build_train_without_truth_alone(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path)
    (results / "cohort").mkdir(exist_ok=True)
    shutil.copy(manifest, results / "cohort" / "pairs.tsv")
    rng = np.random.default_rng(0)
    for path in results.glob("cases/*/clouds/*_dense.npz"):
        write_cloud(path, Cloud(rng.uniform(-60, 60, (500, 3)).astype(np.float32)))
    done = trained(tmp_path / "out", pairs=str(results))
    assert done.exit_code == 2
    assert "[no_truth]" in done.stderr
    assert "--loss divroc" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / CHECKPOINT).exists()
    done = trained(tmp_path / "out", "--loss", "divroc", pairs=str(results))
    assert done.exit_code == 0, done.stderr
    facts = read_tensors(tmp_path / "out" / MODEL)[1]["facts"]
    assert facts["before_mm"] is None
    assert facts["pairs"].startswith("2 cases, SHA-256 of their names ")


def test_the_preset_has_published_sizes_and_other_settings_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {}

    def keep(network: str, settings: TrainSettings, **_: object) -> Progress:
        given[network] = settings
        return Progress(rows=[{"validation_mm": 1.0, "validation_before_mm": 2.0}])

    monkeypatch.setattr("lcsd.networks.train.train", keep)
    (tmp_path / MODEL).touch()
    call = ("train", "--preset", "paper", "--out-dir", str(tmp_path), "--set", "pointpwc.points=4096")
    for network in NETWORKS:
        done = CliRunner().invoke(main, [*call, "--network", network])
        assert done.exit_code == 0, done.stderr
    assert given["pointpwc"].pointpwc.points == 4096
    assert given["dgcnn"].dgcnn.points == 8192
    assert given["unet"].steps == 100_000
    weights = {name: sum(p.numel() for p in make_network(name, given[name].of(name)).parameters()) for name in NETWORKS}
    compact = {
        name: sum(p.numel() for p in make_network(name, TrainSettings().of(name)).parameters()) for name in NETWORKS
    }
    assert weights["unet"] > compact["unet"]
    assert weights["pointpwc"] > 4 * compact["pointpwc"]
    done = CliRunner().invoke(main, [*call, "--network", "pointpwc", "--set", "pointpwc.coarser=[4]"])
    assert done.exit_code == 2
    assert len(done.stderr.strip().splitlines()) == 1


def test_pairs_that_are_nowhere_are_refused_in_one_line(tmp_path: Path) -> None:
    done = trained(tmp_path / "out", pairs=str(tmp_path / "none"))
    assert done.exit_code == 2
    assert "[bad_pairs]" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_models_of_another_network_or_damaged_ones_are_refused(tmp_path: Path, model_file: Path) -> None:
    cloud = tmp_path / "cloud.npz"
    write_cloud(cloud, Cloud(np.random.default_rng(0).uniform(-50, 50, (300, 3)).astype(np.float32)))
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(model_file.read_bytes()[:-9])
    for method, model, code in (("dgcnn", model_file, "wrong_model"), ("unet", cut, "bad_model")):
        call = ("register", str(cloud), str(cloud), "--method", method, "--model", str(model))
        done = CliRunner().invoke(main, [*call, "--refine", "none", "--out-dir", str(tmp_path / "out")])
        assert done.exit_code == 2
        assert f"[{code}]" in done.stderr
        assert model.name in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
