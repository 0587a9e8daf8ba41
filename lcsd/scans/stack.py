"""Judge slices of a series against the regular stack that fits them best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.scans.slices import Slice, refused, stack_grid
from lcsd.settings.convert import ConvertSettings

COSINE_TOLERANCE = 1e-4  # direction cosines of one series agree to this: headers print them with six decimals

AXES_TOLERANCE = 2e-4
"""Row and column are orthogonal unit vectors within this: four decimals give 1e-4. Over half a metre
that is 0.05 mm, less than sform and qform of the written file may differ."""

PIXEL_TOLERANCE_MM = 1e-4  # pixel spacings of one series agree to this

ROUNDING_MM = 1e-6
"""Decimals of a header become binary numbers: a deviation of exactly the tolerance is within it."""

WHOLE_MM = 1.0
"""Some exporters write whole millimetres. Then slices of a regular stack are up to half of it off."""

FEWEST_WHOLE = 2.5
"""Usual step, in units of ``WHOLE_MM``, from which on a missing slice moves others by more than half a unit."""

GAP = 1.5
"""A step of so many usual ones is a gap."""


@dataclass(frozen=True)
class Stack:
    """Slices in order along their normal."""

    slices: tuple[Slice, ...]
    grid: Grid
    misplaced_mm: float  # largest distance between a slice's own position and its place on the grid


def sorted_slices(slices: Sequence[Slice]) -> list[Slice]:
    """Return slices in order along their normal; refuse slices that differ in size, orientation or spacing."""
    first = slices[0]
    for part in slices[1:]:
        _check_alike(first, part)
    _check_axes(first)
    normal = _normal(first)
    return sorted(slices, key=lambda part: float(part.position @ normal))


def fit_stack(slices: Sequence[Slice], settings: ConvertSettings) -> Stack:
    """Return sorted slices on the regular grid that fits their positions best.

    Step and origin are medians (Theil and Sen), so that rounded decimals even out and a slice out of place
    does not move the others. Raises ``BadInputError`` for duplicate, missing, uneven, tilted and shifted slices.
    """
    first = slices[0]
    normal = _normal(first)
    positions = np.array([part.position for part in slices])
    tolerance = _tolerance(positions @ normal, settings)
    _check_gaps(positions @ normal, slices, tolerance)
    order = np.arange(len(slices))
    along = _median_steps(positions)
    origin = np.median(positions - order[:, None] * along, axis=0)
    step = float(along @ normal)
    _check_steps(positions @ normal - (origin @ normal + order * step), step, slices, tolerance)
    _check_tilt(along, normal, slices, settings)
    grid = stack_grid(
        (first.columns, first.rows, len(slices)),
        pixel_spacing=first.pixel_spacing,
        step=step,
        first=origin,
        axes=(first.orientation[:3], first.orientation[3:], normal),
    )
    return Stack(tuple(slices), grid, _check_places(positions, grid, slices, tolerance, settings))


def _tolerance(heights: NDArray[np.float64], settings: ConvertSettings) -> float:
    """Return the largest distance of a slice from its place, mm: larger for heights in whole millimetres."""
    usual = (heights[-1] - heights[0]) / (len(heights) - 1)
    rounded = _whole(heights) and usual >= FEWEST_WHOLE * WHOLE_MM
    return max(settings.spacing_tolerance_mm, WHOLE_MM / 2 if rounded else 0.0)


def _whole(values: NDArray[np.float64]) -> bool:
    """Return whether lengths, mm, are whole numbers of ``WHOLE_MM``."""
    return bool(np.abs(values - np.rint(values / WHOLE_MM) * WHOLE_MM).max() <= ROUNDING_MM)


def _normal(part: Slice) -> NDArray[np.float64]:
    normal = np.cross(part.orientation[:3], part.orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def _median_steps(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median of the slopes of all pairs of slices, per coordinate, shape (3,) mm per slice."""
    from scipy.stats import theilslopes

    return np.array([theilslopes(coordinate)[0] for coordinate in positions.T])


def _check_axes(part: Slice) -> None:
    row, column = part.orientation[:3], part.orientation[3:]
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


def _check_gaps(heights: NDArray[np.float64], slices: Sequence[Slice], tolerance: float) -> None:
    """Refuse duplicate slices, and steps of more than one slice."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    twin, widest = int(np.argmin(steps)), int(np.argmax(steps))
    if steps[twin] <= tolerance:
        one_file = slices[twin].path == slices[twin + 1].path
        raise BadInputError(
            "two slices have the same position",
            code="duplicate_slices",
            file=slices[twin + 1].path,
            field="ImagePositionPatient",
            expected=f"a step of {usual:.4g} mm",
            found=f"{steps[twin]:.4g} mm",
            remedy="give one acquisition per file"
            if one_file
            else f"remove this file or {slices[twin].path.name}, or choose one series",
        )
    # Both ends of a step may be off by the tolerance.
    gap, slack = steps[widest] / usual, 2 * tolerance + ROUNDING_MM
    if gap <= GAP or steps[widest] - usual <= slack:
        return
    missing = abs(gap - round(gap)) * usual <= slack
    raise BadInputError(
        f"{round(gap) - 1} slices are missing" if missing else "slices are unevenly spaced",
        code="missing_slices" if missing else "uneven_slices",
        file=slices[widest + 1].path,
        field="ImagePositionPatient",
        expected=f"a step of {usual:.4g} mm +- {tolerance:g} mm",
        found=f"{steps[widest]:.4g} mm after {slices[widest].path.name}",
        remedy="fetch the whole series again",
    )


def _check_steps(apart: NDArray[np.float64], step: float, slices: Sequence[Slice], tolerance: float) -> None:
    """Refuse slices off the regular stack; ``apart`` are their distances from it along the normal, mm."""
    most = tolerance + ROUNDING_MM
    worst = int(np.abs(apart).argmax())
    # Steps that are each within the tolerance but add up are reported by the position.
    if abs(apart[worst]) <= most or np.abs(np.diff(apart)).max() <= most:
        return
    raise BadInputError(
        "slices are unevenly spaced",
        code="uneven_slices",
        file=slices[worst].path,
        field="ImagePositionPatient",
        expected=f"at most {tolerance:g} mm from a regular stack with steps of {step:.4g} mm",
        found=f"{abs(apart[worst]):.4g} mm",
        remedy="fetch the whole series again",
    )


def _check_tilt(
    along: NDArray[np.float64], normal: NDArray[np.float64], slices: Sequence[Slice], settings: ConvertSettings
) -> None:
    """Refuse slices that are tilted against the axis of the stack, by position or by header."""
    first, height = slices[0], float(along @ normal)
    sideways = float(np.linalg.norm(along - height * normal))
    tilt = abs(first.gantry_tilt)
    # Rounded decimals tilt a short stack, but no slice leaves its place.
    if sideways * (len(slices) - 1) > 2 * settings.spacing_tolerance_mm:
        tilt = max(tilt, float(np.degrees(np.arctan2(sideways, height))))
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
    positions: NDArray[np.float64], grid: Grid, slices: Sequence[Slice], tolerance: float, settings: ConvertSettings
) -> float:
    """Refuse slices far from their place, as small errors of steps add up; return the largest distance, mm.

    ``tolerance`` is that of heights. Sideways, too, it is that of whole millimetres only if all coordinates are whole.
    """
    index = np.zeros_like(positions)
    index[:, 2] = np.arange(len(positions))
    off = positions - grid.voxel_to_world(index)
    normal = _normal(slices[0])
    sideways = off - np.outer(off @ normal, normal)
    allowed = tolerance if _whole(positions) else settings.spacing_tolerance_mm
    for apart, most in ((sideways, min(tolerance, allowed)), (off, tolerance)):
        distance = np.linalg.norm(apart, axis=1)
        worst = int(distance.argmax())
        if distance[worst] > most + ROUNDING_MM:
            raise BadInputError(
                "slices do not form a straight, regular stack",
                code="shifted_slices",
                file=slices[worst].path,
                field="ImagePositionPatient",
                expected=f"at most {most:g} mm from the regular position",
                found=f"{distance[worst]:.4g} mm",
                remedy="resample the scan to a regular grid first",
            )
    return float(np.linalg.norm(off, axis=1).max())
