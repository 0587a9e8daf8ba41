"""Transforms in the wrong order or direction, or given twice: refused, or named where only the images can tell."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from lcsd.build.provenance import Recorder
from lcsd.cli.landmarks import command as landmarks
from lcsd.cli.warp import command
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, read_field, write_field
from lcsd.io.images import Image, read_image, write_image, write_rigid
from lcsd.io.points import PointPairs, read_point_pairs, write_point_pairs
from lcsd.names import FieldReading
from lcsd.readings.motion import FIELD_READINGS, SCALED, write_as
from lcsd.transforms.order import check_field

GRID = Grid((40, 36, 34), (6.0, 6.0, 7.0), (-120.0, -320.0, 90.0))
NATIVE = Grid((46, 42, 40), (5.5, 5.5, 6.5), (-130.0, -330.0, 80.0))
ANGLE = np.deg2rad(9.0)
TURN = np.array([[np.cos(ANGLE), -np.sin(ANGLE), 0.0], [np.sin(ANGLE), np.cos(ANGLE), 0.0], [0.0, 0.0, 1.0]])
MIDDLE = np.array([0.0, -215.0, 205.0])
RIGID = RigidTransform(TURN, MIDDLE - TURN @ MIDDLE + np.array([4.0, -9.0, 14.0]))
"""A small rigid step: all of the grid stays inside the field, whichever comes first."""


def places(grid: Grid) -> np.ndarray:
    """Return LPS mm of all voxels, shape (z, y, x, 3)."""
    z, y, x = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    return grid.voxel_to_world(np.stack([x, y, z], axis=-1).astype(np.float64))


def breath(points: np.ndarray) -> np.ndarray:
    """Return a smooth motion of up to 30 mm, mm."""
    x, y, z = np.moveaxis((points - MIDDLE) / 110, -1, 0)
    return np.stack(
        [9 * np.sin(2 * x + z), -12 * (1 - z) * (0.6 + 0.3 * y), 22 * np.cos(1.6 * z) * (1 - 0.4 * x)], axis=-1
    )


def follow_up(points: np.ndarray) -> np.ndarray:
    """Return the HU of the follow-up scan at points of its own space: a body with structures of about 15 mm, in air."""
    x, y, z = np.moveaxis(points - RIGID.apply(MIDDLE[None])[0], -1, 0)
    texture = np.sin(x / 9) * np.cos(y / 11) + np.sin(z / 10 + y / 14) * np.cos(x / 17)
    return np.where((x / 105) ** 2 + (y / 95) ** 2 < 1, -600 + 250 * texture, -1024)


@dataclass(frozen=True)
class Files:
    """A case: transforms and scans."""

    folder: Path

    def __getitem__(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write a field, the rigid step, the scans, and landmarks of both scans in their own spaces."""
    made = Files(tmp_path)
    at = places(GRID)
    motion = breath(at)
    write_field(made["field.nii.gz"], DisplacementField(motion.astype(np.float32), GRID))
    write_rigid(made["rigid.tfm"], RIGID)
    scans = {
        "baseline.nii.gz": (GRID, RIGID.apply((at + motion).reshape(-1, 3)).reshape(at.shape)),
        "common.nii.gz": (GRID, RIGID.apply(at.reshape(-1, 3)).reshape(at.shape)),
        "followup.nii.gz": (NATIVE, places(NATIVE)),
    }
    for name, (grid, points) in scans.items():
        write_image(made[name], Image(np.rint(follow_up(points)).astype(np.int16), grid), dtype=np.int16)
    fixed = MIDDLE + np.random.default_rng(4).uniform(-60, 60, (20, 3))
    noise = np.random.default_rng(5).normal(0, 0.5, fixed.shape)
    write_point_pairs(made["landmarks.csv"], PointPairs(fixed, RIGID.apply(fixed + breath(fixed)) + noise))
    return made


def run(source: Path, *transforms: Path, options: tuple[object, ...] = ()) -> Result:
    named = [text for path in transforms for text in ("--transform", str(path))]
    output = source.with_name("out" + "".join(source.suffixes[-2:]))
    return CliRunner().invoke(command, [str(source), str(output), *named, *map(str, options)])


def test_the_right_order_says_nothing(files: Files) -> None:
    right = files["field.nii.gz"], files["rigid.tfm"]
    for reference in ("baseline.nii.gz", "common.nii.gz"):
        result = run(files["followup.nii.gz"], *right, options=("--reference", files[reference]))
        assert (result.exit_code, "warning" in result.stderr) == (0, reference != "baseline.nii.gz")
    result = run(files["landmarks.csv"], *right)
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "options", "words"),
    [
        (("rigid.tfm", "field.nii.gz"), (), "in the order field.nii.gz, rigid.tfm"),
        (("field.nii.gz", "rigid.tfm"), ("--from", "fixed"), "in the other direction"),
    ],
)
def test_images_tell_order_and_direction(
    files: Files, names: tuple[str, ...], options: tuple[str, ...], words: str
) -> None:
    """Order: fmriprep 396 and 3237, mriqc 431, ANTs 772. Direction: ANTs 1056, ANTsPy 374. Nothing else told them."""
    result = run(
        files["followup.nii.gz"],
        *[files[name] for name in names],
        options=(*options, "--reference", files["baseline.nii.gz"]),
    )
    assert result.exit_code == 0
    assert f"warning: the image fits {files['baseline.nii.gz']} better {words}" in result.stderr


def test_images_tell_an_inverse_field(files: Files) -> None:
    """SCT 419, ANTs 1056: the field of the other direction under the name of the field."""
    field = read_field(files["field.nii.gz"])
    write_field(files["inverse.nii.gz"], DisplacementField(-field.vectors, field.grid))
    result = run(files["common.nii.gz"], files["inverse.nii.gz"], options=("--reference", files["baseline.nii.gz"]))
    assert "better in the other direction" in result.stderr


def test_images_tell_a_step_too_many(files: Files) -> None:
    """The follow-up on the common grid has gone through the rigid step."""
    result = run(
        files["common.nii.gz"],
        files["field.nii.gz"],
        files["rigid.tfm"],
        options=("--reference", files["baseline.nii.gz"]),
    )
    assert "better without rigid.tfm" in result.stderr


def test_other_images_tell_nothing(files: Files) -> None:
    """Masks, and images of another modality, are no evidence."""
    reference = read_image(files["baseline.nii.gz"])
    write_image(files["mask.nii.gz"], Image((reference.array > -600).astype(np.uint8), GRID), dtype=np.uint8)
    for source, other in (("mask.nii.gz", "baseline.nii.gz"), ("followup.nii.gz", "mask.nii.gz")):
        result = run(files[source], files["rigid.tfm"], files["field.nii.gz"], options=("--reference", files[other]))
        assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("names", "options", "code"),
    [
        (("rigid.tfm", "field.nii.gz"), (), "wrong_order"),
        (("inverse.nii.gz",), (), "wrong_direction"),
        (("inverse.nii.gz",), ("--inverse",), "wrong_direction"),
    ],
)
def test_landmarks_tell_order_and_direction(
    files: Files, names: tuple[str, ...], options: tuple[str, ...], code: str
) -> None:
    """ANTs 531 (order at points), SimpleElastix 364 and ITKElastix 292 (direction at points)."""
    field = read_field(files["field.nii.gz"])
    write_field(files["inverse.nii.gz"], DisplacementField(-field.vectors, field.grid))
    if code == "wrong_direction":
        fixed = MIDDLE + np.random.default_rng(4).uniform(-60, 60, (20, 3))
        write_point_pairs(files["landmarks.csv"], PointPairs(fixed, fixed + breath(fixed)))
    result = run(files["landmarks.csv"], *[files[name] for name in names], options=options)
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert not files["out.csv"].exists()


def test_landmarks_of_another_space_are_warped(files: Files) -> None:
    """Landmarks whose moving points are on the common grid say nothing against the rigid step."""
    fixed = MIDDLE + np.random.default_rng(4).uniform(-60, 60, (20, 3))
    write_point_pairs(files["landmarks.csv"], PointPairs(fixed, fixed + breath(fixed)))
    result = run(files["landmarks.csv"], files["field.nii.gz"], files["rigid.tfm"])
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize(
    "names", [("field.nii.gz", "rigid.tfm", "rigid.tfm"), ("field.nii.gz", "again.nii.gz"), ("rigid.tfm", "again.tfm")]
)
def test_a_transform_given_twice(files: Files, names: tuple[str, ...]) -> None:
    """ANTs 1223: files of one registration, of which one holds the other, in a list."""
    files["again.nii.gz"].write_bytes(files["field.nii.gz"].read_bytes())
    files["again.tfm"].write_text(files["rigid.tfm"].read_text() + "\n")
    result = run(files["landmarks.csv"], *[files[name] for name in names])
    assert result.exit_code == 2
    assert "[repeated_transform]" in result.stderr


Make = Callable[[Path], None]


def record(stage: str, output: Path, inputs: dict[str, Path], *others: Path) -> None:
    Recorder(stage, {}, written=others).write(output, inputs=inputs)


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Files]:
    """Return a function that writes a case as a build does, with records; scans hold no evidence."""

    def case(name: str) -> Files:
        made = Files(tmp_path / name)
        for folder in ("images", "registration", "correspondences"):
            (tmp_path / name / folder).mkdir(parents=True)
        seed = sum(map(ord, name))
        for number, image in enumerate(("fixed", "moving")):
            array = np.random.default_rng(seed + number).integers(0, 400, GRID.shape).astype(np.int16)
            write_image(made[f"images/{image}.nii.gz"], Image(array, GRID), dtype=np.int16)
        write_image(made["native.nii.gz"], read_image(made["images/moving.nii.gz"]), dtype=np.int16)
        write_rigid(made["images/rigid.tfm"], RIGID)
        made["images/prealign.json"].write_text("{}")
        images = [made[f"images/{part}"] for part in ("fixed.nii.gz", "moving.nii.gz", "rigid.tfm")]
        record("prealign", made["images/prealign.json"], {}, *images)
        motion = breath(places(GRID)).astype(np.float32)
        for number, (stage, folder, key) in enumerate(
            (("register", "registration", "grid"), ("correspond", "correspondences", "fixed"))
        ):
            write_field(made[f"{folder}/field.nii.gz"], DisplacementField(motion * (1 - 0.1 * number), GRID))
            made[f"{folder}/result.json"].write_text("{}")
            record(stage, made[f"{folder}/result.json"], {key: images[0]}, made[f"{folder}/field.nii.gz"])
        return made

    return case


DIVROC, CORRFIELD, STEP = "registration/field.nii.gz", "correspondences/field.nii.gz", "images/rigid.tfm"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transforms", "source", "code"),
    [
        (("a/" + DIVROC, "a/" + STEP), "a/native.nii.gz", None),
        (("a/" + STEP,), "a/native.nii.gz", None),
        (("a/" + STEP, "b/" + DIVROC, "b/" + STEP), "a/native.nii.gz", None),
        (("a/" + STEP, "a/" + DIVROC), "a/native.nii.gz", "wrong_order"),
        (("a/" + STEP, "a/" + CORRFIELD), "a/native.nii.gz", "wrong_order"),
        (("a/" + DIVROC, "a/" + CORRFIELD), "a/native.nii.gz", "repeated_transform"),
        (("a/" + DIVROC, "b/" + STEP), "a/native.nii.gz", "mixed_cases"),
        (("a/" + DIVROC, "a/" + STEP), "a/images/moving.nii.gz", "warped_already"),
        (("a/" + DIVROC,), "a/images/moving.nii.gz", None),
    ],
)
def test_records_of_a_build_tell(
    tmp_path: Path, build: Callable[[str], Files], transforms: tuple[str, ...], source: str, code: str | None
) -> None:
    """SCT 414 and 418, NMT 10: an order that each step of a program must know, and that its files do not say."""
    build("a")
    build("b")
    if "b/" + STEP in transforms:
        other = RigidTransform(TURN, np.array([1.0, 2.0, 3.0]))
        write_rigid(tmp_path / "b" / STEP, other)
        images = [tmp_path / "b" / "images" / part for part in ("fixed.nii.gz", "moving.nii.gz", "rigid.tfm")]
        record("prealign", tmp_path / "b/images/prealign.json", {}, *images)
        field = read_field(tmp_path / "b" / DIVROC)
        write_field(tmp_path / "b" / DIVROC, DisplacementField(field.vectors * 0.8, GRID))
        record("register", tmp_path / "b/registration/result.json", {"grid": images[0]}, tmp_path / "b" / DIVROC)
    result = run(
        tmp_path / source,
        *[tmp_path / name for name in transforms],
        options=("--reference", tmp_path / "a/native.nii.gz"),
    )
    assert result.exit_code == (0 if code is None else 2), result.output
    assert code is None or f"[{code}]" in result.stderr
    assert code is not None or "better" not in result.stderr


def test_a_record_of_other_bytes_tells_nothing(tmp_path: Path, build: Callable[[str], Files]) -> None:
    made = build("a")
    write_rigid(made[STEP], RigidTransform(TURN, np.array([1.0, 2.0, 3.0])))
    result = run(made["native.nii.gz"], made[STEP], made[DIVROC], options=("--reference", made["native.nii.gz"]))
    assert result.exit_code == 0


def test_labels_are_not_mixed_in_silence(files: Files) -> None:
    """SCT 4280, voxelmorph 160: a label map, linearly interpolated."""
    z = np.arange(NATIVE.size[2])[:, None, None]
    labels = np.broadcast_to(np.array([0, 4, 1, 7])[z // 10], NATIVE.shape).astype(np.uint8)
    write_image(files["lobes.nii.gz"], Image(labels, NATIVE), dtype=np.uint8)
    transforms = files["field.nii.gz"], files["rigid.tfm"]
    mixed = run(files["lobes.nii.gz"], *transforms, options=("--interpolation", "linear"))
    assert "--interpolation linear mixes its labels" in mixed.stderr
    assert not set(np.unique(read_image(files["out.nii.gz"]).array)) <= {0, 1, 4, 7}
    whole = run(files["lobes.nii.gz"], *transforms)
    assert (whole.exit_code, whole.stderr) == (0, "")
    assert set(np.unique(read_image(files["out.nii.gz"]).array)) <= {0, 1, 4, 7}


def test_a_field_of_positions_is_refused(files: Files) -> None:
    """FireANTs 1, SIRF 673: positions where displacements are expected."""
    at = places(GRID)
    write_field(files["field.nii.gz"], DisplacementField((at + breath(at)).astype(np.float32), GRID))
    result = run(files["followup.nii.gz"], files["field.nii.gz"])
    assert result.exit_code == 2
    assert "[wrong_field]" in result.stderr
    assert "positions in LPS mm" in result.stderr


PROPOSE = ("--count", 8, "--method", "other")


def propose(files: Files, *options: object) -> Result:
    call = [files["baseline.nii.gz"], files["common.nii.gz"], "--fixed-mask", files["mask.nii.gz"], *options]
    return CliRunner().invoke(landmarks, ["propose", *map(str, call), "--out-dir", str(files["proposal"])])


@pytest.mark.slow
@pytest.mark.parametrize("reading", [reading for reading in FIELD_READINGS if reading not in SCALED])
def test_images_tell_what_vectors_are(files: Files, reading: FieldReading) -> None:
    """voxelmorph 328, FireANTs 1, airlab 31: a field of other vectors beside the scans that it registers."""
    field, scans = (
        read_field(files["field.nii.gz"]),
        [read_image(files[f"{name}.nii.gz"]) for name in ("common", "baseline")],
    )
    check_field(field, "displacement", *scans)
    stored = write_as(field, reading)
    with pytest.raises(BadInputError) as caught:
        check_field(stored, "displacement", *scans)
    assert (caught.value.code, caught.value.remedy) == ("wrong_field", f"if it is so, give --field-as {reading}")
    check_field(stored, reading, *scans)


def test_landmarks_are_not_proposed_by_a_field_of_the_other_sign(files: Files) -> None:
    """FireANTs 1: matches and their doubts were written, exit 0."""
    baseline, field = read_image(files["baseline.nii.gz"]), read_field(files["field.nii.gz"])
    write_image(files["mask.nii.gz"], Image((baseline.array > -950).astype(np.uint8), GRID), dtype=np.uint8)
    write_field(files["negated.nii.gz"], DisplacementField(-field.vectors, GRID))
    wrong = propose(files, "--field", files["negated.nii.gz"], *PROPOSE)
    assert (wrong.exit_code, "--field-as negated [wrong_field]" in wrong.stderr) == (2, True), wrong.stderr
    assert not files["proposal"].exists()
    right = propose(files, "--field", files["negated.nii.gz"], "--field-as", "negated", *PROPOSE)
    assert right.exit_code == 0, right.output
    found = read_point_pairs(files["proposal"] / "proposal.csv")
    np.testing.assert_allclose(found.moving, found.fixed + breath(found.fixed), atol=0.5)
