"""Vessel maps as DICOM segmentations: on the right pixels of the source series, never in a release."""

import shutil
import sys
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner, Result

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.files import write_json, write_table
from lcsd.io.images import Image, write_image, write_rigid
from lcsd.scans.convert import read_scan
from tests.grids import _rotation
from tests.series import STEP, UID, Change, write_series

RIGID = RigidTransform(_rotation((3, -5, 8)), np.array([4.0, -6.0, 9.0]))
"""From the common space to that of the follow-up."""

DIRECTION = _rotation((10, -20, 35))


def build(folder: Path, *, labels: int = 1, change: Change | None = None) -> Path:
    """Make a build of one case: two series, and vessel maps whose voxels are those of a common grid."""
    for scan in ("fixed", "moving"):
        write_series(folder / scan, direction=DIRECTION, uid=f"{UID}.{len(scan)}", change=change)
    rows = [
        {"case": "a", "patient_id": "p", "role": "train", "fixed_source": "fixed", "moving_source": "moving"}
        | {"fixed_time": "T0", "moving_time": "T1"}
    ]
    write_table(folder / "pairs.tsv", list(rows[0]), rows)
    case = folder / "results" / "cases" / "a"
    for scan in ("fixed", "moving"):
        image = read_scan(folder / scan).image
        write_image(case / "scans" / f"{scan}.nii.gz", image, dtype=np.int16)
        native = image.grid
        middle = native.centre if scan == "fixed" else RIGID.inverse().apply(native.centre)
        grid = Grid.centred(middle, size=(14, 12, 10), spacing_mm=2.0)
        array = np.random.default_rng(len(scan)).integers(0, labels + 1, grid.shape).astype(np.uint8)
        write_image(case / "vessels" / f"{scan}.nii.gz", Image(array, grid), dtype=np.uint8)
    record = {"settings": {"backend": "objectness"}, "inputs": {}}
    write_json(provenance_path(case / "vessels" / "fixed.nii.gz"), record)
    write_rigid(case / "images" / "rigid.tfm", RIGID)
    return folder


def export(folder: Path, out: Path, *words: str) -> Result:
    manifest = str(folder / "pairs.tsv")
    given = ["export", "dicom-seg", str(folder / "results"), str(out), "--manifest", manifest, *words]
    return CliRunner().invoke(main, given)


def refused(run: Result, code: str) -> None:
    assert run.exit_code != 0
    assert run.stderr.splitlines()[-1].endswith(f"[{code}]"), run.stderr


@pytest.mark.parametrize("labels", [1, 2])
@pytest.mark.slow
def test_pixels_have_the_value_of_the_voxel_around_them(labels: int, tmp_path: Path) -> None:
    folder = build(tmp_path, labels=labels)
    run = export(folder, tmp_path / "out")
    assert run.exit_code == 0, run.output
    assert "name the patient" in run.stderr
    for scan, rigid in (("fixed", RigidTransform.identity()), ("moving", RIGID)):
        data = highdicom.seg.segread(tmp_path / "out" / f"a_{scan}.dcm")
        map_ = read_map(folder, scan)
        (source,) = {str(pydicom.dcmread(path).SeriesInstanceUID) for path in (folder / scan).iterdir()}
        assert data.ReferencedSeriesSequence[0].SeriesInstanceUID == source
        kinds = {(s.SegmentAlgorithmType, s.get("SegmentAlgorithmName")) for s in data.SegmentSequence}
        assert kinds == ({("AUTOMATIC", "lcsd objectness")} if scan == "fixed" else {("MANUAL", None)})
        assert [s.SegmentLabel for s in data.SegmentSequence] == (["vessels"] if labels == 1 else ["arteries", "veins"])
        checked = 0
        for plane, pixels in planes(data, folder / scan):
            for (row, column), value in np.ndenumerate(pixels):
                # The definition, pixel by pixel: PS3.3, C.7.6.2.1.1.
                x, y = np.reshape(np.array(plane.ImageOrientationPatient, float), (2, 3))
                point = np.array(plane.ImagePositionPatient, float)
                point = point + x * column * float(plane.PixelSpacing[1]) + y * row * float(plane.PixelSpacing[0])
                index = np.rint(map_.grid.world_to_voxel(rigid.inverse().apply(point))).astype(int)
                inside = (index >= 0).all() and (index < np.array(map_.grid.size)).all()
                assert value == (map_.array[tuple(index[::-1])] if inside else 0)
                checked += bool(value)
        assert checked > 100


def read_map(folder: Path, scan: str) -> Image:
    from lcsd.io.images import read_image

    return read_image(folder / "results" / "cases" / "a" / "vessels" / f"{scan}.nii.gz")


def planes(data: pydicom.Dataset, folder: Path) -> list[tuple[pydicom.Dataset, np.ndarray]]:
    """Return the place of each source image, as the segmentation itself says it, and the labels there."""
    images = {str(image.SOPInstanceUID): image for image in map(pydicom.dcmread, folder.iterdir())}
    labels = {uid: np.zeros((image.Rows, image.Columns), int) for uid, image in images.items()}
    shared = data.SharedFunctionalGroupsSequence[0]
    for frame, pixels in zip(data.PerFrameFunctionalGroupsSequence, data.pixel_array, strict=True):
        source = images[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        own = pydicom.Dataset()
        own.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        own.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        own.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        assert all(np.allclose(own[key].value, source[key].value) for key in own.dir())
        segment = (frame if "SegmentIdentificationSequence" in frame else shared).SegmentIdentificationSequence[0]
        labels[source.SOPInstanceUID][pixels > 0] = segment.ReferencedSegmentNumber
    return [(image, labels[uid]) for uid, image in images.items()]


@pytest.mark.slow
def test_elements_that_the_series_lacks_are_left_empty(tmp_path: Path) -> None:
    """De-identified series lack elements that DICOM wants, or have nonsense in them."""

    def change(part: pydicom.Dataset, index: int) -> None:
        del part.PatientBirthDate, part.AccessionNumber, part.SliceThickness
        part.PatientSex, part.StudyDate = "X", "19990229"

    folder = build(tmp_path, change=change)
    assert export(folder, tmp_path / "out").exit_code == 0
    data = pydicom.dcmread(tmp_path / "out" / "a_fixed.dcm")
    assert [data[name].value or "" for name in ("PatientBirthDate", "AccessionNumber", "PatientSex", "StudyDate")] == [
        ""
    ] * 4
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert float(measures.SliceThickness) == pytest.approx(STEP)


def test_a_series_without_a_frame_of_reference_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path, change=lambda part, _: delattr(part, "FrameOfReferenceUID"))
    run = export(folder, tmp_path / "out")
    refused(run, "no_source_series")
    assert "FrameOfReferenceUID" in run.stderr


@pytest.mark.slow
def test_a_series_that_was_not_built_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    shutil.rmtree(folder / "moving")
    write_series(folder / "moving", direction=DIRECTION, change=_lower)
    refused(export(folder, tmp_path / "out"), "another_scan")


def _lower(part: pydicom.Dataset, index: int) -> None:
    part.ImagePositionPatient = [float(part.ImagePositionPatient[0]) - 2, *part.ImagePositionPatient[1:]]


def test_a_source_that_is_no_series_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path)
    for path in (folder / "moving").iterdir():
        path.unlink()
    refused(export(folder, tmp_path / "out"), "no_source_series")
    assert not (tmp_path / "out" / "a_moving.dcm").exists()
    refused(export(folder, tmp_path / "out", "--cases", "b"), "unknown_case")


def test_never_in_a_release(tmp_path: Path) -> None:
    folder = build(tmp_path)
    (tmp_path / "release").mkdir()
    (tmp_path / "release" / "SHA256SUMS").write_text("x")
    refused(export(folder, tmp_path / "release" / "seg"), "inside_release")


def test_without_highdicom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path)
    monkeypatch.setitem(sys.modules, "highdicom", None)
    run = export(folder, tmp_path / "out")
    refused(run, "missing_package")
    assert "lcsd[dicomseg]" in run.stderr
