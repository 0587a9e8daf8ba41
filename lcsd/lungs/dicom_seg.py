"""Read the lung lobes of a DICOM segmentation (SEG) as one mask, placed by its frames' positions.

Written for the segmentations of NLST in the Imaging Data Commons (TotalSegmentator, about a hundred
structures in one file); follows PS3.3, A.51 and C.8.20. Only frames of lobes are unpacked.
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.files import require_file
from lcsd.io.images import Image
from lcsd.scans.dicom import READ_ERRORS, headers_of, quiet_pydicom, raise_if_system, truncated
from lcsd.scans.slices import refused, stack_grid, unsupported_syntax
from lcsd.scans.stack import COSINE_TOLERANCE

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"

NATIVE_SYNTAXES = frozenset({"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"})
"""Implicit and explicit little endian, and deflated. Nobody compresses single bits otherwise."""

LOBE_CODES = frozenset(
    {
        ("SCT", "45653009"),
        ("SRT", "T-28820"),  # upper lobe, with the side as modifier
        ("SCT", "90572001"),
        ("SRT", "T-28830"),  # lower lobe, with the side as modifier
        ("SCT", "72481006"),
        ("SRT", "T-28300"),  # middle lobe of right lung
        ("SCT", "44714003"),  # upper lobe of left lung
        ("SCT", "41224006"),  # lower lobe of left lung
        ("SCT", "42400003"),  # upper lobe of right lung
        ("SCT", "266005"),  # lower lobe of right lung
    }
)
"""Property types of lobes: DICOM CID 6170 (lobe of lung) and SNOMED CT's lobes of one side."""

LABEL_NEEDS = frozenset({"lung", "lobe"})
LABEL_LEVELS = frozenset({"upper", "middle", "lower"})
LABEL_MAY = LABEL_NEEDS | LABEL_LEVELS | {"left", "right", "of", "the", "structure"}
"""A label names a lobe if it has these words and no others; a lesion in a lobe has others."""

PLACE_TOLERANCE_MM = 0.1  # largest distance of a frame from a regular stack
SAME_HEIGHT_MM = 1e-3  # frames closer than this are on the same slice, of several segments


@dataclass(frozen=True)
class Lobes:
    """The lobes of a segmentation."""

    mask: Image  # their union, bool, on the segmentation's own grid, from its first to its last slice
    count: int  # segments that are lobes and have voxels


@dataclass(frozen=True)
class _Frame:
    """One frame: position (LPS mm), and pose (orientation, distance of rows and of columns)."""

    index: int
    segment: int
    position: NDArray[np.float64]
    pose: NDArray[np.float64]


def read_lobes(source: Path, *, series_uid: str | None = None) -> Lobes:
    """Return the union of the lung lobes in a DICOM SEG: a file, or a folder with one such file.

    The SEG must say that it was made from the scan ``series_uid``. Raises ``BadInputError`` unless there is
    exactly one binary SEG with lobes of that series, undamaged, whose frames form a regular stack.
    """
    with quiet_pydicom():
        folder = os.path.isdir(source)  # noqa: PTH112 - no error for one that is closed
        return _lobes(_one_seg(source) if folder else require_file(source), series_uid)


def _lobes(path: Path, series_uid: str | None) -> Lobes:
    data = _read(path)
    if series_uid is not None:
        _check_series(data, series_uid, path)
    try:
        lobes = {int(segment.SegmentNumber) for segment in data.SegmentSequence if _is_lobe(segment)}
        segments = len(data.SegmentSequence)
        frames = _frames(data, path) if lobes else []
    except READ_ERRORS as error:
        raise truncated(path, "segments or frames that cannot be read") from error
    if not lobes:
        raise BadInputError(
            "no segment is a lobe of the lung",
            code="no_lobes",
            file=path,
            field="SegmentedPropertyTypeCodeSequence, SegmentLabel",
            expected="codes or labels of lobes, such as lung_upper_lobe_left",
            found=f"{segments} other segments",
            remedy="give the segmentation with the lobes, or a NIfTI mask",
        )
    return _union(data, frames, lobes, path)


def _one_seg(folder: Path) -> Path:
    found = [header.path for header in headers_of(folder) if header.text("SOPClassUID") in (SEGMENTATION, LABEL_MAP)]
    if len(found) != 1:
        raise BadInputError(
            "not one DICOM SEG in the folder",
            code="several_segs" if found else "not_seg",
            file=folder,
            expected=1,
            found=len(found),
            remedy="give the file itself",
        )
    return found[0]


def _read(path: Path) -> Any:
    try:
        data = pydicom.dcmread(path)
        kind = str(data.get("SOPClassUID", ""))
        coding = str(data.get("SegmentationType", "")).upper()
        syntax = data.file_meta.get("TransferSyntaxUID")
        bits = int(data.get("BitsAllocated") or 0)
    except READ_ERRORS as error:
        if isinstance(error, InvalidDicomError):
            raise _not_seg(path, "not a DICOM file") from error
        raise_if_system(error)
        raise truncated(path, "a header that cannot be read") from error
    if kind not in (SEGMENTATION, LABEL_MAP):
        raise _not_seg(path, "another class")
    if kind == LABEL_MAP or coding != "BINARY" or bits != 1:
        raise BadInputError(
            "only binary segmentations are read",
            code="seg_not_binary",
            file=path,
            field="SegmentationType",
            expected="BINARY",
            found="LABELMAP" if kind == LABEL_MAP else coding[:16] or "none",
            remedy="threshold it and save it as BINARY or as a NIfTI mask",
        )
    if syntax is None or str(syntax) not in NATIVE_SYNTAXES:
        raise unsupported_syntax(path, syntax, expected="uncompressed or deflated")
    return data


def _check_series(data: Any, series_uid: str, path: Path) -> None:
    named = [str(item.get("SeriesInstanceUID", "")) for item in data.get("ReferencedSeriesSequence", [])]
    if series_uid not in named:
        raise BadInputError(
            "the segmentation was made from another series",
            code="other_series",
            file=path,
            field="ReferencedSeriesSequence",
            expected="the scan's series",
            found="another one" if named else "none",
            remedy="give the segmentation of this scan, or leave --series-uid out",
        )


def _is_lobe(segment: Any) -> bool:
    """Return whether code or label says that a segment is a lobe of the lung."""
    for code in segment.get("SegmentedPropertyTypeCodeSequence", []):
        pair = (str(code.get("CodingSchemeDesignator", "")), str(code.get("CodeValue", "")))
        if pair in LOBE_CODES:
            return True
    words = set(re.findall(r"[a-z]+", str(segment.get("SegmentLabel", "")).lower()))
    return bool(words >= LABEL_NEEDS and words & LABEL_LEVELS and words <= LABEL_MAY)


def _frames(data: Any, path: Path) -> list[_Frame]:
    """Return all frames; attributes that a frame lacks are shared by all frames."""
    shared = next(iter(data.get("SharedFunctionalGroupsSequence", [])), pydicom.Dataset())
    frames = []
    for index, own in enumerate(data.PerFrameFunctionalGroupsSequence):

        def group(name: str, own: Any = own) -> Any:
            return (own if name in own else shared)[name].value[0]

        measures = group("PixelMeasuresSequence")
        orientation = group("PlaneOrientationSequence").ImageOrientationPatient
        frame = _Frame(
            index=index,
            segment=int(group("SegmentIdentificationSequence").ReferencedSegmentNumber),
            position=_floats(group("PlanePositionSequence").ImagePositionPatient),
            pose=_floats([*orientation, *measures.PixelSpacing]),
        )
        if frame.position.shape != (3,) or frame.pose.shape != (8,):
            raise truncated(path, "frames without a position")
        frames.append(frame)
    return frames


def _floats(values: Iterable[Any]) -> NDArray[np.float64]:
    return np.array([float(value) for value in values])


def _union(data: Any, frames: list[_Frame], lobes: set[int], path: Path) -> Lobes:
    used = [frame for frame in frames if frame.segment in lobes]
    if not used:
        raise _empty(path)
    grid, index = _grid_of(data, frames, used, path)
    rows, columns = grid.size[1], grid.size[0]
    packed = np.frombuffer(data.get("PixelData") or b"", dtype=np.uint8)
    if packed.size * 8 < len(frames) * rows * columns:
        raise truncated(path, f"{packed.size} bytes of pixels for {len(frames)} frames")
    mask = np.zeros(grid.shape, dtype=bool)
    found = set()
    for frame, k in zip(used, index, strict=True):
        plane = _unpacked(packed, frame.index * rows * columns, rows * columns)
        if plane.any():
            mask[k] |= plane.reshape(rows, columns)
            found.add(frame.segment)
    if not found:
        raise _empty(path)
    return Lobes(Image(mask, grid), len(found))


def _unpacked(packed: NDArray[np.uint8], start: int, count: int) -> NDArray[np.bool_]:
    """Return ``count`` bits from bit ``start`` on, lowest of a byte first; frames have no padding (PS3.5, 8.1.1)."""
    part = packed[start // 8 : -(-(start + count) // 8)]
    bits = np.unpackbits(part, bitorder="little")
    return bits[start % 8 : start % 8 + count].view(np.bool_)


def _grid_of(data: Any, frames: list[_Frame], used: list[_Frame], path: Path) -> tuple[Grid, NDArray[np.int64]]:
    """Return the grid of the used frames and the slice of each; the step is the smallest between any two frames."""
    pose = used[0].pose
    row, column = pose[:3], pose[3:6]
    normal = np.cross(row, column)
    length = float(np.linalg.norm(normal))
    if not np.isfinite([f.position for f in frames]).all() or not abs(length - 1) < 1e-3:
        raise _crooked(path, "positions and directions that are numbers")
    normal /= length
    if max(np.abs(f.pose - pose).max() for f in used) > COSINE_TOLERANCE:
        raise _crooked(path, "one orientation and pixel spacing")
    every = np.sort([f.position @ normal for f in frames])
    steps = np.diff(every)
    steps = steps[steps > SAME_HEIGHT_MM]
    step = float(steps.min()) if len(steps) else _thickness(data, path)
    positions = np.array([f.position for f in used])
    heights = positions @ normal
    lowest, highest = int(heights.argmin()), int(heights.argmax())
    count = round((heights[highest] - heights[lowest]) / step)
    if count:
        # Positions in the header are rounded; over the whole stack the step is more exact.
        step = float(heights[highest] - heights[lowest]) / count
    index = np.rint((heights - heights[lowest]) / step).astype(np.int64)
    places = positions[lowest] + index[:, None] * step * normal
    if np.linalg.norm(places - positions, axis=1).max() > PLACE_TOLERANCE_MM:
        raise _crooked(path, f"one regular stack within {PLACE_TOLERANCE_MM} mm")
    grid = stack_grid(
        (int(data.Columns), int(data.Rows), int(index.max()) + 1),
        pixel_spacing=pose[6:].tolist(),
        step=step,
        first=positions[lowest],
        axes=(row, column, normal),
    )
    return grid, index


def _thickness(data: Any, path: Path) -> float:
    """Return the slice thickness, used as the step if all frames are on one slice."""
    try:
        measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
        thickness = float(measures.get("SpacingBetweenSlices") or measures.SliceThickness)
    except READ_ERRORS as error:
        raise _crooked(path, "a slice thickness") from error
    return thickness


def _not_seg(path: Path, found: str) -> BadInputError:
    return refused(
        path,
        "not a DICOM segmentation",
        code="not_seg",
        field="SOPClassUID",
        expected="segmentation storage",
        found=found,
        remedy="give a DICOM SEG or a .nii.gz mask",
    )


def _crooked(path: Path, expected: str) -> BadInputError:
    return refused(
        path,
        "the frames of the segmentation do not form a volume",
        code="bad_geometry",
        field="PerFrameFunctionalGroupsSequence",
        expected=expected,
        found="others",
        remedy="export it again, or give a NIfTI mask",
    )


def _empty(path: Path) -> BadInputError:
    return BadInputError(
        "the lobes are empty",
        code="empty_mask",
        file=path,
        expected="at least one voxel",
        found="0 voxels",
        remedy="check the segmentation",
    )
