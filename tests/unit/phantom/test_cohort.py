import ast
import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from click.testing import CliRunner

import lcsd.phantom
from lcsd.cli.phantom import command
from lcsd.errors import BadInputError
from lcsd.phantom import write_cases, write_manifest
from lcsd.phantom.phantom import COLUMNS, case_name
from lcsd.settings.phantom import PhantomSettings

POSITION_TOLERANCE_MM = 1e-3
ALLOWED = {"lcsd.numerics.processes", "lcsd.errors", "lcsd.io.files", "lcsd.settings.phantom"}

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("phantom")]


@pytest.fixture(scope="module")
def nifti(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nifti")
    rows = list(write_cases(folder, cases=2, seed=0, size="tiny"))
    write_manifest(folder, rows)
    return folder


@pytest.fixture(scope="module")
def dicom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dicom")
    write_manifest(folder, list(write_cases(folder, cases=1, seed=0, size="tiny", file_format="dicom")))
    return folder


def _rows(folder):
    with (folder / "pairs.tsv").open(newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def _series(folder):
    reader = sitk.ImageSeriesReader()
    (uid,) = reader.GetGDCMSeriesIDs(str(folder))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder), uid))
    return reader.Execute()


def test_phantom_imports_nothing_that_it_tests():
    for path in Path(lcsd.phantom.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, path
                names = [node.module or ""]
            for name in names:
                ours = name.split(".")[0] == "lcsd"
                assert not ours or name.startswith("lcsd.phantom") or name in ALLOWED, (path, name)


def test_manifest_names_existing_files_and_the_last_case_tests(nifti):
    rows = _rows(nifti)
    assert tuple(rows[0]) == COLUMNS
    assert [row["role"] for row in rows] == ["train", "test"]
    assert [row["case"] for row in rows] == [case_name(0, 0), case_name(0, 1)]
    for row in rows:
        for column in ("fixed_source", "moving_source"):
            assert (nifti / row[column]).is_file()
    assert rows[0]["landmarks"] == rows[0]["landmarks_frame"] == ""
    assert (nifti / rows[1]["landmarks"]).is_file()
    assert rows[1]["landmarks_frame"] == "native"


def test_truth_is_written_for_every_case(nifti, tiny):
    for number in (0, 1):
        truth = nifti / case_name(0, number) / "truth"
        names = {path.name for path in truth.iterdir()}
        assert names == {
            "landmarks.csv",
            "points.csv",
            "truth.json",
            "fixed_lungs.nii.gz",
            "moving_lungs.nii.gz",
            "fixed_vessels.nii.gz",
            "moving_vessels.nii.gz",
        }
    truth = nifti / case_name(0, 0) / "truth"
    header = (truth / "landmarks.csv").read_text().splitlines()[0]
    assert header == "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
    for name, pairs in (("landmarks", tiny.landmarks), ("points", tiny.points)):
        table = np.loadtxt(truth / f"{name}.csv", delimiter=",", skiprows=1)
        np.testing.assert_allclose(table, np.hstack(pairs), atol=1e-6)
    facts = json.loads((truth / "truth.json").read_text())
    assert facts["landmark_residual_mean_mm"]["rigid"] == pytest.approx(tiny.residuals.rigid)


def test_nifti_geometry_is_what_another_reader_sees(nifti, tiny):
    """nibabel shares no code with the writer; its world is RAS."""
    for role in ("fixed", "moving"):
        scan = tiny.scan(role)
        image = nib.load(nifti / case_name(0, 0) / f"{role}.nii.gz")
        assert image.get_data_dtype() == np.int16
        assert image.shape == scan.size_xyz
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        corner = np.array([10.0, 20.0, 5.0])
        ras = image.affine @ [*corner, 1.0]
        np.testing.assert_allclose(ras[:3] * [-1, -1, 1], scan.to_world(corner[None])[0], atol=POSITION_TOLERANCE_MM)


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_dicom_is_the_same_scan_as_nifti(nifti, dicom, role):
    row = _rows(dicom)[0]
    series = _series(dicom / row[f"{role}_source"])
    volume = sitk.ReadImage(str(nifti / case_name(0, 0) / f"{role}.nii.gz"))
    assert series.GetSize() == volume.GetSize()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(series), sitk.GetArrayFromImage(volume))
    last = [n - 1 for n in volume.GetSize()]
    for index in ([0, 0, 0], last, [last[0], 0, 0], [0, last[1], 0]):
        np.testing.assert_allclose(
            series.TransformIndexToPhysicalPoint(index),
            volume.TransformIndexToPhysicalPoint(index),
            atol=POSITION_TOLERANCE_MM,
        )


@pytest.mark.parametrize("role", ["fixed", "moving"])
def test_study_has_localizer_and_two_kernels_described_as_in_nlst(dicom, tiny, role):
    study = dicom / case_name(0, 0) / role
    assert sorted(p.name for p in study.iterdir()) == ["localizer", "lung", "standard"]
    found, uids = {}, set()
    for folder in study.iterdir():
        headers = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
        assert len({h.SeriesInstanceUID for h in headers}) == 1
        assert len({h.SOPInstanceUID for h in headers}) == len(headers)
        uids.add((headers[0].StudyInstanceUID, headers[0].FrameOfReferenceUID))
        found[folder.name] = headers
    assert len(uids) == 1
    assert [len(found[n]) for n in ("localizer", "standard", "lung")] == [
        2,
        tiny.scan(role).size_xyz[2],
        tiny.scan(role).size_xyz[2],
    ]
    assert "LOCALIZER" in found["localizer"][0].ImageType
    time = "0" if role == "fixed" else "1"
    for name, kind, kernel in (
        ("localizer", "OPL", "STANDARD"),
        ("standard", "OPA", "STANDARD"),
        ("lung", "OPA", "LUNG"),
    ):
        parts = found[name][0].SeriesDescription.split(",")
        assert parts[:5] == [time, kind, "GE", "LSQX", kernel]
        assert len(parts) == 11
        assert [float(p) for p in parts[5:]][2:] == [120, 80, 53.3, 1.5]
    soft, sharp = (_series(study / n) for n in ("standard", "lung"))
    assert soft.GetOrigin() == sharp.GetOrigin()
    voxels = [sitk.GetArrayFromImage(image).astype(float) for image in (soft, sharp)]
    liver = (np.abs(voxels[0] - 50.0) < 60.0) & (np.abs(voxels[1] - 50.0) < 200.0)
    assert np.ptp(voxels[1][liver]) > 1.5 * np.ptp(voxels[0][liver])
    assert voxels[1][liver].std() > 1.3 * voxels[0][liver].std()


def test_dicom_images_are_valid(dicom):
    for path in (dicom / case_name(0, 0)).rglob("*.dcm"):
        header = pydicom.dcmread(path)
        rows = np.array(header.ImageOrientationPatient, dtype=float).reshape(2, 3)
        np.testing.assert_allclose(rows @ rows.T, np.eye(2), atol=1e-8)
        for element in header.iterall():
            if element.VR == "DS":
                values = element.value if element.VM > 1 else [element.value]
                assert all(len(str(v)) <= 16 for v in values), element
        assert header.pixel_array.shape == (header.Rows, header.Columns)
        assert header.pixel_array.max() < 2**header.BitsStored
        assert "PixelPaddingValue" not in header
        assert header.PatientPosition == ("HFS" if "fixed" in path.parts else "FFS")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"cases": 0, "seed": 0}, "cases"),
        ({"cases": 1, "seed": -1}, "seed"),
        ({"cases": 1, "seed": 0, "test_cases": 2}, "test_cases"),
    ],
)
def test_numbers_out_of_range_are_errors_and_write_nothing(tmp_path, arguments, field):
    with pytest.raises(BadInputError) as caught:
        list(write_cases(tmp_path / "out", size="tiny", **arguments))
    assert (caught.value.code, caught.value.field) == ("phantom_option", field)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cases", "0"], "cases"),
        (["--set", "min_rigid_mm=20"], "min_rigid_mm"),
        (["--set", "speed=1"], "[unknown_key]"),
        (["--size", "huge"], "huge"),
    ],
)
def test_bad_options_end_with_2_and_one_line(tmp_path, options, message):
    result = CliRunner().invoke(command, [str(tmp_path / "out"), *options])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()


def test_command_writes_the_same_bytes_for_a_seed_in_two_processes(nifti, tmp_path):
    options = ["--cases", "2", "--seed", "0", "--size", "tiny", "--threads", "2", "--json"]
    result = CliRunner().invoke(command, [str(tmp_path), *options])
    assert result.exit_code == 0, result.output
    assert [(row["case"], row["role"]) for row in _rows(tmp_path)] == [
        (case_name(0, 0), "train"),
        (case_name(0, 1), "test"),
    ]
    expected, made = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
        for folder in (nifti, tmp_path)
    )
    assert {path.name for path in expected} >= {"fixed.nii.gz", "moving.nii.gz", "points.csv", "pairs.tsv"}
    assert {path for path in expected if made.get(path) != expected[path]} == set()


def test_changed_share_zero_leaves_no_changes(tiny):
    same = lcsd.phantom.make_case(0, size="tiny", settings=PhantomSettings(changed_share=0.0))
    assert all((tree.scan == 0).all() for tree in same.vessels)
    np.testing.assert_array_equal(same.vessels[0].nodes, tiny.vessels[0].nodes)
