"""The 3-D view of a page: its data, and still pictures for print and old browsers."""

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lcsd.io.plotting import BASE_FONT_PT, method_name
from lcsd.report.panels import Projection, full_ink
from lcsd.report.registered import MovedCloud, Points, RegisteredClouds
from lcsd.report.sheet import LABEL_IN, PICTURE_WIDTH_IN, TITLE_IN, Box, Sheet
from lcsd.report.surface import GAP_IN, RAMP, SCALE_IN, error_ramp, scale_top

RESIDUAL_STEP_MM = 0.01
"""Unit of the distances in a page; 16 bits reach 655 mm."""

STEPS = 2**16 - 1

PIXEL_MM = 1.0
BLUR_MM = 1.3

MARGIN_MM = 20.0
"""Margin around both clouds. Moved points farther away are not in the pictures, which would grow, and at the border
of the 3-D view."""

SIDES = (("from the front", (0, 2), ("R", "L")), ("from the left", (1, 2), ("A", "P")))
"""Title, world axes across and upwards, and letters of the left and right edge."""


def viewer_data(registered: RegisteredClouds, *, limit: int) -> dict[str, Any]:
    """Return the data of the 3-D view, JSON-serialisable.

    A point is x, y, z in 16-bit steps from ``low_mm``, at most 0.01 mm wide for a pair of lungs, and its distance to
    the other cloud in ``residual_step_mm``. The expected errors of a method are in ``residual_step_mm``, too, 16 bits
    each; empty if it has none. Of a cloud with more than ``limit`` points a random sample is shown, the
    same in every call; distances are measured to all points.
    """
    clouds = (registered.fixed, registered.moving)
    low, high = shown_box(registered)
    step = max(float((high - low).max()) / STEPS, 1e-6)
    fixed, moving = (_thinned(len(points), limit) for points in clouds)

    def pack(points: Points, residual: NDArray[np.float64]) -> str:
        values = np.column_stack([(points - low) / step, residual / RESIDUAL_STEP_MM])
        return _packed(values)

    def expected(moved: MovedCloud) -> str:
        return "" if moved.expected is None else _packed(moved.expected[fixed] / RESIDUAL_STEP_MM)

    return {
        "low_mm": low.tolist(),
        "step_mm": step,
        "centre_mm": ((low + high) / 2).tolist(),
        "half_mm": ((high - low) / 2).tolist(),
        "radius_mm": float(np.linalg.norm(high - low)) / 2,
        "residual_step_mm": RESIDUAL_STEP_MM,
        "top_mm": residual_top(registered),
        "expected_top_mm": expected_top(registered),
        "ramp": [list(stop) for stop in RAMP],
        "fixed": pack(registered.fixed[fixed], registered.before[fixed]),
        "moving": pack(registered.moving[moving], np.zeros(len(moving))),
        "methods": [
            {
                "name": method_name(name),
                "points": pack(moved.points[fixed], moved.residual[fixed]),
                "expected": expected(moved),
                "median_mm": float(np.median(moved.residual)),
            }
            for name, moved in registered.after.items()
        ],
        "median_mm": float(np.median(registered.before)),
    }


def _packed(steps: NDArray[np.float64]) -> str:
    """Return numbers as 16 bits each, as text."""
    return base64.b64encode(np.clip(np.rint(steps), 0, STEPS).astype("<u2").tobytes()).decode("ascii")


def shown_box(registered: RegisteredClouds) -> tuple[Points, Points]:
    """Return the lowest and highest corner of the view, shape (3,), LPS mm."""
    both = np.concatenate([registered.fixed, registered.moving])
    return both.min(axis=0) - MARGIN_MM, both.max(axis=0) + MARGIN_MM


def _thinned(count: int, limit: int) -> NDArray[np.intp]:
    if count <= limit:
        return np.arange(count)
    # Points are in the order of the lattice, so every n-th point would be a visible pattern.
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False))


def residual_top(registered: RegisteredClouds) -> float:
    """Return the distance at the end of the colour scale, mm."""
    return scale_top([registered.before, *(moved.residual for moved in registered.after.values())])


def expected_top(registered: RegisteredClouds) -> float:
    """Return the expected error at the end of its colour scale, mm; 0 if no method has expected errors."""
    found = [moved.expected for moved in registered.after.values() if moved.expected is not None]
    return scale_top(found) if found else 0.0


def residual_figure(registered: RegisteredClouds) -> Figure:
    """Return the fixed cloud before and after each method, coloured by mean residual, a row per side."""
    states = {"before (rigid)": (registered.fixed, registered.before)}
    for name, moved in registered.after.items():
        states[f"after {method_name(name)}"] = (moved.points, moved.residual)
    label = "distance to the follow-up's vessels (mm)"
    return _coloured(registered, states, top=residual_top(registered), label=label)


def expected_figure(registered: RegisteredClouds) -> Figure | None:
    """Return the moved cloud, coloured by mean expected error, a row per side; None without expected errors."""
    states = {
        f"after {method_name(name)}": (moved.points, moved.expected)
        for name, moved in registered.after.items()
        if moved.expected is not None
    }
    return _coloured(registered, states, top=expected_top(registered), label="expected error (mm)") if states else None


def _coloured(
    registered: RegisteredClouds, states: Mapping[str, tuple[Points, NDArray[np.float64]]], *, top: float, label: str
) -> Figure:
    """Return clouds from two sides, coloured by the mean of their values, mm; a column per state."""
    low, high = shown_box(registered)
    size = high - low
    scale, ramp = Normalize(0.0, top), error_ramp()
    width = (PICTURE_WIDTH_IN - LABEL_IN - SCALE_IN) / max(len(states), 2)
    heights = [(width - GAP_IN) * float(size[2] / size[across]) for _, (across, _), _ in SIDES]
    height = sum(heights) + GAP_IN * len(SIDES)
    sheet = Sheet(LABEL_IN + width * len(states) + SCALE_IN, TITLE_IN + height)
    bottom = height
    for (side, shown, edges), row_in in zip(SIDES, heights, strict=True):
        bottom -= row_in + GAP_IN
        boxes = [
            Box(LABEL_IN + width * column, bottom + GAP_IN / 2, width - GAP_IN, row_in) for column in range(len(states))
        ]
        sheet.row_label(boxes[0], side, fontsize=10)
        projection = Projection(shown, low, size, PIXEL_MM, BLUR_MM)
        for box, (title, (points, values)) in zip(boxes, states.items(), strict=True):
            density, total = projection.density(points), projection.density(points, values)
            ink = np.clip(np.sqrt(density / full_ink(density)), 0.0, 1.0)
            mean = total / np.maximum(density, 1e-9)
            colours = ramp(scale(mean))[..., :3]
            sheet.picture(box, 1 - ink[..., None] * (1 - colours))
            sheet.sides(box, edges)
            if side == SIDES[0][0]:
                sheet.title(box, title, fontsize=BASE_FONT_PT)
    place = Box(LABEL_IN + width * len(states) + 0.2, 0.12 * height, 0.16, 0.76 * height)
    sheet.scale(place, ScalarMappable(scale, ramp), label)
    return sheet.figure
