"""Faults of scans: DICOM series and NIfTI files that ``lcsd convert`` is given."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom

from lcsd.geometry import Grid
from lcsd.io.images import Image, write_image
from tests.faults.fault import Fault, Kind, Place
from tests.grids import GRIDS
from tests.series import (
    PATIENT,
    SLICES,
    Change,
    compressed,
    drifting,
    missing,
    moved,
    shifted,
    short,
    tilted,
    tiny,
    write_series,
)

OTHER_PATIENT = "HOSPITAL-4712"
SPACING_MM = 1.5
QFORM_CODE, SROW_Y = slice(252, 254), slice(296, 312)
"""Places in a NIfTI-1 header."""


def converted(place: Place, source: Path, *options: str) -> list[str]:
    """Return the call that converts a source."""
    return ["convert", str(source), str(place.out / "ct.nii.gz"), *options]


def series(name: str, how: str, change: Change, code: str, words: str, kind: Kind = "DICOM") -> Fault:
    """Return a fault of some elements of a series."""

    def make(place: Place) -> list[str]:
        return converted(place, write_series(place.inputs, change=change))

    return Fault("convert", name, kind, how, make, code, words)


def folder(name: str, how: str, spoil: Callable[[Path], object], code: str, words: str) -> Fault:
    """Return a fault of the files of a series."""

    def make(place: Place) -> list[str]:
        spoil(write_series(place.inputs))
        return converted(place, place.inputs)

    return Fault("convert", name, "DICOM", how, make, code, words)


def _cut(path: Path, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])


def _second(series_folder: Path) -> None:
    write_series(series_folder, uid="1.2.5", prefix="sharp")


def _second_patient(part: pydicom.Dataset, index: int) -> None:
    part.PatientID = PATIENT if index else OTHER_PATIENT


def _cut_away(series_folder: Path, number: int) -> None:
    """Remove a slice at the end of the stack: files are named in steps of 7 slices."""
    last = SLICES - 1 - number
    (series_folder / f"ct{(last * 7) % SLICES:03d}.dcm").unlink()


def _only_a_note(series_folder: Path) -> None:
    for path in series_folder.iterdir():
        path.unlink()
    (series_folder / "notes.txt").write_text("scanned on Monday")


DICOM = (
    series("missing_slice", "one slice in the middle was not copied", missing, "missing_slices", "series"),
    series("duplicate_slice", "two slices at one position", moved({9: -2.5}), "duplicate_slices", "found"),
    series("uneven_slices", "one slice 0.9 mm from its position", moved({9: 0.9}), "uneven_slices", "0.1 mm"),
    series("mixed_matrix", "one slice with fewer rows", tiny, "mixed_size", "Rows"),
    series(
        "mixed_patients",
        "a slice of another patient under the same series UID",
        _second_patient,
        "mixed_patient",
        "sort the files",
    ),
    series(
        "no_position",
        "a slice without ImagePositionPatient",
        shifted("ImagePositionPatient", None, 3),
        "missing_geometry",
        "ImagePositionPatient",
    ),
    series(
        "zero_spacing", "PixelSpacing with a zero", shifted("PixelSpacing", [0.8, 0], 3), "bad_geometry", "PixelSpacing"
    ),
    series("wrong_modality", "an MR series", shifted("Modality", "MR"), "no_ct", ""),
    series("not_hounsfield", "an intercept of 0: values are not HU", shifted("RescaleIntercept", 0), "not_hu", "HU"),
    series("no_rescale", "no rescale slope", shifted("RescaleSlope", None), "no_rescale", "RescaleSlope"),
    series("multiframe", "all slices in one file", shifted("NumberOfFrames", 2), "multiframe", "export"),
    series(
        "lossy",
        "pixels that went through lossy compression",
        shifted("LossyImageCompression", "01"),
        "lossy_compression",
        "lossless",
    ),
    series(
        "unknown_compression", "an unsupported transfer syntax", compressed, "unsupported_transfer_syntax", "gdcmconv"
    ),
    series("short_pixels", "a slice with fewer pixels than rows x columns", short, "truncated_file", "bytes of pixels"),
    folder(
        "cut_slice",
        "a slice truncated to 300 bytes",
        lambda f: _cut(f / "ct005.dcm", 300),
        "truncated_file",
        "ct005.dcm",
    ),
    folder("empty_slice", "a slice of 0 bytes", lambda f: _cut(f / "ct005.dcm", 0), "truncated_file", "empty"),
    folder(
        "few_slices", "19 of 24 slices", lambda f: [_cut_away(f, n) for n in range(5)], "too_few_slices", "at least 20"
    ),
    folder("no_dicom", "a folder that holds only a text file", _only_a_note, "no_dicom", "DICOM"),
    folder(
        "slice_not_utf8",
        "a slice whose name `\\xe9tude.dcm` is not UTF-8",
        lambda f: (f / "ct005.dcm").rename(f / os.fsdecode(b"\xe9tude.dcm")),
        "bad_file_name",
        "not UTF-8",
    ),
    folder(
        "broken_link",
        "a link to a file that is gone",
        lambda f: (f / "gone.dcm").symlink_to(f / "nowhere"),
        "broken_link",
        "gone.dcm",
    ),
)


def _two_series(place: Place) -> list[str]:
    _second(write_series(place.inputs))
    return converted(place, place.inputs)


TWO_SERIES = Fault(
    "convert",
    "two_series",
    "DICOM",
    "two reconstructions of one scan in a folder",
    _two_series,
    "several_series",
    "series_uid",
    chatty=True,
)


def hu(shape: tuple[int, int, int] = (24, 26, 28), grid: Grid = GRIDS["lps"]) -> Image:
    """Return a volume of air with some tissue, on a grid of any orientation."""
    array = np.full(shape, -900, np.int16)
    array[6:18, 6:18, 6:18] = 40
    return Image(array, Grid(shape[::-1], grid.spacing, grid.origin, grid.direction))


def nifti(name: str, how: str, spoil: Callable[[Path], object], code: str, words: str, kind: Kind = "NIfTI") -> Fault:
    """Return a fault of a NIfTI file; ``spoil`` gets a good one and changes it."""

    def make(place: Place) -> list[str]:
        path = place.inputs / "ct.nii.gz"
        write_image(path, hu(), dtype=np.int16)
        spoil(path)
        return converted(place, path)

    return Fault("convert", name, kind, how, make, code, words)


def _saved(data: np.ndarray, affine: np.ndarray | None = None) -> Callable[[Path], object]:
    form = np.diag([SPACING_MM] * 3 + [1]) if affine is None else affine
    return lambda path: nibabel.save(nibabel.Nifti1Image(data, form), path)


def _forms(sform: int, qform: int, turned: bool = False) -> Callable[[Path], object]:
    def spoil(path: Path) -> None:
        volume = nibabel.Nifti1Image(np.asarray(hu().array.T), np.eye(4))
        volume.set_sform(np.eye(4), sform)
        volume.set_qform(np.diag([-1.0, 1, 1, 1]) if turned else np.eye(4), qform)
        nibabel.save(volume, path)

    return spoil


def _bit(path: Path) -> None:
    """Flip one bit of the compressed voxels."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def _flat(path: Path) -> None:
    """Set the y row of the sform to zeros and leave the qform out."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[QFORM_CODE], content[SROW_Y] = bytes(2), bytes(16)
    path.write_bytes(gzip.compress(bytes(content)))


def _foreign(path: Path) -> None:
    path.write_bytes(gzip.compress(b"not a NIfTI file" * 100))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SHEARED = np.diag([SPACING_MM] * 3 + [1.0])
SHEARED[0, 1] = 0.4
AIR = np.full((24, 24, 24), -900.0, np.float32)
HOLE = np.where(np.arange(24) == 3, np.nan, AIR)

NIFTI = (
    nifti("file_away", "the file does not exist", Path.unlink, "missing_file", "file not found"),
    nifti(
        "cut_file",
        "the download stopped halfway",
        lambda p: _cut(p, p.stat().st_size // 2),
        "truncated_file",
        "copy or export",
    ),
    nifti("empty_file", "0 bytes", lambda p: _cut(p, 0), "truncated_file", "empty"),
    nifti(
        "flipped_bit",
        "one bit of the compressed voxels flipped on the disk",
        _bit,
        "truncated_file",
        "not a readable NIfTI",
    ),
    nifti("foreign_file", "another program's file with this name", _foreign, "truncated_file", "not a readable NIfTI"),
    nifti(
        "four_dimensions",
        "a series of volumes in one file",
        _saved(np.full((24, 24, 24, 2), -900.0)),
        "not_3d",
        "24 x 24 x 24 x 2",
    ),
    nifti("one_slice", "a single slice", _saved(np.full((24, 24, 1), -900.0)), "not_3d", "24 x 24 x 1"),
    nifti("nan_voxels", "NaN in a slice", _saved(HOLE), "non_finite", "576 bad voxels"),
    nifti(
        "colour_voxels",
        "an RGB screenshot of the scan",
        _saved(np.zeros((24, 24, 24), [("R", "u1"), ("G", "u1"), ("B", "u1")])),
        "bad_type",
        "plain numbers",
    ),
    nifti("scaled_values", "values divided by 1000, not HU", _saved(AIR / 1000), "not_hu", "HU"),
    nifti(
        "named_pipe", "a named pipe in place of the file: reading it would hang", _pipe, "not_a_file", "regular file"
    ),
)

GEOMETRY = (
    series("tilted_stack", "slices shifted by gantry tilt", tilted, "gantry_tilt", "degrees", "geometry"),
    series("drifting_stack", "steps that add up to a drift", drifting, "shifted_slices", "mm", "geometry"),
    series(
        "sheared_rows",
        "row and column directions that are not orthogonal",
        shifted("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        "bad_geometry",
        "",
        "geometry",
    ),
    nifti(
        "forms_disagree",
        "qform mirrored against sform",
        _forms(1, 1, turned=True),
        "sform_qform_disagree",
        "mm apart",
        "geometry",
    ),
    nifti("no_forms", "neither sform nor qform", _forms(0, 0), "no_geometry", "sform", "geometry"),
    nifti("sheared_affine", "an affine with shear", _saved(AIR, SHEARED), "sheared_affine", "resample", "geometry"),
    nifti("flat_voxels", "a voxel size of 0", _flat, "bad_spacing", "", "geometry"),
)

LONG_NAME = Fault(
    "convert",
    "long_name",
    "NIfTI",
    "a name of 300 letters, too long for any disk",
    lambda place: converted(place, place.inputs / f"{'a' * 300}.nii.gz"),
    "missing_file",
    "name too long",
)

SCANS = (*DICOM, TWO_SERIES, *NIFTI, LONG_NAME, *GEOMETRY)
