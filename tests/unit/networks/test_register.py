"""Registration from a network's guess: taken only if it helps, refined if asked, and said in the figures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from lcsd.cli.register import command
from lcsd.divroc.level import CloudPair
from lcsd.divroc.motion import LayeredMotion, covering_grid, nodes
from lcsd.divroc.optimise import optimise
from lcsd.divroc.register import register_clouds
from lcsd.errors import BadInputError
from lcsd.io.files import read_json
from lcsd.io.points import Cloud, read_cloud, write_cloud
from lcsd.networks.models import Model, make_network, model_of, shipped, write_model
from lcsd.networks.pairs import PhantomPairs
from lcsd.networks.register import CLEAR, GAIN, JUDGED_LEVEL, NetworkStarts, guesses, register_with_network
from lcsd.settings.register import RegisterSettings
from lcsd.settings.train import NetworkName, TrainSettings, UNetSettings


def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points + 10 * np.sin(points[:, [2, 0, 1]] / 40)


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("clouds")
    rng = np.random.default_rng(0)
    along = np.linspace(-45, 45, 120)[:, None]
    fixed = np.concatenate([rng.uniform(-50, 50, 3) + along * rng.normal(size=3) / 1.7 for _ in range(40)])
    for name, points in (("fixed", fixed), ("moving", moved(fixed))):
        write_cloud(folder / f"{name}.npz", Cloud(points.astype(np.float32)))
    return folder / "fixed.npz", folder / "moving.npz"


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without training, which compares the clouds block by block."""
    settings = UNetSettings(features=(4, 8))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, "unet", make_network("unet", settings), settings, {})
    return path


def register(*arguments: object) -> Result:
    return CliRunner().invoke(command, ["--threads", "1", *map(str, arguments)])


@pytest.mark.slow
def test_the_command_starts_from_the_guess_and_says_so(
    clouds: tuple[Path, Path], model_file: Path, tmp_path: Path
) -> None:
    fixed = read_cloud(clouds[0]).points.astype(np.float64)
    off = {}
    for refine in ("none", "fast"):
        out = tmp_path / refine
        done = register(*clouds, "--out-dir", out, "--method", "unet", "--model", model_file, "--refine", refine)
        assert done.exit_code == 0, done.stderr
        figures = read_json(out / "registration.json")
        assert figures["start"] == "unet"
        assert figures["start_look"] == {"none": 2, "fast": 1}[refine]
        objectives = figures["start_objectives"]
        assert min(objectives) == objectives[figures["start_look"]] < objectives[0]
        assert (figures["expected_error_median_mm"] is None) == (refine == "none")
        facts = read_json(out / "registration.provenance.json")
        assert facts["inputs"]["model"]["sha256"] == figures["model_sha256"]
        off[refine] = np.linalg.norm(read_cloud(out / "points.npz").points - moved(fixed), axis=1).mean()
    assert read_json(tmp_path / "none" / "registration.json")["iterations"] == 0
    assert read_json(tmp_path / "fast" / "registration.json")["iterations"] > 20
    before = register_clouds(fixed, moved(fixed), settings=RegisterSettings(effort="none")).moved_points
    start = np.linalg.norm(before - moved(fixed), axis=1).mean()
    assert off["fast"] < off["none"] < 0.9 * start


@pytest.mark.slow
def test_a_guess_that_does_not_help_is_left_out_and_said(
    clouds: tuple[Path, Path], model_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lcsd.networks.unet import UNet

    monkeypatch.setattr(UNet, "displace", lambda *points: torch.full_like(points[-1], 30.0))
    call = (*clouds, "--out-dir", tmp_path, "--method", "unet", "--model", model_file, "--refine", "none")
    done = register(*call)
    assert done.exit_code == 0, done.stderr
    assert "no better than the affine start" in done.stderr
    assert read_json(tmp_path / "registration.json")["start"] == "fitted"
    plain = register_clouds(read_cloud(clouds[0]), read_cloud(clouds[1]), settings=RegisterSettings(effort="none"))
    np.testing.assert_allclose(read_cloud(tmp_path / "points.npz").points, plain.moved_points, atol=1e-4)


@pytest.mark.slow
def test_a_program_that_set_torchs_threads_gets_the_same_bits(clouds: tuple[Path, Path]) -> None:
    both = read_cloud(clouds[0]), read_cloud(clouds[1])
    settings = RegisterSettings(method="unet", effort="none")
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(register_with_network(*both, settings=settings)[0].moved_points)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


class Judge:
    """A pair, and motions that are shares of its true one: kept or not."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.fixed = np.concatenate(
            [rng.uniform(-50, 50, 3) + np.linspace(-40, 40, 60)[:, None] * d for d in np.eye(3)] * 4
        )
        self.pair = CloudPair(self.fixed, moved(self.fixed), None, "cpu")
        self.start = LayeredMotion(self.fixed.mean(axis=0), np.zeros((3, 3)), np.zeros(3))
        self.grid = covering_grid(self.fixed, spacing_mm=8.0, margin_mm=12.0)
        self.truth = moved(nodes(self.grid)) - nodes(self.grid)

    def motion(self, share: float) -> LayeredMotion:
        vectors = torch.as_tensor(share * self.truth.T.reshape(1, 3, *self.grid.shape), dtype=torch.float32)
        return self.start.with_layer(self.grid, vectors)

    def kept(self, *motions: LayeredMotion, level: int, last: bool = False) -> tuple[float, list[int]]:
        """Return the objective of the last motion as a share of the first one's, and which ones go on."""
        starts = NetworkStarts(model_of("dgcnn", None), refined=level > 0)
        kept = starts.kept(self.pair, list(motions), level, last=last)
        assert starts.facts is not None
        assert starts.facts.look == kept[-1]
        return starts.facts.objectives[-1] / starts.facts.objectives[0], kept


def test_after_the_first_level_both_starts_go_on_unless_one_is_clearly_better() -> None:
    judge = Judge()
    found = [judge.kept(judge.start, judge.motion(share), level=1) for share in np.geomspace(0.003, 1.0, 24)]
    wanted = [[0] if ratio >= GAIN else [1] if ratio < CLEAR else [0, 1] for ratio, _ in found]
    assert [kept for _, kept in found] == wanted
    assert {tuple(kept) for kept in wanted} == {(0,), (1,), (0, 1)}


@pytest.mark.parametrize(("level", "last"), [(1, True), (JUDGED_LEVEL, True), (JUDGED_LEVEL, False)])
def test_of_two_refined_motions_the_one_with_smaller_expected_errors_is_taken(
    level: int, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge()
    poor, good = judge.motion(0.5), judge.motion(0.6)
    ratio, kept = judge.kept(poor, good, level=1)
    assert CLEAR < ratio < GAIN
    assert kept == [0, 1]
    assert judge.kept(poor, good, level=level, last=last)[1] == [1]
    if level > 1:
        assert judge.kept(good, poor, level=level, last=last)[1] == [0]
    # Whatever the objectives say.
    monkeypatch.setattr("lcsd.networks.register._expected_p95", lambda _, motion: 1.0 if motion is poor else 2.0)
    assert judge.kept(poor, good, level=level, last=last)[1] == [0]


class Rough:
    """A network that answers with noise, and remembers how many points it saw."""

    def to(self, _: str) -> "Rough":
        return self

    def displace(self, fixed: torch.Tensor, moving: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        self.seen = len(fixed), len(moving)
        return torch.randn(places.shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("name", "seen"), [("dgcnn", 400), ("pointpwc", 400), ("unet", 720)])
def test_networks_on_points_see_four_points_a_cell(name: NetworkName, seen: int) -> None:
    judge, rough = Judge(), Rough()
    settings = TrainSettings.model_validate({name: {} if name == "unet" else {"points": 100}}).of(name)
    guesses(Model(name, rough, settings, {}, ""), judge.pair, judge.start, looks=1, smoothed=True)
    assert rough.seen == (seen, seen)


def test_a_guess_is_smooth_before_levels() -> None:
    """As smooth as the first level's own grid: a Gaussian of 3.5 nodes leaves a tenth of noise here."""
    judge = Judge()
    model = Model("dgcnn", Rough(), TrainSettings().dgcnn, {}, "")
    sizes = []
    for smoothed in (False, True):
        (found,) = guesses(model, judge.pair, judge.start, looks=1, smoothed=smoothed)
        sizes.append(np.std(found.at(judge.fixed)))
    assert sizes[1] < 0.13 * sizes[0]


def test_the_curve_is_that_of_the_start_that_was_taken() -> None:
    judge = Judge()

    class Second:
        def candidates(self, _: CloudPair, start: LayeredMotion) -> list[LayeredMotion]:
            return [start, judge.motion(1.0)]

        def kept(self, *_: object, **__: object) -> list[int]:
            return [1]

    settings = RegisterSettings(effort="fast", start="none")
    alone = optimise(judge.pair, settings)[1]
    assert optimise(judge.pair, settings, starts=Second())[1][0] < 0.2 * alone[0]


def test_without_levels_the_least_objective_is_taken() -> None:
    judge = Judge()
    assert judge.kept(judge.start, judge.motion(0.1), level=0)[1] == [1]
    assert judge.kept(judge.start, judge.motion(-0.1), level=0)[1] == [0]


def test_an_affine_start_alone_is_never_silent(clouds: tuple[Path, Path], tmp_path: Path) -> None:
    done = register(*clouds, "--out-dir", tmp_path, "--refine", "none")
    assert done.exit_code == 0
    assert "the result is the affine start alone" in done.stderr


def test_options_that_do_not_fit_are_refused(clouds: tuple[Path, Path], model_file: Path, tmp_path: Path) -> None:
    out = ("--out-dir", tmp_path / "out")
    done = register(*clouds, *out, "--model", model_file)
    assert done.exit_code == 2
    assert "[unused_option]" in done.stderr
    done = register(*clouds, *out, "--method", "unet", "--model", model_file, "--symmetric")
    assert done.exit_code == 2
    assert "[bad_option]" in done.stderr
    both = read_cloud(clouds[0]), read_cloud(clouds[1])
    with pytest.raises(BadInputError, match="register_with_network") as caught:
        register_clouds(*both, settings=RegisterSettings(method="unet"))
    assert caught.value.code == "bad_option"
    with pytest.raises(BadInputError, match="found divroc"):
        register_with_network(*both, settings=RegisterSettings(), model=model_file)
    assert not (tmp_path / "out" / "points.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_the_guess_of_a_shipped_model_is_closer_on_an_unseen_phantom(name: NetworkName) -> None:
    pairs = PhantomPairs([200_000], seed=999)
    before, after = [], []
    for number in range(3):
        pair = pairs.pair(number)
        assert pair.vectors is not None
        settings = RegisterSettings(method=name, effort="none")
        found, _ = register_with_network(pair.fixed, pair.moving, settings=settings)
        start = register_clouds(pair.fixed, pair.moving, settings=settings.model_copy(update={"method": "divroc"}))
        truth = pair.fixed + pair.vectors
        before.append(np.linalg.norm(start.moved_points - truth, axis=1).mean())
        after.append(np.linalg.norm(found.moved_points - truth, axis=1).mean())
    assert np.mean(after) < 0.85 * np.mean(before)
