"""Convert a DICOM series or a volume (NIfTI, NRRD, MetaImage) to one volume in HU, or give the reason why not.

Each slice is placed by its own header (ImagePositionPatient). ITK would take the spacing from the
first and last slice, so a gap would stretch the volume.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lcsd.errors import BadInputError
from lcsd.io.files import require_file
from lcsd.io.images import IMAGE_SUFFIXES, Image, check_spacing, is_image, read_image
from lcsd.scans.acquisitions import check_acquisitions, check_alternation, check_borders
from lcsd.scans.dicom import MEDIA_DIRECTORY, Header, Series, read_folder, read_header
from lcsd.scans.frames import frames_of
from lcsd.scans.headers import technical_fields
from lcsd.scans.hounsfield import in_hu
from lcsd.scans.neighbours import averaged, check_odd_slices, largest_disorder, largest_seam, repeated_slices
from lcsd.scans.pixels import planes
from lcsd.scans.slices import check_frames, check_shared, read_slice
from lcsd.scans.stack import fit_stack, sorted_slices
from lcsd.settings.convert import ConvertSettings


@dataclass(frozen=True)
class Neighbours:
    """How slices differ from their neighbours, as only two acquisitions or exchanged slices do."""

    seam: tuple[float, int]  # see largest_seam
    order: tuple[float, int]  # see largest_disorder
    repeated: list[int]  # see repeated_slices


@dataclass(frozen=True)
class Scan:
    """A checked scan."""

    image: Image  # HU, int16, (z, y, x); for DICOM the slices in order along their normal
    series_uid: str | None  # SeriesInstanceUID; none for volumes and for de-identified files without it
    neighbours: Neighbours
    header: Mapping[str, object] | None = None  # allow-listed technical fields of the DICOM header; none for volumes
    # Counts of files in the DICOM folder that do not belong to the scan
    skipped: Mapping[str, int] = field(default_factory=dict)
    # Largest distance between a slice's own position and its place in the volume; 0 for volumes
    misplaced_mm: float = 0.0
    first: Header | None = field(default=None, repr=False)  # header of an image, to compare persons; none for volumes


def read_scan(source: Path, settings: ConvertSettings | None = None) -> Scan:
    """Return the scan in a DICOM folder or a volume file, in HU and with its own geometry.

    Voxel axes stay as they are in the source (any direction). Values are rounded to int16 and limited to at least -1024
    HU. Raises ``BadInputError`` if the source fails a gate; its code names the gate (docs/convert.md lists all).
    """
    settings = settings or ConvertSettings()
    folder = os.path.isdir(source)  # noqa: PTH112 - no error for a folder that is closed
    if not folder and is_image(source):
        image = read_image(source)
        # A volume does not say along which axis slices were taken; assume the shortest.
        _check_slices(min(image.grid.size), settings.min_slices, source)
        image = Image(in_hu(image.array, image.grid.shape, settings, source), image.grid)
        return Scan(image, None, _check_neighbours(image, source, stacked=False))
    header = None if folder else read_header(require_file(source))
    if not folder and (header is None or header.text("SOPClassUID") == MEDIA_DIRECTORY):
        raise BadInputError(
            "not a scan" if header is None else "a DICOMDIR lists images and holds none",
            code="unknown_source",
            file=source,
            expected=f"a DICOM file or a folder of them, or a file {', '.join(IMAGE_SUFFIXES)}",
            found=source.name,
            remedy="give one of them",
        )
    series = read_folder(source, series_uid=settings.series_uid, min_slices=settings.min_slices, split=frames_of)
    return _stack(series, settings)


def _check_neighbours(image: Image, source: Path, *, stacked: bool) -> Neighbours:
    check_alternation(image, source, stacked=stacked)
    stack = averaged(image, stacked=stacked)
    check_odd_slices(stack, source)
    return Neighbours(largest_seam(stack), largest_disorder(stack), repeated_slices(image, stack, stacked=stacked))


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


def _stack(series: Series, settings: ConvertSettings) -> Scan:
    """Return the slices of a series as one volume, after all gates on them."""
    check_frames(series.headers)
    _check_slices(len(series.headers), settings.min_slices, series.folder)
    slices = [read_slice(header, settings) for header in series.headers]
    check_shared(series.headers)
    slices = sorted_slices(slices)
    check_acquisitions(slices)
    stack = fit_stack(slices, settings)
    check_spacing(stack.grid, series.folder)
    volume = in_hu(planes(stack.slices), stack.grid.shape, settings, series.folder)
    image = Image(volume, stack.grid)
    check_borders(volume, stack.slices)
    return Scan(
        image=image,
        series_uid=series.uid or None,
        neighbours=_check_neighbours(image, series.folder, stacked=True),
        header=technical_fields([header.values for header in series.headers]),
        skipped=series.skipped,
        misplaced_mm=stack.misplaced_mm,
        first=series.headers[0],
    )
