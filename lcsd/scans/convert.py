"""Convert a DICOM series or a NIfTI file to one volume in HU, or give the reason why not.

Each slice is placed by its own header (ImagePositionPatient). ITK would take the spacing from the
first and last slice, so a gap would stretch the volume.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.files import require_file
from lcsd.io.images import Image, is_nifti, read_image
from lcsd.io.itk import itk_path, warnings_of_itk
from lcsd.scans.dicom import Series, read_folder, truncated
from lcsd.scans.headers import technical_fields
from lcsd.scans.slices import Slice, check_shared, read_slice, refused, stack_grid
from lcsd.settings.convert import ConvertSettings

HU_LOWEST = -1024  # air in 12-bit CT; scanners pad outside the field of view with lower values (-2000, -3024)

HU_HIGHEST = int(np.iinfo(np.int16).max)

AIR_HU = (-1200.0, -500.0)  # lung and air; padding lies below, soft tissue above
COSINE_TOLERANCE = 1e-4  # direction cosines of one series agree to this: headers print them with six decimals

AXES_TOLERANCE = 2e-4
"""Row and column are orthogonal unit vectors within this: four decimals give 1e-4. Over half a metre
that is 0.05 mm, less than sform and qform of the written file may differ."""

PIXEL_TOLERANCE_MM = 1e-4  # pixel spacings of one series agree to this


@dataclass(frozen=True)
class Scan:
    """A checked scan."""

    image: Image  # HU, int16, (z, y, x); for DICOM the slices in order along their normal
    series_uid: str | None  # SeriesInstanceUID; none for NIfTI and for de-identified files without it
    header: Mapping[str, object] | None = None  # allow-listed technical fields of the DICOM header; none for NIfTI
    # Counts of files in the DICOM folder that do not belong to the scan
    skipped: Mapping[str, int] = field(default_factory=dict)
    # Largest distance between a slice's own position and its place in the volume; 0 for NIfTI
    misplaced_mm: float = 0.0


def read_scan(source: Path, settings: ConvertSettings | None = None) -> Scan:
    """Return the scan in a DICOM folder or a NIfTI file, in HU and with its own geometry.

    Voxel axes stay as they are in the source (any direction). Values are rounded to int16 and limited to at least -1024
    HU. Raises ``BadInputError`` if the source fails a gate; its code names the gate (docs/convert.md lists all).
    """
    settings = settings or ConvertSettings()
    if os.path.isdir(source):  # noqa: PTH112 - no error for a folder that is closed
        series = read_folder(source, series_uid=settings.series_uid, min_slices=settings.min_slices)
        return _stack(series, settings)
    if not is_nifti(source):
        require_file(source)
        raise BadInputError(
            "not a scan",
            code="unknown_source",
            file=source,
            expected="a folder with DICOM files, or a .nii or .nii.gz file",
            found=source.name,
            remedy="give one of them",
        )
    image = read_image(source)
    # NIfTI does not say along which axis slices were taken; assume the shortest.
    _check_slices(min(image.grid.size), settings.min_slices, source)
    volume = _in_hu(image.array, image.grid.shape, settings.min_air_fraction, source)
    return Scan(Image(volume, image.grid), None)


def _check_slices(count: int, least: int, source: Path) -> None:
    if count < least:
        raise BadInputError(
            "too few slices",
            code="too_few_slices",
            file=source,
            expected=f"at least {least}",
            found=count,
            remedy="give the whole scan",
        )


def _in_hu(
    planes: Iterable[NDArray[Any]], shape: tuple[int, int, int], min_air: float, source: Path
) -> NDArray[np.int16]:
    """Return planes (y, x) as one int16 volume; refuse raw, shifted or normalised values."""
    volume = np.empty(shape, dtype=np.int16)
    lowest, highest, air = np.inf, -np.inf, 0
    for index, plane in enumerate(planes):
        lowest, highest = min(lowest, float(plane.min())), max(highest, float(plane.max()))
        air += int(np.count_nonzero((plane > AIR_HU[0]) & (plane < AIR_HU[1])))
        volume[index] = np.rint(np.clip(plane, HU_LOWEST, HU_HIGHEST))
    found = f"values from {lowest:g} to {highest:g}"
    if lowest >= 0:
        raise BadInputError(
            "looks like raw or shifted values, not HU",
            code="not_hu",
            file=source,
            expected="air near -1000 HU",
            found=found,
            remedy="export the scan again with its rescale slope and intercept applied",
        )
    share = air / volume.size
    if share < min_air:
        raise BadInputError(
            "no lung in the scan, or its values are not HU",
            code="not_hu",
            file=source,
            expected=f"{min_air:.2%} of the voxels between {AIR_HU[0]:g} and {AIR_HU[1]:g} HU",
            found=f"{share:.2%}, {found}",
            remedy="check the units and the scanned region",
        )
    return volume


def _stack(series: Series, settings: ConvertSettings) -> Scan:
    """Return the slices of a series as one volume, after all gates on them."""
    _check_slices(len(series.headers), settings.min_slices, series.folder)
    slices = [read_slice(header, settings) for header in series.headers]
    check_shared(series.headers)
    first = slices[0]
    for part in slices[1:]:
        _check_alike(first, part)
    row, column = first.orientation[:3], first.orientation[3:]
    _check_axes(row, column, first)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    slices.sort(key=lambda part: float(part.position @ normal))
    positions = np.array([part.position for part in slices])
    step = _check_steps(positions @ normal, slices, settings)
    _check_tilt(positions, normal, slices[0], settings)
    grid = stack_grid(
        (first.columns, first.rows, len(slices)),
        pixel_spacing=first.pixel_spacing,
        step=step,
        first=positions[0],
        axes=(row, column, normal),
    )
    misplaced = _check_places(positions, grid, slices, settings)
    return Scan(
        image=Image(_in_hu(_planes(slices), grid.shape, settings.min_air_fraction, series.folder), grid),
        series_uid=series.uid or None,
        header=technical_fields([header.values for header in series.headers]),
        skipped=series.skipped,
        misplaced_mm=misplaced,
    )


def _check_axes(row: NDArray[np.float64], column: NDArray[np.float64], part: Slice) -> None:
    product = np.array([row @ row - 1, column @ column - 1, row @ column])
    if not np.abs(product).max() <= AXES_TOLERANCE:
        raise refused(
            part.path,
            "row and column directions are not orthogonal unit vectors",
            code="bad_geometry",
            field="ImageOrientationPatient",
            expected="two orthogonal unit vectors",
            found=part.orientation.round(5).tolist(),
        )


def _check_alike(first: Slice, part: Slice) -> None:
    """Refuse slices that cannot form one regular volume."""

    def mixed(what: str, *, code: str, field: str, expected: object, found: object) -> BadInputError:
        remedy = "give one series of one reconstruction"
        return refused(
            part.path, f"slices differ in {what}", code=code, field=field, expected=expected, found=found, remedy=remedy
        )

    size, other = (first.columns, first.rows), (part.columns, part.rows)
    if size != other:
        raise mixed("matrix size", code="mixed_size", field="Columns, Rows", expected=size, found=other)
    if np.abs(first.orientation - part.orientation).max() > COSINE_TOLERANCE:
        raise mixed(
            "orientation",
            code="mixed_orientation",
            field="ImageOrientationPatient",
            expected=first.orientation.tolist(),
            found=part.orientation.tolist(),
        )
    if np.abs(np.subtract(first.pixel_spacing, part.pixel_spacing)).max() > PIXEL_TOLERANCE_MM:
        raise mixed(
            "pixel spacing",
            code="mixed_spacing",
            field="PixelSpacing",
            expected=first.pixel_spacing,
            found=part.pixel_spacing,
        )


def _check_steps(heights: NDArray[np.float64], slices: Sequence[Slice], settings: ConvertSettings) -> float:
    """Return the mean slice step in mm; refuse duplicate, missing and uneven slices."""
    steps = np.diff(heights)
    tolerance = settings.spacing_tolerance_mm
    usual = float(np.median(steps))
    twin = int(np.argmin(steps))
    if steps[twin] <= tolerance:
        raise BadInputError(
            "two slices have the same position",
            code="duplicate_slices",
            file=slices[twin + 1].path,
            field="ImagePositionPatient",
            expected=f"a step of {usual:.4g} mm",
            found=f"{steps[twin]:.4g} mm",
            remedy=f"remove this file or {slices[twin].path.name}, or choose one series",
        )
    worst = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[worst] - usual) <= tolerance:
        return float(steps.mean())
    gap = steps[worst] / usual
    missing = gap > 1.5 and abs(gap - round(gap)) * usual <= tolerance
    raise BadInputError(
        f"{round(gap) - 1} slices are missing" if missing else "slices are unevenly spaced",
        code="missing_slices" if missing else "uneven_slices",
        file=slices[worst + 1].path,
        field="ImagePositionPatient",
        expected=f"a step of {usual:.4g} mm +- {tolerance:g} mm",
        found=f"{steps[worst]:.4g} mm after {slices[worst].path.name}",
        remedy="fetch the whole series again",
    )


def _check_tilt(
    positions: NDArray[np.float64], normal: NDArray[np.float64], first: Slice, settings: ConvertSettings
) -> None:
    """Refuse slices that are tilted against the axis of the stack, by position or by header."""
    along = positions[-1] - positions[0]
    height = float(along @ normal)
    sheared = float(np.degrees(np.arctan2(np.linalg.norm(along - height * normal), height)))
    tilt = max(sheared, abs(first.gantry_tilt))
    if tilt > settings.tilt_tolerance_deg:
        raise BadInputError(
            "the gantry was tilted",
            code="gantry_tilt",
            file=first.path,
            field="GantryDetectorTilt",
            expected=f"at most {settings.tilt_tolerance_deg:g} degrees",
            found=f"{tilt:.3g} degrees",
            remedy="resample the scan to orthogonal axes first",
        )


def _check_places(
    positions: NDArray[np.float64], grid: Grid, slices: Sequence[Slice], settings: ConvertSettings
) -> float:
    """Refuse slices far from their place, as small errors of steps add up; return the largest distance, mm."""
    index = np.zeros_like(positions)
    index[:, 2] = np.arange(len(positions))
    apart = np.linalg.norm(grid.voxel_to_world(index) - positions, axis=1)
    worst = int(apart.argmax())
    if apart[worst] > settings.spacing_tolerance_mm:
        raise BadInputError(
            "slices do not form a straight, regular stack",
            code="shifted_slices",
            file=slices[worst].path,
            field="ImagePositionPatient",
            expected=f"at most {settings.spacing_tolerance_mm:g} mm from the regular position",
            found=f"{apart[worst]:.4g} mm",
            remedy="resample the scan to a regular grid first",
        )
    return float(apart[worst])


def _planes(slices: Sequence[Slice]) -> Iterator[NDArray[np.float32]]:
    """Yield the rescaled pixels (y, x); each slice has its own slope and intercept."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    for part in slices:
        reader.SetFileName(itk_path(part.path))
        try:
            with warnings_of_itk():  # about private tags; the gates check what matters
                plane = sitk.GetArrayFromImage(reader.Execute())
            yield plane.reshape(part.rows, part.columns)
        except (RuntimeError, ValueError) as error:
            # ITK reports a failing disk and a damaged file alike; reading the file tells them apart.
            part.path.read_bytes()
            raise truncated(part.path, "its pixels cannot be decoded") from error
