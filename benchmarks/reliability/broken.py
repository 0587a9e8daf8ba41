"""Make cases with one fault each from a good one; the name of a case is its expected reason code."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray

from tests.series import STEP, Change, moved, shifted, values, write_series

Row = dict[str, str]


class Fault(NamedTuple):
    """A fault of a case."""

    code: str  # reason code with which the case must be rejected, and the case's name
    stage: str  # stage that must find the fault
    # Takes the scan of a good case and a folder for files; returns the changed cells of its row
    row: Callable[["Scan", Path], Row]


class Scan(NamedTuple):
    """A good scan: its file, its voxels (x, y, z) in HU and its affine (RAS, mm)."""

    file: Path
    data: NDArray[np.int16]
    affine: NDArray[np.float64]

    @classmethod
    def read(cls, file: Path) -> "Scan":
        image = nibabel.load(file)
        return cls(file, np.asarray(image.dataobj), image.affine)

    def header(self, sform: NDArray[np.float64], codes: tuple[int, int]) -> nibabel.Nifti1Image:
        """Return the scan with another sform, and with these codes for sform and qform."""
        image = nibabel.Nifti1Image(self.data, self.affine)
        image.set_qform(self.affine, codes[1])
        image.set_sform(sform, codes[0])
        return image


def _saved(image: nibabel.Nifti1Image, path: Path) -> str:
    nibabel.save(image, path)
    return str(path)


def _fixed(change: Callable[[Scan], nibabel.Nifti1Image]) -> Callable[[Scan, Path], Row]:
    return lambda scan, at: {"fixed_source": _saved(change(scan), at / "scan.nii.gz")}


def _voxels(change: Callable[[NDArray[np.int16]], NDArray[np.generic]]) -> Callable[..., Row]:
    return _fixed(lambda scan: nibabel.Nifti1Image(change(scan.data), scan.affine))


def _series(change: Change) -> Callable[[Scan, Path], Row]:
    return lambda _, at: {"moving_source": str(write_series(at / "series", change=change))}


def _missing_slices(part: pydicom.Dataset, index: int) -> None:
    part.ImagePositionPatient = [-10, 20, -300 + (index + (index > 9)) * STEP]


def _mixed_size(part: pydicom.Dataset, index: int) -> None:
    if index == 3:
        part.Rows, part.PixelData = 4, values(0)[:4].tobytes()


def _absent(_: Scan, at: Path) -> Row:
    return {"fixed_source": str(at / "absent.nii.gz")}


def _cut(scan: Scan, at: Path) -> Row:
    path = at / "cut.nii.gz"
    path.write_bytes(scan.file.read_bytes()[:5000])
    return {"fixed_source": str(path)}


def _no_dicom(_: Scan, at: Path) -> Row:
    (at / "series").mkdir()
    (at / "series" / "readme.txt").write_text("scans to follow")
    return {"fixed_source": str(at / "series")}


def _two_series(_: Scan, at: Path) -> Row:
    folder = write_series(at / "series")
    return {"moving_source": str(write_series(folder, uid="1.2.5", prefix="sharp"))}


def _nan(data: NDArray[np.int16]) -> NDArray[np.float32]:
    changed = data.astype(np.float32)
    changed[0, 0, 0] = np.nan
    return changed


def _no_lungs(data: NDArray[np.int16]) -> NDArray[np.int16]:
    """A block of soft tissue in air."""
    block = np.full_like(data, -1000)
    block[2:-2, 2:-2, :] = 40
    return block


def _sheared(scan: Scan) -> nibabel.Nifti1Image:
    affine = scan.affine.copy()
    affine[0, 1] += 0.2 * affine[1, 1]
    return scan.header(affine, (1, 0))


def _shifted_form(scan: Scan) -> nibabel.Nifti1Image:
    affine = scan.affine.copy()
    affine[0, 3] += 5.0
    return scan.header(affine, (1, 1))


def _empty_map(column: str) -> Callable[[Scan, Path], Row]:
    def row(scan: Scan, at: Path) -> Row:
        empty = nibabel.Nifti1Image(np.zeros(scan.data.shape, np.uint8), scan.affine)
        return {column: _saved(empty, at / "map.nii.gz")}

    return row


def _mask_elsewhere(scan: Scan, at: Path) -> Row:
    affine = scan.affine.copy()
    affine[:3, 3] += 5000.0
    mask = nibabel.Nifti1Image(np.ones(scan.data.shape, np.uint8), affine)
    return {"fixed_mask": _saved(mask, at / "mask.nii.gz")}


def _landmark_outside(_: Scan, at: Path) -> Row:
    path = at / "landmarks.csv"
    path.write_text("fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z\n9000,0,0,9000,0,0\n")
    return {"landmarks": str(path), "landmarks_frame": "native", "role": "test"}


FAULTS = (
    Fault("missing_file", "convert", _absent),
    Fault("landmark_outside", "evaluate", _landmark_outside),
    Fault("empty_lungs", "lungs", _voxels(_no_lungs)),
    Fault("truncated_file", "convert", _cut),
    Fault("empty_vessels", "vessels", _empty_map("moving_vessels")),
    Fault("not_3d", "convert", _voxels(lambda data: np.stack([data, data], axis=-1))),
    Fault("not_hu", "convert", _voxels(lambda data: (data + 1024).clip(0))),
    Fault("non_finite", "convert", _voxels(_nan)),
    Fault("too_few_slices", "convert", _voxels(lambda data: data[:, :, :10])),
    Fault("no_geometry", "convert", _fixed(lambda scan: scan.header(scan.affine, (0, 0)))),
    Fault("sform_qform_disagree", "convert", _fixed(_shifted_form)),
    Fault("sheared_affine", "convert", _fixed(_sheared)),
    Fault("no_dicom", "convert", _no_dicom),
    Fault("several_series", "convert", _two_series),
    Fault("missing_slices", "convert", _series(_missing_slices)),
    Fault("duplicate_slices", "convert", _series(moved({9: -STEP}))),
    Fault("gantry_tilt", "convert", _series(shifted("GantryDetectorTilt", 12.0))),
    Fault("mixed_size", "convert", _series(_mixed_size)),
    Fault("empty_mask", "lungs", _empty_map("fixed_mask")),
    Fault("mask_elsewhere", "lungs", _mask_elsewhere),
)
"""One of each class; the first ones are of different stages, for small campaigns."""


def broken_rows(good: Row, folder: Path, faults: tuple[Fault, ...]) -> Iterator[Row]:
    """Write a case per fault below ``folder``; yield its row. ``good`` is a good case's, with absolute paths."""
    scan = Scan.read(Path(good["fixed_source"]))
    for fault in faults:
        (folder / fault.code).mkdir(parents=True)
        yield {**good, "case": fault.code, **fault.row(scan, folder / fault.code)}
