"""Lobes of a DICOM SEG come back voxel by voxel, on every orientation; other files are refused.

The files are made by highdicom, which shares no code with the reader.
"""

import copy
import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from click.testing import CliRunner
from pydicom.sr.coding import Code
from pydicom.uid import DeflatedExplicitVRLittleEndian, generate_uid

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, read_mask, write_image
from lcsd.lungs.dicom_seg import read_lobes
from lcsd.lungs.given import placed_mask
from lcsd.scans.convert import read_scan
from tests.grids import _rotation
from tests.series import UID, Change, write_series

TISSUE = Code("85756007", "SCT", "Tissue")
UPPER, LOWER = Code("45653009", "SCT", "Upper lobe"), Code("90572001", "SCT", "Lower lobe")
LIVER = Code("10200004", "SCT", "Liver")
SEGMENTS = (
    ("liver", LIVER),
    ("lung_upper_lobe_left", UPPER),
    ("lung_lower_lobe_left", LOWER),
    ("nodule in the upper lobe of the right lung", Code("27925004", "SCT", "Nodule")),
    ("lung_middle_lobe_right", TISSUE),  # by its label alone
    ("aorta", Code("15825003", "SCT", "Aorta")),
)
LOBES = (1, 2, 4)
ROTATIONS = {
    "axial": np.eye(3),
    "oblique": _rotation((10, -20, 35)),
    "feet_first": np.diag([-1.0, 1.0, -1.0]) @ _rotation((2, -1, 1)),
}


def made(
    folder: Path, *, direction: np.ndarray | None = None, change: Change | None = None, odd: int = 0
) -> tuple[Image, pydicom.Dataset, np.ndarray]:
    """Return a scan, a SEG of it with six segments, and the lobes' true mask (z, y, x)."""

    def cropped(part: pydicom.Dataset, index: int) -> None:
        if odd:  # an odd number of pixels: frames begin inside a byte
            part.PixelData = part.pixel_array[:-odd, :-odd].tobytes()
            part.Rows, part.Columns = part.Rows - odd, part.Columns - odd
        if change is not None:
            change(part, index)

    write_series(folder, direction=direction, change=cropped)
    scan = read_scan(folder).image
    slices = [pydicom.dcmread(path) for path in folder.iterdir()]
    normal = scan.grid.matrix[:, 2]
    slices.sort(key=lambda s: float(np.array(s.ImagePositionPatient, float) @ normal))
    rng = np.random.default_rng(3)
    pixels = rng.random((*scan.array.shape, len(SEGMENTS))) < 0.3
    pixels[:5, ..., 1:5] = False  # slices without lobes
    pixels[11, ..., 1:5] = False  # a hole in the stack
    pixels[15:, ..., 2] = False
    return scan, seg(slices, pixels), pixels[..., LOBES].any(axis=-1)


def seg(slices: list[pydicom.Dataset], pixels: np.ndarray, kind: str = "BINARY") -> pydicom.Dataset:
    descriptions = [
        highdicom.seg.SegmentDescription(
            number, label, TISSUE, code, "AUTOMATIC", highdicom.AlgorithmIdentificationSequence("t", TISSUE, "1")
        )
        for number, (label, code) in enumerate(SEGMENTS, start=1)
    ]
    return highdicom.seg.Segmentation(
        slices,
        pixels if kind == "BINARY" else pixels.astype(float),
        kind,
        descriptions,
        generate_uid(),
        5,
        generate_uid(),
        1,
        "ACME",
        "m",
        "1",
        "0",
    )


def saved(data: pydicom.Dataset, path: Path) -> Path:
    data.save_as(path, enforce_file_format=True)
    return path


def placed(path: Path, scan: Image) -> np.ndarray:
    return placed_mask(read_lobes(path).mask, scan.grid, file=path).array


def refused(path: Path, **options: str) -> str:
    with pytest.raises(BadInputError) as caught:
        read_lobes(path, **options)
    assert "\n" not in caught.value.message
    return caught.value.code


@pytest.mark.slow
@pytest.mark.parametrize("name", ROTATIONS)
@pytest.mark.parametrize("odd", [0, 3])
def test_lobes_come_back_voxel_by_voxel(tmp_path: Path, name: str, odd: int) -> None:
    scan, data, truth = made(tmp_path / "ct", direction=ROTATIONS[name], odd=odd)
    assert (data.Rows * data.Columns % 8 != 0) == bool(odd)
    path = saved(data, tmp_path / "seg.dcm")
    assert read_lobes(path).count == len(LOBES)
    assert (placed(path, scan) == truth).all()


def test_order_of_frames_does_not_matter(tmp_path: Path) -> None:
    scan, data, truth = made(tmp_path / "ct", direction=ROTATIONS["oblique"])
    size = data.Rows * data.Columns // 8
    order = np.random.default_rng(1).permutation(int(data.NumberOfFrames))
    frames = [data.PixelData[k * size : (k + 1) * size] for k in order]
    groups = data.PerFrameFunctionalGroupsSequence
    data.PerFrameFunctionalGroupsSequence = [groups[int(k)] for k in order]
    data.PixelData = b"".join(frames)
    assert (placed(saved(data, tmp_path / "seg.dcm"), scan) == truth).all()


def test_lobes_on_every_second_slice_keep_the_step_of_the_others(tmp_path: Path) -> None:
    """Frames of other segments say how far slices are apart; without them holes would close."""
    scan, data, truth = made(tmp_path / "ct")
    keep = [
        index
        for index, item in enumerate(data.PerFrameFunctionalGroupsSequence)
        if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == 1
        or round((item.PlanePositionSequence[0].ImagePositionPatient[2] + 300) / 2.5) % 2 == 0
    ]
    size = data.Rows * data.Columns // 8
    data.PixelData = b"".join(data.PixelData[k * size : (k + 1) * size] for k in keep)
    data.PerFrameFunctionalGroupsSequence = [data.PerFrameFunctionalGroupsSequence[k] for k in keep]
    data.NumberOfFrames = len(keep)
    truth[1::2] = False
    assert (placed(saved(data, tmp_path / "seg.dcm"), scan) == truth).all()


def test_pose_may_be_said_frame_by_frame(tmp_path: Path) -> None:
    scan, data, truth = made(tmp_path / "ct", direction=ROTATIONS["feet_first"])
    shared = data.SharedFunctionalGroupsSequence[0]
    for item in data.PerFrameFunctionalGroupsSequence:
        for name in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            setattr(item, name, copy.deepcopy(shared[name].value))
    del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    assert (placed(saved(data, tmp_path / "seg.dcm"), scan) == truth).all()


@pytest.mark.slow
def test_deflated_file(tmp_path: Path) -> None:
    scan, data, truth = made(tmp_path / "ct")
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    assert (placed(saved(data, tmp_path / "seg.dcm"), scan) == truth).all()


def test_other_grid_is_resampled_by_position(tmp_path: Path) -> None:
    scan, data, truth = made(tmp_path / "ct", direction=ROTATIONS["oblique"])
    grid = scan.grid
    turned = Grid(
        grid.size,
        grid.spacing,
        tuple(grid.voxel_to_world(np.array([0.0, grid.size[1] - 1, 0.0]))),
        tuple((grid.matrix * [1, -1, 1]).ravel()),
    )
    mask = placed_mask(read_lobes(saved(data, tmp_path / "seg.dcm")).mask, turned, file=tmp_path / "seg.dcm")
    assert (mask.array == truth[:, ::-1]).all()


def test_one_slice_of_lobes(tmp_path: Path) -> None:
    scan, _, truth = made(tmp_path / "ct")
    slices = [pydicom.dcmread(path) for path in (tmp_path / "ct").iterdir()]
    part = min(slices, key=lambda s: s.ImagePositionPatient[2])
    pixels = np.zeros((1, *scan.array.shape[1:], len(SEGMENTS)), bool)
    pixels[0, 2:5, 3:8, 1] = True
    truth[:] = False
    truth[0, 2:5, 3:8] = True
    assert (placed(saved(seg([part], pixels), tmp_path / "seg.dcm"), scan) == truth).all()


@pytest.mark.slow
def test_what_is_no_binary_seg_of_lobes_is_refused(tmp_path: Path) -> None:
    _, data, _ = made(tmp_path / "ct")
    path = tmp_path / "seg.dcm"
    plain = copy.deepcopy(data)
    for segment in plain.SegmentSequence:
        segment.SegmentLabel = "liver"
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"
    assert refused(saved(plain, path)) == "no_lobes"
    empty = copy.deepcopy(data)
    empty.PixelData = bytes(len(data.PixelData))
    assert refused(saved(empty, path)) == "empty_mask"
    fractional = copy.deepcopy(data)
    fractional.SegmentationType = "FRACTIONAL"
    assert refused(saved(fractional, path)) == "seg_not_binary"
    labels = copy.deepcopy(data)
    labels.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.7"
    assert refused(saved(labels, path)) == "seg_not_binary"
    packed = copy.deepcopy(data)
    packed.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.201"
    packed.PixelData = pydicom.encaps.encapsulate([bytes(8)])
    packed["PixelData"].is_undefined_length = True
    assert refused(saved(packed, path)) == "unsupported_transfer_syntax"
    short = copy.deepcopy(data)
    short.PixelData = data.PixelData[:-40]
    assert refused(saved(short, path)) == "truncated_file"
    lost = copy.deepcopy(data)
    del lost.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    assert refused(saved(lost, path)) == "truncated_file"
    assert refused(next((tmp_path / "ct").iterdir())) == "not_seg"
    assert refused(tmp_path / "ct") == "not_seg"
    assert refused(tmp_path / "absent.dcm") == "missing_file"
    (tmp_path / "notes.txt").write_text("nothing")
    assert refused(tmp_path / "notes.txt") == "not_seg"


def test_crooked_stack_is_refused(tmp_path: Path) -> None:
    _, data, _ = made(tmp_path / "ct")
    path = tmp_path / "seg.dcm"
    for axis in (0, 2):
        bent = copy.deepcopy(data)
        for frame in bent.PerFrameFunctionalGroupsSequence[40:43]:
            frame.PlanePositionSequence[0].ImagePositionPatient[axis] += 0.6
        assert refused(saved(bent, path)) == "bad_geometry"


def test_seg_of_another_place_or_series_is_refused(tmp_path: Path) -> None:
    scan, data, _ = made(tmp_path / "ct")
    path = saved(data, tmp_path / "seg.dcm")
    assert read_lobes(path, series_uid=UID).count == len(LOBES)
    assert refused(path, series_uid="1.2.99") == "other_series"
    far = Grid(scan.grid.size, scan.grid.spacing, (500.0, 0.0, 0.0), scan.grid.direction)
    with pytest.raises(BadInputError) as caught:
        placed_mask(read_lobes(path).mask, far, file=path)
    assert caught.value.code == "mask_elsewhere"


def test_command_takes_a_file_or_a_folder_with_one(tmp_path: Path) -> None:
    scan, data, truth = made(tmp_path / "ct", direction=ROTATIONS["oblique"])
    write_image(tmp_path / "ct.nii.gz", scan, dtype=np.int16)
    folder = tmp_path / "seg"
    folder.mkdir()
    (folder / "LICENSE").write_text("terms")
    path = saved(data, folder / "one.dcm")
    call = ["lungs", str(tmp_path / "ct.nii.gz"), str(tmp_path / "m.nii.gz"), "--json", "--given"]
    for given in (path, folder):
        result = CliRunner().invoke(main, [*call, str(given), "--series-uid", UID])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["lobes"] == len(LOBES)
        assert (read_mask(tmp_path / "m.nii.gz").array == truth).all()
    saved(data, folder / "two.dcm")
    result = CliRunner().invoke(main, [*call, str(folder)])
    assert (result.exit_code, "several_segs" in result.stderr) == (2, True)
    result = CliRunner().invoke(main, [*call, str(tmp_path / "m.nii.gz"), "--series-uid", UID])
    assert (result.exit_code, "bad_usage" in result.stderr) == (2, True)
