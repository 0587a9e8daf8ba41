"""Convert a DICOM series or a volume (NIfTI, NRRD, MetaImage) to one volume in HU, or give the reason why not.

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
from lcsd.io.files import require_file
from lcsd.io.images import IMAGE_SUFFIXES, Image, check_spacing, is_image, read_image
from lcsd.io.itk import itk_path, warnings_of_itk
from lcsd.scans.dicom import Series, read_folder, truncated
from lcsd.scans.headers import technical_fields
from lcsd.scans.slices import Slice, check_shared, read_slice
from lcsd.scans.stack import fit_stack, sorted_slices
from lcsd.settings.convert import ConvertSettings

HU_LOWEST = -1024  # air in 12-bit CT; scanners pad outside the field of view with lower values (-2000, -3024)

HU_HIGHEST = int(np.iinfo(np.int16).max)

AIR_HU = (-1200.0, -500.0)  # lung and air; padding lies below, soft tissue above


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
    """Return the scan in a DICOM folder or a volume file, in HU and with its own geometry.

    Voxel axes stay as they are in the source (any direction). Values are rounded to int16 and limited to at least -1024
    HU. Raises ``BadInputError`` if the source fails a gate; its code names the gate (docs/convert.md lists all).
    """
    settings = settings or ConvertSettings()
    if os.path.isdir(source):  # noqa: PTH112 - no error for a folder that is closed
        series = read_folder(source, series_uid=settings.series_uid, min_slices=settings.min_slices)
        return _stack(series, settings)
    if not is_image(source):
        require_file(source)
        raise BadInputError(
            "not a scan",
            code="unknown_source",
            file=source,
            expected=f"a folder with DICOM files, or a file {', '.join(IMAGE_SUFFIXES)}",
            found=source.name,
            remedy="give one of them",
        )
    image = read_image(source)
    # A volume does not say along which axis slices were taken; assume the shortest.
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
    stack = fit_stack(sorted_slices(slices), settings)
    check_spacing(stack.grid, series.folder)
    volume = _in_hu(_planes(stack.slices), stack.grid.shape, settings.min_air_fraction, series.folder)
    return Scan(
        image=Image(volume, stack.grid),
        series_uid=series.uid or None,
        header=technical_fields([header.values for header in series.headers]),
        skipped=series.skipped,
        misplaced_mm=stack.misplaced_mm,
    )


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
