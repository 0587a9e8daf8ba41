"""One scan, DICOM series or NIfTI, to one volume in HU, or the reason why not.

Slices are placed by their own header (ImagePositionPatient), not by ITK's series geometry, which
takes the spacing from the first and last slice, so that a gap would stretch the volume.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.dicom import Series, Slice, read_folder
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.images import Image, is_nifti, read_image
from lcsd.settings.convert import ConvertSettings

HU_LOWEST = -1024
"""Air in 12-bit CT; scanners pad outside the field of view with lower values (-2000, -3024)."""

HU_HIGHEST = int(np.iinfo(np.int16).max)

AIR_HU = (-1200.0, -500.0)
"""Lung and air; padding lies below, soft tissue above."""

COSINE_TOLERANCE = 1e-4
"""Direction cosines of one series agree to this: headers print them with six decimals."""

PIXEL_TOLERANCE_MM = 1e-4
"""Pixel spacings of one series agree to this."""


@dataclass(frozen=True)
class Scan:
    """A checked scan.

    Parameters
    ----------
    image
        HU, int16, (z, y, x); for DICOM the slices in order along their normal.
    series_uid
        SeriesInstanceUID; none for NIfTI.
    """

    image: Image
    series_uid: str | None


def read_scan(source: Path, settings: ConvertSettings | None = None) -> Scan:
    """Return the scan in a DICOM folder or a NIfTI file, in HU and with its own geometry.

    Voxel axes stay as they are in the source (any direction). Values are rounded to int16 and
    limited to at least -1024 HU.

    Raises
    ------
    BadInputError
        If the source fails a gate; ``code`` names it.
    """
    settings = settings or ConvertSettings()
    if source.is_dir():
        series = read_folder(source, series_uid=settings.series_uid, min_slices=settings.min_slices)
        image, uid = _stack(series, settings), series.uid
    elif source.exists() and not is_nifti(source):
        raise BadInputError(
            "not a scan", code="unknown_source", file=source,
            expected="a folder with DICOM files, or a .nii or .nii.gz file", found=source.name,
        )  # fmt: skip
    else:
        image, uid = read_image(source), None
        # NIfTI does not say which axis is the slices'; the shortest one is.
        _check_slices(min(image.grid.size), settings.min_slices, source)
    _check_hu(image.array, settings.min_air_fraction, source)
    whole = np.rint(np.clip(image.array, HU_LOWEST, HU_HIGHEST)).astype(np.int16)
    return Scan(Image(whole, image.grid), uid)


def _check_slices(count: int, least: int, source: Path) -> None:
    if count < least:
        raise BadInputError(
            "too few slices", code="too_few_slices", file=source,
            expected=f"at least {least}", found=count, remedy="give the whole scan",
        )  # fmt: skip


def _check_hu(array: NDArray[Any], least_air: float, source: Path) -> None:
    """Refuse raw, shifted or normalised values."""
    lowest, highest = float(array.min()), float(array.max())
    found = f"values from {lowest:g} to {highest:g}"
    if lowest >= 0:
        raise BadInputError(
            "looks like raw or shifted values, not HU", code="not_hu", file=source,
            expected="air near -1000 HU", found=found,
            remedy="export the scan again with its rescale slope and intercept applied",
        )  # fmt: skip
    share = float(np.mean((array > AIR_HU[0]) & (array < AIR_HU[1])))
    if share < least_air:
        raise BadInputError(
            "no lung in the scan, or its values are not HU", code="not_hu", file=source,
            expected=f"{least_air:.2%} of the voxels between {AIR_HU[0]:g} and {AIR_HU[1]:g} HU",
            found=f"{share:.2%}, {found}", remedy="check the units and the scanned region",
        )  # fmt: skip


def _stack(series: Series, settings: ConvertSettings) -> Image:
    """Return the slices of a series as one volume, after the gates on their geometry."""
    _check_slices(len(series.slices), settings.min_slices, series.folder)
    first = series.slices[0]
    for part in series.slices[1:]:
        _check_alike(first, part)
    row, column = first.orientation[:3], first.orientation[3:]
    _check_axes(row, column, first)
    normal = np.cross(row, column)
    slices = sorted(series.slices, key=lambda part: float(part.position @ normal))
    positions = np.array([part.position for part in slices])
    step = _check_positions(positions, normal, slices, settings)
    _check_tilt(positions, normal, slices[0], settings)
    grid = Grid(
        size=(first.columns, first.rows, len(slices)),
        # PixelSpacing is (between rows, between columns): the second belongs to x.
        spacing=(first.pixel_spacing[1], first.pixel_spacing[0], step),
        origin=(float(positions[0, 0]), float(positions[0, 1]), float(positions[0, 2])),
        direction=tuple(float(v) for v in np.stack([row, column, normal], axis=1).ravel()),
    )
    return Image(_pixels(slices), grid)


def _check_axes(row: NDArray[np.float64], column: NDArray[np.float64], part: Slice) -> None:
    product = np.array([row @ row - 1, column @ column - 1, row @ column])
    if np.abs(product).max() > COSINE_TOLERANCE * 10:
        raise BadInputError(
            "row and column directions are not orthogonal unit vectors", code="bad_geometry",
            file=part.path, field="ImageOrientationPatient",
            expected="two orthogonal unit vectors", found=part.orientation.round(5).tolist(),
        )  # fmt: skip


def _check_alike(first: Slice, part: Slice) -> None:
    """Refuse slices that cannot lie in one regular volume."""
    size, other = (first.columns, first.rows), (part.columns, part.rows)
    if size != other:
        raise BadInputError(
            "slices differ in matrix size", code="mixed_size", file=part.path,
            field="Columns, Rows", expected=size, found=other,
            remedy="give one series of one reconstruction",
        )  # fmt: skip
    if np.abs(first.orientation - part.orientation).max() > COSINE_TOLERANCE:
        raise BadInputError(
            "slices differ in orientation", code="mixed_orientation", file=part.path,
            field="ImageOrientationPatient", expected=first.orientation.tolist(),
            found=part.orientation.tolist(), remedy="give one series of one reconstruction",
        )  # fmt: skip
    if np.abs(np.subtract(first.pixel_spacing, part.pixel_spacing)).max() > PIXEL_TOLERANCE_MM:
        raise BadInputError(
            "slices differ in pixel spacing", code="mixed_spacing", file=part.path,
            field="PixelSpacing", expected=first.pixel_spacing, found=part.pixel_spacing,
            remedy="give one series of one reconstruction",
        )  # fmt: skip


def _check_positions(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    slices: list[Slice],
    settings: ConvertSettings,
) -> float:
    """Return the mean slice step in mm; refuse duplicate, missing and uneven slices."""
    steps = np.diff(positions @ normal)
    tolerance = settings.spacing_tolerance_mm
    usual = float(np.median(steps))
    twin = int(np.argmin(steps))
    if steps[twin] <= tolerance:
        raise BadInputError(
            "two slices lie at the same place", code="duplicate_slices",
            file=slices[twin + 1].path, field="ImagePositionPatient",
            expected=f"a step of {usual:.4g} mm", found=f"{steps[twin]:.4g} mm",
            remedy=f"remove one of it and {slices[twin].path.name}, or name one series",
        )  # fmt: skip
    worst = int(np.argmax(np.abs(steps - usual)))
    if abs(steps[worst] - usual) <= tolerance:
        return float(steps.mean())
    gap = steps[worst] / usual
    missing = gap > 1.5 and abs(gap - round(gap)) * usual <= tolerance
    raise BadInputError(
        f"{round(gap) - 1} slices are missing" if missing else "slices are unevenly spaced",
        code="missing_slices" if missing else "uneven_slices", file=slices[worst + 1].path,
        field="ImagePositionPatient", expected=f"a step of {usual:.4g} mm +- {tolerance:g} mm",
        found=f"{steps[worst]:.4g} mm after {slices[worst].path.name}",
        remedy="fetch the whole series again",
    )  # fmt: skip


def _check_tilt(
    positions: NDArray[np.float64],
    normal: NDArray[np.float64],
    first: Slice,
    settings: ConvertSettings,
) -> None:
    """Refuse a stack that is sheared against its slices, or a header that says so."""
    along = positions[-1] - positions[0]
    height = float(along @ normal)
    sheared = float(np.degrees(np.arctan2(np.linalg.norm(along - height * normal), height)))
    tilt = max(sheared, abs(first.gantry_tilt))
    if tilt > settings.tilt_tolerance_deg:
        raise BadInputError(
            "the gantry was tilted", code="gantry_tilt", file=first.path,
            field="GantryDetectorTilt", expected=f"at most {settings.tilt_tolerance_deg:g} degrees",
            found=f"{tilt:.3g} degrees", remedy="resample the scan to orthogonal axes first",
        )  # fmt: skip


def _pixels(slices: list[Slice]) -> NDArray[np.float32]:
    """Return the rescaled pixels (z, y, x); each slice has its own slope and intercept."""
    # ITK warns about private tags on standard error; what matters is gated here.
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    first = slices[0]
    volume = np.empty((len(slices), first.rows, first.columns), dtype=np.float32)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    for index, part in enumerate(slices):
        reader.SetFileName(str(part.path))
        try:
            array = sitk.GetArrayFromImage(reader.Execute())
        except RuntimeError as error:
            raise BadInputError(
                "the pixels cannot be decoded", code="truncated_file", file=part.path,
                remedy="fetch the file again",
            ) from error  # fmt: skip
        volume[index] = array.reshape(first.rows, first.columns)
    return volume
