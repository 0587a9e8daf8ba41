"""Fields and transforms that mean something else than they are read as: refused with the better reading, or right."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import zoom

from lcsd.cli.evaluate import command
from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, read_field, write_field
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.names import FieldReading
from lcsd.readings.motion import FIELD_READINGS, MEANINGS
from tests.grids import GRIDS

GRID = Grid((34, 30, 26), (4.0, 5.0, 6.0), (-140.0, -310.0, 90.0), (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0))
RIGID = RigidTransform(np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]), np.array([-190.0, -210.0, 20.0]))


def places(grid: Grid) -> np.ndarray:
    """Return LPS mm of all voxels, shape (z, y, x, 3)."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    return grid.voxel_to_world(np.stack([x, y, z], axis=-1).astype(np.float64))


def breathing(points: np.ndarray, grid: Grid, size: float = 14.0) -> np.ndarray:
    """Return a smooth motion in mm: strongest at the feet, some of it forwards and sideways."""
    low, high = grid.corners().min(axis=0), grid.corners().max(axis=0)
    x, y, z = np.moveaxis((points - low) / (high - low), -1, 0)
    return size * np.stack(
        [0.25 * np.sin(3 * x + z), -0.45 * (0.3 + y) * (1 - z), (1.2 - z) * (0.6 + 0.4 * y)], axis=-1
    )


def landmarks(grid: Grid, count: int = 60, noise: float = 0.7, size: float = 14.0, seed: int = 0) -> PointPairs:
    rng = np.random.default_rng(seed)
    fixed = grid.voxel_to_world(rng.uniform(0.1, 0.9, (count, 3)) * (np.asarray(grid.size) - 1))
    return PointPairs(fixed, fixed + breathing(fixed, grid, size) + rng.normal(0, noise, (count, 3)))


def stored(reading: str, motion: np.ndarray, at: np.ndarray, grid: Grid) -> np.ndarray:
    """Return the vectors that mean ``motion`` under a reading; written out apart from the code under test."""
    ras = np.array([-1, -1, 1])
    shown = at + motion if reading.startswith("positions") else motion
    kind = reading.removeprefix("positions").removeprefix("-")
    if kind.startswith(("voxel", "normalised", "unit")):
        relative = shown - np.asarray(grid.origin) if reading.startswith("positions") else shown
        shown = relative @ np.linalg.inv(grid.matrix * np.asarray(grid.spacing)).T
    if kind.startswith("unit"):
        shown = shown / (np.asarray(grid.size) - 1)
    elif kind.startswith("normalised-corners"):
        shown = shown * 2 / (np.asarray(grid.size) - 1) - reading.startswith("positions")
    elif kind.startswith("normalised"):
        shown = shown * 2 / np.asarray(grid.size)
        if reading.startswith("positions"):
            shown = shown + 1 / np.asarray(grid.size) - 1
    by_kind = {"negated": -shown, "ras": shown * ras, "m": shown / 1000}
    return by_kind.get(kind, shown[..., ::-1] if kind.endswith("zyx") else shown)


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [*map(str, arguments), "--json"])


@pytest.mark.slow
@pytest.mark.parametrize("reading", FIELD_READINGS)
def test_vectors_of_every_meaning(tmp_path: Path, reading: FieldReading) -> None:
    """FireANTs 1, SIRF 673 (positions), voxelmorph 328 (voxels), gdl-fire-4d 3 (z, y, x), airlab 31 (normalised)."""
    at = places(GRID)
    vectors = stored(reading, breathing(at, GRID), at, GRID).astype(np.float32)
    write_field(tmp_path / "field.nii.gz", DisplacementField(vectors, GRID))
    write_point_pairs(tmp_path / "l.csv", landmarks(GRID))
    files = ("--landmarks", tmp_path / "l.csv", "--field", tmp_path / "field.nii.gz")
    plain = run(*files)
    if reading == "displacement":
        assert plain.exit_code == 0
    else:
        assert plain.exit_code == 2
        assert "[wrong_field]" in plain.output
        assert plain.output.rstrip().endswith(f"--field-as {reading} [wrong_field]")
    right = run(*files, "--field-as", reading)
    assert right.exit_code == 0, right.output
    assert '"tre_mean_mm": 1.' in right.output


def write_disp(path: Path, vectors: np.ndarray) -> None:
    """Write vectors (z, y, x, 3) of the grid as Learn2Reg's file (X, Y, Z, 3)."""
    nibabel.save(nibabel.Nifti1Image(vectors.transpose(2, 1, 0, 3), GRID.affine_ras()), path)


@pytest.mark.slow
@pytest.mark.parametrize("reading", FIELD_READINGS)
def test_learn2reg_fields_of_every_meaning(tmp_path: Path, reading: str) -> None:
    """As above for Learn2Reg's files, whose negated vectors are voxels. A wrong name is answered by the right one."""
    at = places(GRID)
    opposite = reading == "negated"
    vectors = (-1 if opposite else 1) * stored("voxel" if opposite else reading, breathing(at, GRID), at, GRID)
    write_disp(tmp_path / "disp_0001_0002.nii.gz", vectors.astype(np.float32))
    write_point_pairs(tmp_path / "l.csv", landmarks(GRID))
    files = ("--landmarks", tmp_path / "l.csv", "--disp", tmp_path / "disp_0001_0002.nii.gz")
    for named in ([], ["--field-as", "ras" if reading == "zyx" else "zyx"]):
        other = run(*files, *named)
        if not named and reading == "voxel":
            assert other.exit_code == 0, other.output
            continue
        assert other.exit_code == 2
        assert other.output.rstrip().endswith(f"--field-as {reading} [wrong_field]"), other.output
    right = run(*files, "--field-as", reading)
    assert right.exit_code == 0, right.output
    assert '"tre_mean_mm": 1.' in right.output


def test_every_meaning_has_words() -> None:
    assert set(MEANINGS) == set(FIELD_READINGS)


@pytest.mark.parametrize("reading", ["positions", "positions-voxel", "ras", "zyx"])
def test_a_plain_field_is_not_read_in_another_way(tmp_path: Path, reading: str) -> None:
    at = places(GRID)
    write_field(tmp_path / "field.nii.gz", DisplacementField(breathing(at, GRID).astype(np.float32), GRID))
    write_point_pairs(tmp_path / "l.csv", landmarks(GRID))
    result = run(*("--landmarks", tmp_path / "l.csv", "--field", tmp_path / "field.nii.gz", "--field-as", reading))
    assert result.exit_code == 2
    assert "[wrong_field]" in result.output


def test_the_option_is_for_fields(tmp_path: Path) -> None:
    write_point_pairs(tmp_path / "l.csv", landmarks(GRID))
    result = run("--landmarks", tmp_path / "l.csv", "--correspondences", tmp_path / "l.csv", "--field-as", "zyx")
    assert (result.exit_code, "[bad_option]" in result.output) == (2, True)


def refused(code: str, pairs: PointPairs, **result: object) -> str:
    with pytest.raises(BadInputError) as caught:
        evaluate_tre(pairs, **result)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value.message
    return caught.value.message


def truth(size: float = 14.0, grid: Grid = GRID) -> DisplacementField:
    return DisplacementField(breathing(places(grid), grid, size).astype(np.float32), grid)


def exchanged(pairs: PointPairs) -> PointPairs:
    return PointPairs(pairs.moving, pairs.fixed)


def test_the_other_direction() -> None:
    """SimpleElastix 364, drop2 2: transforms map fixed points to moving ones."""
    message = refused("wrong_direction", exchanged(landmarks(GRID, size=30.0)), field=truth(30.0))
    assert "--field" in message


@pytest.mark.parametrize("size", [2.0, 10.0])
def test_correspondences_with_exchanged_columns(size: float) -> None:
    pairs = landmarks(GRID, noise=0.1 * size / 2, size=size)
    known = landmarks(GRID, count=200, noise=0, size=size, seed=5)
    assert evaluate_tre(pairs, correspondences=known).tre.mean() < size / 4
    refused("wrong_direction", pairs, correspondences=exchanged(known))


def test_transforms_of_the_other_direction_and_frame() -> None:
    pairs = landmarks(GRID)
    image = sitk.GetImageFromArray(truth().vectors.astype(np.float64), isVector=True)
    image.SetOrigin(GRID.origin)
    image.SetSpacing(GRID.spacing)
    image.SetDirection(GRID.direction)
    assert evaluate_tre(pairs, transform=sitk.DisplacementFieldTransform(image)).tre.mean() < 2
    shift = sitk.TranslationTransform(3, (2.0, -3.0, 11.0))
    fixed = pairs.fixed
    noise = np.random.default_rng(0).normal(0, 0.5, fixed.shape)
    moved = PointPairs(fixed, fixed + np.array([2.0, -3.0, 11.0]) + noise)
    assert evaluate_tre(moved, transform=shift).tre.mean() < 2
    refused("wrong_direction", moved, transform=shift.GetInverse())
    turn = sitk.AffineTransform(3)
    turn.SetTranslation((20.0, 15.0, 2.0))
    other = PointPairs(fixed, fixed + np.array([-20.0, -15.0, 2.0]))
    refused("wrong_direction", other, transform=turn)


def test_landmarks_of_the_other_space() -> None:
    pairs = landmarks(GRID)
    native = PointPairs(pairs.fixed, RIGID.apply(pairs.moving))
    assert evaluate_tre(native, field=truth(), rigid=RIGID).tre.mean() < 2
    small = RigidTransform(np.eye(3), np.array([12.0, 9.0, -25.0]))
    message = refused("wrong_frame", pairs, field=truth(), rigid=small)
    assert "--landmarks-frame common" in message
    near = PointPairs(pairs.fixed, small.apply(pairs.moving))
    assert "--landmarks-frame native" in refused(
        "wrong_frame", near, field=truth(), rigid=small, landmarks_frame="common"
    )
    assert "inverse" in refused("wrong_frame", near, field=truth(), rigid=small.inverse())


def test_landmarks_in_another_frame_without_a_mask() -> None:
    grid = Grid((40, 40, 40), (5.0, 5.0, 5.0), (-100.0, -100.0, -100.0))
    pairs = landmarks(grid)
    flip = np.array([-1, -1, 1])
    ras = PointPairs(pairs.fixed * flip, pairs.moving * flip)
    assert "--frame ras" in refused("wrong_frame", ras, field=truth(grid=grid))


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(GRIDS)),
    size=st.floats(0.0, 35.0),
    part=st.floats(0.0, 1.4),
    noise=st.floats(0.0, 6.0),
    count=st.integers(1, 60),
    seed=st.integers(0, 99),
)
def test_a_good_or_bad_registration_is_no_other_reading(
    name: str, size: float, part: float, noise: float, count: int, seed: int
) -> None:
    """Small motions, motions that a method misses or exceeds, and unsure landmarks are scored."""
    grid = GRIDS[name]
    vectors = part * breathing(places(grid), grid, size)
    pairs = landmarks(grid, count, noise, size, seed)
    near = PointPairs(pairs.fixed, pairs.moving)
    evaluate_tre(near, field=DisplacementField(vectors.astype(np.float32), grid))


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(sorted(GRIDS)), count=st.integers(1, 60), seed=st.integers(0, 999), wild=st.floats(0, 10))
def test_a_registration_without_any_relation_is_no_other_reading(name: str, count: int, seed: int, wild: float) -> None:
    grid = GRIDS[name]
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, wild, (*[max(n // 8, 2) for n in grid.shape], 3))
    field = zoom(coarse, (*np.array(grid.shape) / coarse.shape[:3], 1), order=1).astype(np.float32)
    pairs = landmarks(grid, count, 1.0, 3.0, seed)
    evaluate_tre(pairs, field=DisplacementField(field, grid))


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("displacement field type:=modeling", "displacement field type"),
        ("measurement frame: (-1,0,0) (0,-1,0) (0,0,1)", "measurement frame"),
        ("displacement field type:=resampling", None),
        ("measurement frame: (1,0,0) (0,1,0) (0,0,1)", None),
    ],
)
def test_vectors_that_a_nrrd_turns_around_are_refused(line: str, field: str | None, tmp_path: Path) -> None:
    """Slicer/Slicer 8757: the same vectors may lead either way, and only a key of the header says which."""
    vectors = breathing(places(GRID), GRID).astype(np.float32)
    image = sitk.GetImageFromArray(vectors, isVector=True)
    sitk.WriteImage(image, str(tmp_path / "field.nrrd"))
    content = (tmp_path / "field.nrrd").read_bytes()
    header, _, rest = content.partition(b"\n\n")
    (tmp_path / "field.nrrd").write_bytes(header + b"\n" + line.encode() + b"\n\n" + rest)
    if field is None:
        np.testing.assert_array_equal(read_field(tmp_path / "field.nrrd").vectors, vectors)
        return
    with pytest.raises(BadInputError) as caught:
        read_field(tmp_path / "field.nrrd")
    assert (caught.value.code, caught.value.field) == ("no_geometry", field)
