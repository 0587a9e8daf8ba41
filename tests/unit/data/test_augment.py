"""Augmentation: one change for points, pairs, landmarks and volumes, invertible, repeatable, and nothing else."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from lcsd.data import Augment, collate
from lcsd.data.augment import Deformation, Pose
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from tests.grids import GRIDS

SIZE = (60, 52, 44)
SHIFT = np.array([4.0, -3.0, 2.0])


def grid_of(name: str) -> Grid:
    return Grid(SIZE, (3.0, 3.0, 3.0), (-30.0, 12.5, -700.0), GRIDS[name].direction)


def to_mm(grid: Grid) -> np.ndarray:
    world = grid.normalised_to_world(np.vstack([np.zeros(3), np.eye(3)]))
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = (world[1:] - world[0]).T, world[0]
    return matrix


def make_sample(name: str = "oblique", *, normalised: bool = False) -> dict[str, object]:
    """A pair that is shifted by SHIFT, with a smooth scan on the grid."""
    grid, rng = grid_of(name), np.random.default_rng(0)
    fixed = grid.voxel_to_world(rng.uniform(12, np.array(SIZE) - 12, (400, 3)))
    place = to_mm(grid) if normalised else np.eye(4)

    def own(points: np.ndarray) -> torch.Tensor:
        back = np.linalg.inv(place)
        return torch.from_numpy((points @ back[:3, :3].T + back[:3, 3]).astype(np.float32))

    pairs = torch.stack([own(fixed[:60]), own(fixed[:60] + SHIFT)], dim=1)
    z, y, x = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    image = (-700 + 200 * np.sin(x / 6) * np.cos(y / 7) + 100 * np.sin(z / 5)).astype(np.float32)
    vessels = (image > -600).astype(np.uint8)
    return {
        "case": "a",
        "fixed": own(fixed),
        "moving": own(fixed + SHIFT),
        "fixed_radius": torch.arange(400, dtype=torch.float32),
        "moving_label": torch.arange(400).to(torch.uint8),
        "correspondences": pairs,
        "landmarks": pairs[:7],
        "to_mm": torch.from_numpy(place),
        "grid_to_mm": torch.from_numpy(to_mm(grid)),
        "fixed_image": torch.from_numpy(image)[None],
        "moving_image": torch.from_numpy(image)[None],
        "fixed_vessels": torch.from_numpy(vessels)[None],
        "moving_vessels": torch.from_numpy(vessels)[None],
    }


def mm(sample: dict[str, object], points: torch.Tensor) -> np.ndarray:
    place = sample["to_mm"].numpy()
    return points.numpy().astype(float) @ place[:3, :3].T + place[:3, 3]


def at(volume: torch.Tensor, grid: Grid, points: np.ndarray) -> np.ndarray:
    return map_coordinates(volume[0].numpy().astype(float), grid.world_to_voxel(points)[:, ::-1].T, order=1)


STRONG = Augment(25, 0.1, 10, deformation_mm=15, moving_deformation_mm=15, deformation_width_mm=25)
ALL = Augment(rotation_deg=10, scale=0.1, shift_mm=6, deformation_mm=6, moving_deformation_mm=6)


@pytest.mark.slow
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("name", ["lps", "ras", "oblique", "permuted"])
def test_volumes_move_as_points_do(name: str, normalised: bool) -> None:
    sample = make_sample(name, normalised=normalised)
    made = STRONG(sample, np.random.default_rng(1))
    grid = grid_of(name)
    for scan in ("fixed", "moving"):
        before, after = mm(sample, sample[scan]), mm(sample, made[scan])
        assert np.linalg.norm(after - before, axis=1).mean() > 2
        inside = grid.contains(after) & grid.contains(before)
        assert inside.mean() > 0.9
        seen = at(made[f"{scan}_image"], grid, after[inside]) - at(sample[f"{scan}_image"], grid, before[inside])
        assert np.abs(seen).mean() < 0.7  # HU; a wrong order of the inverse steps gives 1.7
        assert made[f"{scan}_vessels"].dtype == torch.uint8
        assert set(made[f"{scan}_vessels"].unique().tolist()) <= {0, 1}


@pytest.mark.slow
def test_pairs_stay_with_their_clouds() -> None:
    sample = make_sample()
    made = ALL(sample, np.random.default_rng(2))
    for column, scan in enumerate(("fixed", "moving")):
        torch.testing.assert_close(made["correspondences"][:, column], made[scan][:60], atol=1e-3, rtol=0)
        torch.testing.assert_close(made["landmarks"][:, column], made[scan][:7], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_both_scans_move_together_unless_the_moving_one_deforms_alone() -> None:
    sample = make_sample()
    rigid = Augment(rotation_deg=20, shift_mm=5)(sample, np.random.default_rng(3))
    lengths = (rigid["correspondences"][:, 1] - rigid["correspondences"][:, 0]).norm(dim=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(SHIFT), atol=1e-3)
    alone = Augment(moving_deformation_mm=8)(sample, np.random.default_rng(3))
    torch.testing.assert_close(alone["fixed"], sample["fixed"], atol=1e-4, rtol=0)
    moved = (alone["moving"] - sample["moving"]).norm(dim=1)
    assert 0.1 < float(moved.max()) <= 8.001


@pytest.mark.slow
def test_nothing_asked_changes_nothing() -> None:
    sample = make_sample(normalised=True)
    made = Augment()(sample, np.random.default_rng(0))
    assert made.keys() == sample.keys()
    for key, value in sample.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(made[key], value, atol=2e-3, rtol=1e-5)


@pytest.mark.slow
def test_equal_generators_change_equally_and_the_sample_is_not_touched() -> None:
    sample = make_sample()
    kept = {key: value.clone() for key, value in sample.items() if isinstance(value, torch.Tensor)}
    first, second, third = (ALL(sample, np.random.default_rng(seed)) for seed in (4, 4, 5))
    assert all(torch.equal(first[key], second[key]) for key in kept)
    assert not torch.equal(first["fixed"], third["fixed"])
    assert all(torch.equal(sample[key], value) for key, value in kept.items())


@pytest.mark.slow
def test_dropped_points_take_their_attributes_with_them() -> None:
    sample = make_sample()
    made = Augment(dropout=0.9)(sample, np.random.default_rng(6))
    assert 10 < len(made["fixed"]) < 400
    assert len(made["fixed"]) != len(made["moving"])
    rows = made["fixed_radius"].long()
    torch.testing.assert_close(made["fixed"], sample["fixed"][rows], atol=1e-3, rtol=0)
    assert made["moving_label"].shape == made["moving"].shape[:1]
    torch.testing.assert_close(made["landmarks"], sample["landmarks"], atol=1e-3, rtol=0)


@pytest.mark.slow
def test_jitter_has_its_size_and_leaves_pairs_alone() -> None:
    sample = make_sample(normalised=True)
    made = Augment(jitter_mm=0.5)(sample, np.random.default_rng(7))
    assert (mm(sample, made["fixed"]) - mm(sample, sample["fixed"])).std() == pytest.approx(0.5, rel=0.1)
    torch.testing.assert_close(made["correspondences"], sample["correspondences"], atol=1e-5, rtol=0)


@pytest.mark.slow
def test_changed_samples_make_a_batch() -> None:
    samples = [Augment(dropout=0.5)(make_sample(), np.random.default_rng(seed)) for seed in (1, 2)]
    batch = collate(samples)
    counts = [len(sample["fixed"]) for sample in samples]
    assert batch["fixed_radius"].shape == (2, max(counts))
    assert batch["fixed_mask"].sum(dim=1).tolist() == counts


@pytest.mark.slow
def test_empty_and_single_clouds_pass() -> None:
    sample = make_sample()
    for count in (0, 1):
        few = sample | {key: sample[key][:count] for key in ("fixed", "moving", "fixed_radius", "moving_label")}
        made = Augment(rotation_deg=5, deformation_mm=5, dropout=0.9, jitter_mm=1)(few, np.random.default_rng(0))
        assert len(made["fixed"]) == count


def test_motions_have_inverses_and_do_not_fold() -> None:
    rng = np.random.default_rng(8)
    points = rng.uniform(-100, 100, (500, 3))
    pose = Pose.random(np.ones(3), 25, 0.3, 10, rng)
    np.testing.assert_allclose(pose.inverse(pose(points)), points, atol=1e-9)
    ratio = np.cbrt(np.linalg.det(pose.matrix))
    assert 1 / 1.3 <= ratio <= 1.3
    box = np.array([[-100.0] * 3, [100.0] * 3])
    for width in (10.0, 60.0):
        bumps = Deformation.random(box, 200.0, width, rng)  # far more than its width allows
        np.testing.assert_allclose(bumps.inverse(bumps(points)), points, atol=1e-4)
        slopes = [(bumps(points + step) - bumps(points - step)) / 0.2 for step in 0.1 * np.eye(3)]
        assert np.linalg.det(np.stack(slopes, axis=-1)).min() > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [("rotation_deg", -1.0), ("dropout", 1.0), ("jitter_mm", float("nan")), ("deformation_width_mm", 0.0)],
)
def test_impossible_sizes_are_refused(name: str, value: float) -> None:
    with pytest.raises(BadInputError) as caught:
        Augment(**{name: value})
    assert (caught.value.code, caught.value.field) == ("bad_value", name)
