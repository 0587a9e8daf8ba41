"""Scan conversion: geometry kept, HU right, and every defect refused with its reason."""

import gzip
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner
from pydicom.uid import CTImageStorage

from lcsd.cli.main import main
from lcsd.io.images import Image, read_image, write_image
from lcsd.phantom.dicom import write_study
from lcsd.phantom.scanner import SOFT, Scan
from lcsd.scans.convert import read_scan
from lcsd.settings.convert import ConvertSettings
from tests.grids import GRIDS, _rotation
from tests.series import (
    COLUMNS,
    INTERCEPT,
    ROWS,
    SLICES,
    SPACING,
    STEP,
    UID,
    Change,
    compressed,
    drifting,
    missing,
    moved,
    refused,
    shifted,
    short,
    sideways,
    tilted,
    tiny,
    values,
    write_series,
)


@pytest.mark.parametrize(
    "direction",
    [np.eye(3), _rotation((10, -20, 35)), np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])],
    ids=["axial", "oblique", "sagittal"],
)
def test_series_keeps_geometry_and_hu(tmp_path: Path, direction: np.ndarray) -> None:
    scan = read_scan(write_series(tmp_path / "s", direction=direction))
    grid = scan.image.grid
    assert scan.series_uid == UID
    assert grid.size == (COLUMNS, ROWS, SLICES)
    assert grid.spacing == pytest.approx((SPACING[1], SPACING[0], STEP), abs=1e-5)
    assert grid.origin == pytest.approx((-10, 20, -300), abs=1e-5)
    assert np.allclose(grid.matrix, direction, atol=1e-6)
    assert scan.image.array.dtype == np.int16
    for index in range(SLICES):
        assert (scan.image.array[index] == values(index).astype(int) + INTERCEPT).all()


def test_reversed_stack_is_ordered_along_its_normal(tmp_path: Path) -> None:
    def downwards(part: pydicom.Dataset, index: int) -> None:
        part.ImagePositionPatient = [-10, 20, -300 - index * STEP]

    scan = read_scan(write_series(tmp_path / "s", change=downwards))
    assert scan.image.grid.origin[2] == pytest.approx(-300 - (SLICES - 1) * STEP)
    assert scan.image.array[0, 0, 0] == 500 + SLICES - 1 + INTERCEPT
    assert np.linalg.det(scan.image.grid.matrix) == pytest.approx(1)


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def varied(part: pydicom.Dataset, index: int) -> None:
        if index == 5:
            part.RescaleSlope, part.RescaleIntercept = 0.5, -1100.0
            part.PixelData = (2 * values(index) + 150).tobytes()

    array = read_scan(write_series(tmp_path / "s", change=varied)).image.array
    assert array[4, 5, 5] == 1064 + INTERCEPT
    assert array[5, 5, 5] == 1064 + 75 - 1100


def test_localizers_other_modalities_and_notes_are_left_out(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")

    def localizer(part: pydicom.Dataset, index: int) -> None:
        part.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        part.Rows, part.PixelData = 4, values(0)[:4].tobytes()

    def other(part: pydicom.Dataset, index: int) -> None:
        part.Modality = "PT"

    write_series(folder, change=localizer, count=2, uid=UID, prefix="loc")
    write_series(folder, change=other, uid="1.2.9", prefix="pet")
    write_series(folder, count=3, uid="1.2.8", prefix="dose")
    (folder / "LICENSE.txt").write_text("terms")
    assert read_scan(folder).image.grid.size == (COLUMNS, ROWS, SLICES)


def test_second_reconstruction_must_be_chosen(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s")
    write_series(folder, uid="1.2.5", prefix="sharp")
    assert refused(folder) == "several_series"
    chosen = read_scan(folder, ConvertSettings(series_uid="1.2.5"))
    assert chosen.series_uid == "1.2.5"
    assert refused(folder, series_uid="9.9") == "no_series"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code"),
    [
        (moved({9: -STEP}), "duplicate_slices"),
        (missing, "missing_slices"),
        (moved({9: 0.9}), "uneven_slices"),
        (tilted, "gantry_tilt"),
        (shifted("GantryDetectorTilt", 12.0), "gantry_tilt"),
        (tiny, "mixed_size"),
        (shifted("ImageOrientationPatient", [0, 1, 0, 1, 0, 0], 3), "mixed_orientation"),
        (shifted("PixelSpacing", [0.9, 0.9], 3), "mixed_spacing"),
        (shifted("ImagePositionPatient", None, 3), "missing_geometry"),
        (shifted("PixelSpacing", None), "missing_geometry"),
        (shifted("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]), "bad_geometry"),
        (shifted("ImageOrientationPatient", [1, 0, 0, 0, 1.001, 0]), "bad_geometry"),
        (shifted("PixelSpacing", [0.8, 0], 3), "bad_geometry"),
        (shifted("PixelSpacing", [-0.8, 0.7]), "bad_geometry"),
        (shifted("ImagePositionPatient", [1, 2], 3), "bad_geometry"),
        (shifted("Rows", 0, 3), "bad_geometry"),
        (drifting, "shifted_slices"),
        (sideways, "shifted_slices"),
        (shifted("NumberOfFrames", 2), "multiframe"),
        (shifted("Modality", "MR"), "no_ct"),
        (shifted("RescaleIntercept", 0), "not_hu"),
        (compressed, "unsupported_transfer_syntax"),
        (short, "truncated_file"),
    ],
)
def test_defective_series_is_refused(tmp_path: Path, change: Change, code: str) -> None:
    assert refused(write_series(tmp_path / "s", change=change)) == code


def test_too_few_slices(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", count=19)
    assert refused(folder) == "too_few_slices"
    assert read_scan(folder, ConvertSettings(min_slices=19)).image.grid.size[2] == 19


def test_small_jitter_of_positions_is_accepted(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=moved({9: 0.04}))
    assert read_scan(folder).image.grid.spacing[2] == pytest.approx(STEP)


@pytest.mark.parametrize("keep", [0, 300, -100])
def test_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    folder = write_series(tmp_path / "s")
    victim = folder / "ct005.dcm"
    victim.write_bytes(victim.read_bytes()[:keep])
    assert refused(folder) == "truncated_file"


def test_folder_without_dicom(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    assert refused(tmp_path) == "no_dicom"
    assert refused(tmp_path / "notes.txt") == "unknown_source"
    assert refused(tmp_path / "absent") == "missing_file"


def volume(name: str, shape: tuple[int, int, int] = (24, 26, 28)) -> Image:
    grid = GRIDS[name]
    hu = np.full(shape, -900, np.int16)
    hu[6:18, 6:18, 6:18] = 40
    hu[0, 0, 0] = -2000
    return Image(hu, type(grid)(shape[::-1], grid.spacing, grid.origin, grid.direction))


@pytest.mark.parametrize("name", GRIDS)
def test_nifti_keeps_geometry_and_limits_padding(tmp_path: Path, name: str) -> None:
    path = tmp_path / "ct.nii.gz"
    write_image(path, volume(name), dtype=np.int16)
    scan = read_scan(path)
    assert scan.image.grid.same_as(volume(name).grid)
    assert scan.image.array[0, 0, 0] == -1024
    assert (scan.image.array.ravel()[1:] == volume(name).array.ravel()[1:]).all()


def test_defective_nifti_is_refused(tmp_path: Path) -> None:
    image, path = volume("lps"), tmp_path / "ct.nii.gz"
    write_image(path, Image(image.array + 1024, image.grid), dtype=np.int16)
    path_raw = path.read_bytes()
    shifted_up = np.where(image.array == -2000, 0, image.array + 1024)
    write_image(path, Image(shifted_up, image.grid), dtype=np.int16)
    assert refused(path) == "not_hu"
    path.write_bytes(path_raw)  # padding below zero must not hide shifted values
    assert refused(path) == "not_hu"
    write_image(path, Image(image.array / 1000.0, image.grid), dtype=np.float32)
    assert refused(path) == "not_hu"
    write_image(path, volume("lps", (15, 26, 28)), dtype=np.int16)
    assert refused(path) == "too_few_slices"
    nibabel.save(nibabel.Nifti1Image(np.full((24, 24, 24, 2), -900.0), np.eye(4)), path)
    assert refused(path) == "not_3d"
    bad = np.full((24, 24, 24), -900.0)
    bad[3, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(bad, np.eye(4)), path)
    assert refused(path) == "non_finite"
    write_image(path, image, dtype=np.int16)
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(whole[: len(whole) // 2]))
    assert refused(path) == "truncated_file"


def test_command_leaves_nothing_after_bad_input(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "s", change=missing)
    out = tmp_path / "out" / "ct.nii.gz"
    result = CliRunner().invoke(main, ["convert", str(folder), str(out)])
    assert result.exit_code == 2
    assert "missing_slices" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_command_writes_the_volume(tmp_path: Path) -> None:
    out = tmp_path / "ct.nii.gz"
    result = CliRunner().invoke(main, ["convert", str(write_series(tmp_path / "s")), str(out)])
    assert result.exit_code == 0, result.output
    assert read_image(out).array.dtype == np.int16


@pytest.mark.real_data
def test_real_series(real_data: Path) -> None:
    scan = read_scan(real_data / "dicom_ct")
    assert scan.image.grid.size == (512, 512, 20)
    assert scan.image.grid.spacing == pytest.approx((0.9765625, 0.9765625, 2.0))
    assert scan.image.grid.origin == pytest.approx((-249.51171875, -437.51171875, -804.5))
    assert scan.image.array.min() == -1024
    assert 20 < np.median(scan.image.array[:, 200:300, 200:300]) < 150


def standard_positions(part: pydicom.Dataset) -> np.ndarray:
    """LPS mm of every pixel of an image, (rows, columns, 3): PS3.3, equation C.7.6.2.1-1."""
    cosines = np.array(part.ImageOrientationPatient, float)
    between_rows, between_columns = (float(v) for v in part.PixelSpacing)
    i, j = np.meshgrid(np.arange(part.Columns), np.arange(part.Rows))
    return (
        np.array(part.ImagePositionPatient, float)
        + i[..., None] * between_columns * cosines[:3]
        + j[..., None] * between_rows * cosines[3:]
    )


def check_against_other_readers(folder: Path, out: Path) -> float:
    """Compare the written volume, pixel by pixel; return the largest distance in mm.

    The slices are read by pydicom with arithmetic from the standard, and once more by highdicom;
    the volume by nibabel and by ITK.
    """
    call = ["convert", str(folder), str(out), "--set", "min_air_fraction=0"]
    result = CliRunner().invoke(main, call)
    assert result.exit_code == 0, result.output
    volume = nibabel.load(out)
    hu, to_ras = np.asarray(volume.dataobj), volume.affine
    itk = sitk.ReadImage(str(out))
    parts = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    worst, seen = 0.0, set()
    for part in parts:
        world = standard_positions(part)
        corner = itk.TransformPhysicalPointToContinuousIndex(world[0, 0].tolist())
        k = round(corner[2])
        seen.add(k)
        i, j = np.meshgrid(np.arange(part.Columns), np.arange(part.Rows))
        voxels = np.stack([i, j, np.full_like(i, k), np.ones_like(i)], axis=-1)
        lps = (voxels @ to_ras.T)[..., :3] * [-1, -1, 1]
        worst = max(worst, float(np.abs(lps - world).max()))
        for row, column in ((0, 0), (part.Rows - 1, 0), (part.Rows - 1, part.Columns - 1)):
            point = itk.TransformIndexToPhysicalPoint((column, row, k))
            worst = max(worst, float(np.abs(np.subtract(point, world[row, column])).max()))
        values = part.pixel_array * float(part.RescaleSlope) + float(part.RescaleIntercept)
        assert (np.maximum(values, -1024) == hu[:, :, k].T).all()
    assert seen == set(range(len(parts)))
    for number, part in enumerate(parts):
        # De-identified files may lack what highdicom asks for.
        part.SOPClassUID, part.SOPInstanceUID = CTImageStorage, f"1.2.{number}"
        part.SeriesInstanceUID = part.StudyInstanceUID = UID
    other = highdicom.get_volume_from_series(parts)
    last = np.array(other.spatial_shape, float) - 1
    for corner in np.ndindex(2, 2, 2):
        index = np.array(corner) * last
        lps = (other.affine @ [*index, 1.0])[:3]
        at = np.array(itk.TransformPhysicalPointToContinuousIndex(lps.tolist()))
        voxel = np.rint(at).astype(int)
        worst = max(worst, float(np.abs((at - voxel) * itk.GetSpacing()).max()))
        value = other.array[tuple(index.astype(int))]
        assert hu[tuple(voxel)] == max(value, -1024)
    return worst


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_written_voxels_lie_where_the_standard_says(tmp_path: Path, seed: int) -> None:
    """The phantom's series: axial and oblique, head first and feet first."""
    rng = np.random.default_rng(seed)
    turned = _rotation(tuple(rng.uniform(-8, 8, 3))) if seed > 1 else np.eye(3)
    direction = (np.diag([-1.0, 1.0, -1.0]) if seed % 2 == 0 else np.eye(3)) @ turned
    scan = Scan(
        size_xyz=(31, 27, 22),
        spacing=rng.uniform(0.5, 3.0, 3),
        origin=rng.uniform(-400, 400, 3),
        direction=direction,
        thickness=2.5,
        table_origin=np.zeros(3),
    )
    hu = rng.integers(-1024, 1500, scan.size_xyz[::-1]).astype(np.int16)
    folder = write_study(tmp_path / "study", {SOFT: hu}, scan, patient="P", time=0)
    worst = check_against_other_readers(folder, tmp_path / "ct.nii.gz")
    assert worst < 1e-3


@pytest.mark.slow
@pytest.mark.real_data
def test_real_voxels_lie_where_the_standard_says(real_data: Path, tmp_path: Path) -> None:
    worst = check_against_other_readers(real_data / "dicom_ct", tmp_path / "a.nii.gz")
    assert worst < 1e-3
