"""Rows of slice positions of a DICOM series."""

from collections.abc import Callable
from pathlib import Path

import pydicom

from lcsd.geometry import Grid
from tests.series import SLICES, SPACING, Change
from tests.world.support import GRID, Row, write_chest


def heights(place: Callable[[int], float], decimals: int = 6) -> Change:
    """Return a change that puts slice ``index`` at a height of ``place(index)`` mm, written with some decimals."""

    def change(part: pydicom.Dataset, index: int) -> None:
        part.ImagePositionPatient = [-10, 20, f"{place(index):.{decimals}f}"]

    return change


def stepped(step: float) -> Grid:
    """Return the grid of a chest with another distance of slices."""
    return Grid(GRID.size, (SPACING[1], SPACING[0], step), GRID.origin)


def regular(step: float, decimals: int) -> Callable[[Path], Path]:
    return lambda folder: write_chest(folder, heights(lambda i: -300 + i * step, decimals))


def gap(step: float, decimals: int, at: int = 12, width: int = 1) -> Callable[[Path], Path]:
    return lambda folder: write_chest(folder, heights(lambda i: -300 + (i + width * (i > at)) * step, decimals))


def _twice(folder: Path) -> Path:
    return write_chest(folder, heights(lambda i: -300 + (i - (i == 9)) * 3.27, 1))


def _shifted(offset: float) -> Callable[[Path], Path]:
    return lambda folder: write_chest(folder, heights(lambda i: -300 + i * 3.27 + offset * (i == 7), 2))


def _sideways(sideways_mm: float) -> Callable[[Path], Path]:
    """Slices at whole heights, of which one lies to the side."""

    def change(part: pydicom.Dataset, index: int) -> None:
        part.ImagePositionPatient = [f"{-10 + sideways_mm * (index == 7):.2f}", 20, f"{-300 + index * 3.27:.0f}"]

    return lambda folder: write_chest(folder, change)


def _two_steps(folder: Path) -> Path:
    """Head scans change their step at the skull base; some chest scans do so at the lung base."""
    return write_chest(folder, heights(lambda i: -300 + i * 2.5 + max(0, i - SLICES // 2) * 2.5))


def _crossing_zero(folder: Path) -> Path:
    return write_chest(folder, heights(lambda i: -30.3 + i * 2.5 + 0.3 * (i > 12)))


POSITIONS = (
    Row(
        "positions", "step_3.27_one_decimal", "InsightSoftwareConsortium/ITK 1607", regular(3.27, 1), grid=stepped(3.27)
    ),
    Row("positions", "step_0.625_one_decimal", "icometrix/dicom2nifti 36", regular(0.625, 1), grid=stepped(0.625)),
    Row("positions", "step_1.25_one_decimal", "rordenlab/dcm2niix 216", regular(1.25, 1), grid=stepped(1.25)),
    Row("positions", "step_0.7_two_decimals", "moloney/dcmstack 55", regular(0.703125, 2), grid=stepped(0.703125)),
    Row("positions", "step_3.27_whole_mm", "rordenlab/dcm2niix 216", regular(3.27, 0), grid=stepped(3.27)),
    Row("positions", "step_2.5_whole_mm", "made up", regular(2.5, 0)),
    Row("positions", "gap_whole_mm", "made up", gap(3.27, 0), "missing_slices"),
    Row("positions", "gap_of_2.5_whole_mm", "made up", gap(2.5, 0), "missing_slices"),
    Row("positions", "step_1.25_whole_mm", "made up", regular(1.25, 0), "missing_slices"),
    Row("positions", "gap_one_decimal", "moloney/dcmstack 55", gap(3.27, 1), "missing_slices"),
    Row("positions", "gap_of_three", "DIAGNijmegen/rse-panimg 7", gap(3.27, 1, width=3), "missing_slices"),
    Row("positions", "gap_of_thin_slices", "DIAGNijmegen/rse-grand-challenge 1301", gap(0.625, 1), "missing_slices"),
    Row("positions", "gap_before_the_last", "made up", gap(3.27, 1, at=SLICES - 2), "missing_slices"),
    Row("positions", "twice_one_decimal", "dave3d/dicom2stl 68", _twice, "duplicate_slices"),
    Row("positions", "slice_half_a_millimetre_off", "made up", _shifted(0.5), "uneven_slices"),
    Row("positions", "one_to_the_side_at_whole_heights", "made up", _sideways(0.4), "shifted_slices"),
    Row("positions", "two_steps", "icometrix/dicom2nifti 58", _two_steps, "missing_slices"),
    Row("positions", "wider_step_at_zero", "pytrip/pytrip 409", _crossing_zero, "uneven_slices"),
)
