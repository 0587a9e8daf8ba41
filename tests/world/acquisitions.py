"""Rows of slices of several acquisitions, and of slices that do not belong between their neighbours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom

from lcsd.io.images import Image
from tests.series import SLICES, shifted, values, write_series
from tests.world.contents import stored
from tests.world.positions import heights
from tests.world.support import GRID, Row, chest, write_chest
from tests.world.volumes import nifti


def marked(
    mark: Callable[[pydicom.Dataset, int], None], group: Callable[[int], int], breath: float = 1.0
) -> Callable[[Path], Path]:
    """Return a maker of a series of several breath-holds: ``group`` gives that of a slice, ``mark`` writes it."""

    def make(folder: Path) -> Path:
        holds = [chest(breath * number / 2, seed=number) for number in range(3)]
        planes = np.stack([holds[group(index)].array[index] for index in range(SLICES)])
        return write_chest(folder, lambda part, index: mark(part, group(index)), image=Image(planes, GRID))

    return make


def says(name: str, *options: object) -> Callable[[pydicom.Dataset, int], None]:
    return lambda part, group: setattr(part, name, options[group])


def silent(part: pydicom.Dataset, group: int) -> None:
    """The header says nothing."""


def every(number: int) -> Callable[[int], int]:
    return lambda index: index % number


def upper(index: int) -> int:
    return int(index >= SLICES // 2)


def interlocked(index: int) -> int:
    """Two ranges that overlap by some slices."""
    return index % 2 if 8 <= index < 16 else upper(index)


def own(name: str, value: Callable[[int], object]) -> Callable[[Path], Path]:
    """Return a maker of one breath-hold whose slices have an element of their own."""
    return lambda folder: write_chest(folder, lambda part, index: setattr(part, name, value(index)))


def _both_at_each_place(name: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for number, prefix in enumerate(("a", "b")):
            change = shifted(name, number + 1) if name else shifted("Rows", 48)
            write_chest(folder, change, image=chest(number / 2, seed=number), prefix=prefix)
        return folder

    return make


def _overlapping_stacks(folder: Path) -> Path:
    """The second breath-hold starts between the last slices of the first, off its rhythm."""

    def change(part: pydicom.Dataset, index: int) -> None:
        part.AcquisitionNumber = 1 + upper(index)
        heights(lambda i: -300 + i * 2.5 - upper(i) * 6.2)(part, index)

    return write_chest(folder, change)


def _localizer(word: str | None) -> Callable[[Path], Path]:
    def change(part: pydicom.Dataset, index: int) -> None:
        part.ImageType = ["ORIGINAL", "PRIMARY", word or "AXIAL"]
        part.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
        part.PixelData = values(index).tobytes()

    def make(folder: Path) -> Path:
        write_series(folder, change=change, count=2, prefix="scout")
        return write_chest(folder)

    return make


def _smoothed(folder: Path) -> Path:
    """Two kernels that alternate, under one name."""
    from scipy.ndimage import gaussian_filter

    array = chest().array.copy()
    array[1::2] = gaussian_filter(array.astype(np.float32), (0, 0.8, 0.8))[1::2]
    return write_chest(folder, image=Image(array, GRID))


def spoilt(change: Callable[[np.ndarray], np.ndarray], at: int = 12) -> Callable[[Path], Path]:
    """Return a maker of a series with one changed slice."""

    def make(folder: Path) -> Path:
        array = chest().array.copy()
        array[at] = change(array[at])
        return write_chest(folder, image=Image(array, GRID))

    return make


def _half_blank(plane: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(plane))[:, None] < len(plane) // 2, plane, -1024)


def _own_intercepts(folder: Path) -> Path:
    def change(part: pydicom.Dataset, index: int) -> None:
        more = 100 * (index % 3)
        part.RescaleIntercept = -1024 - more
        part.PixelData = (np.frombuffer(part.PixelData, np.uint16) + more).astype(np.uint16).tobytes()

    return write_chest(folder, change)


def _ends_blank() -> np.ndarray:
    array = chest().array.copy()
    array[-1] = -1024
    return array


def _alternating_nifti(folder: Path) -> Path:
    array = chest().array.copy()
    array[1::2] = chest(0.5, seed=1).array[1::2]
    return nifti(folder, image=Image(array, GRID))


ACQUISITIONS = (
    Row(
        "acquisitions",
        "numbers",
        "Project-MONAI/monai-deploy-app-sdk 532",
        marked(says("AcquisitionNumber", 1, 2), every(2)),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "numbers_same_content",
        "Slicer/Slicer 4801",
        marked(says("AcquisitionNumber", 1, 2), every(2), 0),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "times",
        "fedorov/MultiVolumeImporter 16",
        marked(says("AcquisitionTime", "101500.0", "101530.5"), every(2)),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "date_times",
        "fedorov/MultiVolumeImporter 16",
        marked(says("AcquisitionDateTime", "20200101101500", "20200101101530"), every(2), 0),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "content_times",
        "made up",
        marked(says("ContentTime", "101500", "101620"), every(2), 0),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "events",
        "made up",
        marked(says("IrradiationEventUID", "1.2.1", "1.2.2"), every(2), 0),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "three_phases",
        "rordenlab/dcm2niix 48",
        marked(says("TemporalPositionIndex", 1, 2, 3), every(3)),
        "mixed_acquisitions",
    ),
    Row("acquisitions", "silent", "made up", marked(silent, every(2)), "alternating_slices"),
    Row("acquisitions", "silent_three_phases", "made up", marked(silent, every(3)), "alternating_slices"),
    Row("acquisitions", "silent_overlap", "made up", marked(silent, interlocked), "alternating_slices"),
    Row("acquisitions", "nifti", "made up", _alternating_nifti, "alternating_slices"),
    Row(
        "acquisitions",
        "overlap",
        "erling6232/imagedata 95",
        marked(says("AcquisitionNumber", 1, 2), interlocked),
        "mixed_acquisitions",
    ),
    Row("acquisitions", "overlap_off_rhythm", "erling6232/imagedata 95", _overlapping_stacks, "mixed_acquisitions"),
    Row(
        "acquisitions",
        "twice_each",
        "Project-MONAI/monai-deploy-app-sdk 532",
        _both_at_each_place("AcquisitionNumber"),
        "mixed_acquisitions",
    ),
    Row("acquisitions", "twice_each_silent", "SimpleITK/SimpleITK 879", _both_at_each_place(None), "duplicate_slices"),
    Row(
        "acquisitions",
        "two_ranges_two_breaths",
        "made up",
        marked(says("AcquisitionNumber", 1, 2), upper),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "two_ranges_late",
        "made up",
        marked(says("AcquisitionTime", "1015", "1017"), upper),
        "mixed_acquisitions",
    ),
    Row(
        "acquisitions",
        "two_ranges_one_breath",
        "rordenlab/dcm2niix 48",
        own("AcquisitionNumber", lambda i: 1 + upper(i)),
    ),
    Row(
        "acquisitions",
        "number_of_each_rotation",
        "rordenlab/dcm2niix 48",
        own("AcquisitionNumber", lambda i: 1 + i // 4),
    ),
    Row("acquisitions", "number_of_each_slice", "lamyj/dicomifier 36", own("AcquisitionNumber", lambda i: 1 + i)),
    Row("acquisitions", "time_of_each_slice", "made up", own("AcquisitionTime", lambda i: f"1015{i:02d}.5")),
    Row("acquisitions", "times_of_the_export", "made up", own("ContentTime", lambda i: f"10{(i * 7) % 24:02d}00")),
    Row("acquisitions", "localizer", "made up", _localizer("LOCALIZER")),
    Row("acquisitions", "scout", "made up", _localizer("SCOUT")),
    Row("acquisitions", "localizer_not_named", "made up", _localizer(None), "mixed_size"),
    Row(
        "acquisitions",
        "kernels",
        "made up",
        marked(says("ConvolutionKernel", "B30f", "B70f"), every(2), 0),
        "mixed_kernel",
    ),
    # Silent before: one slice among good ones is no alternation and no seam.
    Row(
        "acquisitions", "blank_slice", "icometrix/dicom2nifti 161", spoilt(lambda plane: plane * 0 - 1024), "odd_slice"
    ),
    Row("acquisitions", "slice_of_water", "made up", spoilt(lambda plane: plane * 0), "odd_slice"),
    Row(
        "acquisitions",
        "slice_with_another_intercept",
        "InsightSoftwareConsortium/ITK-Wasm 1248",
        marked(says("RescaleIntercept", -1024, 0), lambda index: int(index == 12), 0),
        "odd_slice",
    ),
    Row("acquisitions", "half_a_slice", "rordenlab/dcm2niix 156", spoilt(_half_blank), "odd_slice"),
    Row("acquisitions", "blank_slice_at_the_end", "jrkerns/pylinac 392", stored(_ends_blank), content=_ends_blank),
    Row("acquisitions", "intercept_of_each_slice", "ivmartel/dwv 80", _own_intercepts),
    Row("acquisitions", "kernels_silent", "made up", _smoothed, "alternating_slices"),
    Row("acquisitions", "thicknesses", "made up", marked(says("SliceThickness", 1, 5), every(2), 0), "mixed_thickness"),
    Row("acquisitions", "two_energies", "made up", marked(says("KVP", 80, 140), every(2), 0), "mixed_voltage"),
    Row("acquisitions", "exposure_of_each_slice", "rordenlab/dcm2niix 91", own("Exposure", lambda i: 50 + i * 7 % 40)),
    Row("acquisitions", "voltage_written_in_two_ways", "made up", own("KVP", lambda i: ("120", "120.0")[i % 2])),
)
