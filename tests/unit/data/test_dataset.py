"""Samples of releases and builds as tensors: content, draws, workers, batches, errors."""

import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import lcsd
from lcsd.data import Augment, LCSDataset, collate
from lcsd.errors import BadInputError
from lcsd.io.images import read_image
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import LANDMARKS, fail_gate, landmarks_of, make_build, read_rows

DOC = Path(__file__).resolve().parents[3] / "docs" / "dataset.md"
DRAW = 20


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Release, results and manifest."""
    folder = tmp_path_factory.mktemp("made")
    results, manifest = make_build(folder)
    write_release(results, manifest, results / "release", ReleaseSettings(images=True))
    return results / "release", results, manifest


def equal(first: dict[str, object], second: dict[str, object]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[key]) if isinstance(value, torch.Tensor) else value == second[key]  # type: ignore[arg-type]
        for key, value in first.items()
    )


def test_release_and_build_give_the_same_samples(made: tuple[Path, Path, Path]) -> None:
    release, results, manifest = made
    names = {row["case"]: row["name"] for row in read_rows(results / "cohort" / "names.tsv")}
    for split, count in (("train", 2), ("test", 1)):
        options = {"cloud": "dense", "vessels": True, "images": True}
        ours = LCSDataset(release, split, **options)
        theirs = LCSDataset(results, split, manifest=manifest, **options)
        assert len(ours) == len(theirs) == count
        assert sorted(names[case] for case in theirs.cases) == ours.cases
        for sample in theirs:
            published = ours[ours.cases.index(names[sample["case"]])]
            published["case"] = sample["case"]
            # Landmarks of a build are native, and are published with 0.1 micrometres.
            landmarks = published.pop("landmarks"), sample.pop("landmarks")
            torch.testing.assert_close(*landmarks, atol=1e-3, rtol=0)
            assert equal(published, sample)


def test_a_sample_holds_what_the_files_hold(made: tuple[Path, Path, Path]) -> None:
    _, results, manifest = made
    dataset = LCSDataset(results, "test", manifest=manifest, vessels=True, images=True)
    (sample,) = dataset
    folder = results / "cases" / "c3"
    cloud = read_cloud(folder / "clouds" / "moving_keypoints.npz")
    np.testing.assert_array_equal(sample["moving"].numpy(), cloud.points)
    pairs = read_point_pairs(folder / "correspondences" / "correspondences.csv")
    np.testing.assert_allclose(sample["correspondences"][:, 0], pairs.fixed, atol=1e-4)
    np.testing.assert_allclose(sample["correspondences"][:, 1], pairs.moving, atol=1e-4)
    common = landmarks_of("c3")
    np.testing.assert_allclose(sample["landmarks"][:, 1], common.moving, atol=1e-3)
    scan = read_image(folder / "images" / "fixed.nii.gz").array
    np.testing.assert_array_equal(sample["fixed_image"][0].numpy(), scan)
    assert sample["moving_vessels"].dtype == torch.uint8
    assert torch.equal(sample["to_mm"], torch.eye(4, dtype=torch.float64))
    train = LCSDataset(results, "train", manifest=manifest)
    assert train[0]["landmarks"].shape == (0, 2, 3)


def test_normalised_coordinates_are_those_of_grid_sample(made: tuple[Path, Path, Path]) -> None:
    """Sampling the vessel map at the dense cloud's points must hit a vessel each time."""
    options = {"cloud": "dense", "vessels": True}
    (sample,) = LCSDataset(made[0], "test", normalise=True, **options)
    (plain,) = LCSDataset(made[0], "test", **options)
    for scan in ("fixed", "moving"):
        volume = sample[f"{scan}_vessels"][None].float()
        points = sample[scan][None, None, None]
        found = torch.nn.functional.grid_sample(volume, points, align_corners=False)
        torch.testing.assert_close(found, torch.ones_like(found), atol=1e-3, rtol=0)
    for key in ("fixed", "correspondences", "landmarks"):
        flat = sample[key].reshape(-1, 3).double()
        in_mm = flat @ sample["to_mm"][:3, :3].T + sample["to_mm"][:3, 3]
        torch.testing.assert_close(in_mm.float(), plain[key].reshape(-1, 3), atol=1e-3, rtol=0)


def test_draws_follow_from_seed_epoch_case_and_scan(made: tuple[Path, Path, Path]) -> None:
    def drawn(**options: int) -> LCSDataset:
        return LCSDataset(made[0], "train", points=DRAW, **options)

    first, second = drawn(), drawn()
    second[1], second[0]  # another order
    assert equal(first[0], second[0])
    assert first[0]["fixed"].shape == (DRAW, 3)
    whole = LCSDataset(made[0], "train")[0]["fixed"]
    rows = [int((whole == point).all(dim=1).nonzero()[0, 0]) for point in first[0]["fixed"]]
    assert rows == sorted(set(rows))
    assert not torch.equal(first[0]["fixed"], drawn(seed=1)[0]["fixed"])
    second.set_epoch(1)
    assert not torch.equal(first[0]["fixed"], second[0]["fixed"])
    second.set_epoch(0)
    assert equal(first[0], second[0])
    many = LCSDataset(made[0], "train", points=10**6)
    assert torch.equal(many[0]["fixed"], whole)


@pytest.mark.slow
@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_the_same_samples_and_see_the_epoch(
    made: tuple[Path, Path, Path], context: str, workers: int
) -> None:
    dataset = LCSDataset(made[0], "train", points=DRAW, normalise=True)
    loader = DataLoader(
        dataset, batch_size=None, num_workers=workers, persistent_workers=True, multiprocessing_context=context
    )
    for epoch in range(2):
        dataset.set_epoch(epoch)
        expected = [dataset[i] for i in range(len(dataset))]
        assert all(equal(a, b) for a, b in zip(loader, expected, strict=True))


def test_datasets_can_be_pickled(made: tuple[Path, Path, Path]) -> None:
    dataset = LCSDataset(made[0], "train", points=DRAW)
    dataset.set_epoch(3)
    copy = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert equal(copy[1], dataset[1])


def test_batches_are_padded_and_masked(made: tuple[Path, Path, Path]) -> None:
    dataset = LCSDataset(made[0], "train", cloud="dense", vessels=True)
    samples = [dataset[0], dataset[1]]
    samples[0]["fixed"] = samples[0]["fixed"][:-7]
    batch = collate(samples)
    assert batch["case"] == dataset.cases
    for key in ("fixed", "moving", "correspondences", "landmarks"):
        for row, sample in enumerate(samples):
            mask = batch[f"{key}_mask"][row]
            assert mask.shape == batch[key].shape[1:2]
            assert torch.equal(batch[key][row][mask], sample[key])
            assert not batch[key][row][~mask].any()
    assert not batch["fixed_mask"].all()
    assert batch["fixed_vessels"].shape == (2, *samples[0]["fixed_vessels"].shape)
    samples[1]["fixed_vessels"] = samples[1]["fixed_vessels"][:, 1:]
    with pytest.raises(BadInputError, match="mixed_grids"):
        collate(samples)


def test_landmarks_are_padded_too(made: tuple[Path, Path, Path]) -> None:
    batch = collate([LCSDataset(made[0], "test")[0], LCSDataset(made[0], "train")[0]])
    assert batch["landmarks"].shape == (2, LANDMARKS, 2, 3)
    assert batch["landmarks_mask"].sum(dim=1).tolist() == [LANDMARKS, 0]


def test_errors_say_what_is_wrong(made: tuple[Path, Path, Path], tmp_path: Path) -> None:
    def code(*arguments: object, **options: object) -> str:
        with pytest.raises(BadInputError) as caught:
            LCSDataset(*arguments, **options)[0]  # type: ignore[arg-type]
        return caught.value.code

    results, manifest = make_build(tmp_path, ("a1", "c3"))
    assert code(tmp_path / "none", "train") == "missing_folder"
    assert code(results, "train") == "missing_manifest"
    assert code(made[0], "val") == "bad_value"
    assert code(made[0], "train", cloud="thin") == "bad_value"
    for points in (0, 1.5, True, "9"):
        assert code(made[0], "train", points=points) == "bad_value"
    write_release(results, manifest, tmp_path / "out", ReleaseSettings(archive=False))
    assert code(tmp_path / "out", "train", images=True) == "missing_file"
    fail_gate(results, "c3", "inside")
    assert code(results, "test", manifest=manifest) == "empty_split"
    cloud = next((tmp_path / "out" / "cloudsTr").glob("*_0000_sparse.npz"))
    cloud.write_bytes(b"broken")
    assert code(tmp_path / "out", "train") == "truncated_file"
    label = next((tmp_path / "out" / "labelsTr").glob("*_0000.nii.gz"))
    label.write_bytes(b"broken")
    assert code(tmp_path / "out", "train", normalise=True) == "truncated_file"
    label.unlink()
    assert code(tmp_path / "out", "train", normalise=True) == "missing_file"


@pytest.mark.slow
def test_only_the_dataset_loads_torch() -> None:
    assert lcsd.LCSDataset is LCSDataset
    script = "import sys, lcsd; assert 'torch' not in sys.modules; lcsd.LCSDataset"
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.slow
def test_the_training_loop_of_the_documentation_runs(
    made: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    (tmp_path / "results").symlink_to(made[1])
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for block in (part for part in blocks[1:] if "with_monai" not in part):  # test_adapters.py runs that one
        exec(block, space)  # noqa: S102
    assert float(space["loss"].detach()) > 0  # type: ignore[attr-defined]
    assert 0 < float(space["tre_mm"]) < 100  # type: ignore[arg-type]


def cases_of(release: Path, part: str, seed: int) -> set[str]:
    """The cases of a part; none if it is empty."""
    try:
        return set(LCSDataset(release, part, validation=0.5, seed=seed).cases)
    except BadInputError as error:
        if error.code != "empty_split":
            raise
        return set()


def test_validation_cases_come_from_training_and_stay_where_they_are(made: tuple[Path, Path, Path]) -> None:
    release = made[0]
    whole = set(LCSDataset(release, "train").cases)
    for seed in range(20):
        train, validation = (cases_of(release, part, seed) for part in ("train", "validation"))
        assert train | validation == whole
        assert not train & validation
    with pytest.raises(BadInputError, match="no case"):
        LCSDataset(release, "validation")
    with pytest.raises(BadInputError, match="not a share"):
        LCSDataset(release, "train", validation=1.0)


def test_transform_draws_by_seed_epoch_and_case(made: tuple[Path, Path, Path]) -> None:
    def draw(seed: int, epoch: int) -> torch.Tensor:
        dataset = LCSDataset(made[0], "test", vessels=True, transform=Augment(jitter_mm=1.0), seed=seed)
        dataset.set_epoch(epoch)
        return dataset[0]["fixed"]

    assert torch.equal(draw(0, 0), draw(0, 0))
    assert not torch.equal(draw(0, 0), draw(0, 1))
    assert not torch.equal(draw(0, 0), draw(1, 0))


def test_attributes_belong_to_the_drawn_points(made: tuple[Path, Path, Path]) -> None:
    whole = LCSDataset(made[0], "train", cloud="dense", attributes=True)[0]
    drawn = LCSDataset(made[0], "train", cloud="dense", attributes=True, points=DRAW)[0]
    known = [key for key in whole if key.startswith("fixed_")]
    assert known
    rows = [int((whole["fixed"] == point).all(dim=1).nonzero()[0]) for point in drawn["fixed"]]
    for key in known:
        assert torch.equal(drawn[key], whole[key][rows])
    assert not [key for key in LCSDataset(made[0], "train", cloud="dense")[0] if key.endswith("radius")]
