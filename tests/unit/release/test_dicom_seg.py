"""Vessel maps as DICOM segmentations: on the right pixels of the source series, never in a release."""

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
from tests.series import UID, write_series

RIGID = RigidTransform(_rotation((3, -5, 8)), np.array([4.0, -6.0, 9.0]))
"""From the common space to that of the follow-up."""

DIRECTION = _rotation((10, -20, 35))


def build(folder: Path, *, labels: int = 1) -> Path:
    """Make a build of one case: two series, and vessel maps whose voxels are those of a common grid."""
    for scan in ("fixed", "moving"):
        write_series(folder / scan, direction=DIRECTION, uid=f"{UID}.{len(scan)}")
    rows = [
        {"case": "a", "patient_id": "p", "role": "train", "fixed_source": "fixed", "moving_source": "moving"}
        | {"fixed_time": "T0", "moving_time": "T1"}
    ]
    write_table(folder / "pairs.tsv", list(rows[0]), rows)
    case = folder / "results" / "cases" / "a"
    for scan in ("fixed", "moving"):
        native = read_scan(folder / scan).image.grid
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
        for uid, pixels in planes(data, folder / scan, labels):
            for (row, column), value in np.ndenumerate(pixels):
                # The definition, pixel by pixel: PS3.3, C.7.6.2.1.1.
                x, y = np.reshape(np.array(uid.ImageOrientationPatient, float), (2, 3))
                point = np.array(uid.ImagePositionPatient, float)
                point = point + x * column * float(uid.PixelSpacing[1]) + y * row * float(uid.PixelSpacing[0])
                index = np.rint(map_.grid.world_to_voxel(rigid.inverse().apply(point))).astype(int)
                inside = (index >= 0).all() and (index < np.array(map_.grid.size)).all()
                assert value == (map_.array[tuple(index[::-1])] if inside else 0)
                checked += bool(value)
        assert checked > 100


def read_map(folder: Path, scan: str) -> Image:
    from lcsd.io.images import read_image

    return read_image(folder / "results" / "cases" / "a" / "vessels" / f"{scan}.nii.gz")


def planes(data: highdicom.seg.Segmentation, folder: Path, labels: int) -> list[tuple[pydicom.Dataset, np.ndarray]]:
    """Return each source image and its pixels' labels."""
    images = [pydicom.dcmread(path) for path in sorted(folder.iterdir())]
    pixels = data.get_pixels_by_source_instance(
        [image.SOPInstanceUID for image in images],
        segment_numbers=range(1, labels + 1),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
        ignore_spatial_locations=True,
    )
    return list(zip(images, pixels, strict=True))


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
