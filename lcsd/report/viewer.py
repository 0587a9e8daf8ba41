"""The 3-D view of a page: the data it gets, and its pictures for print and old browsers."""

import base64
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lcsd.plotting import RC, method_name
from lcsd.report.motion import CloudMotion, Points
from lcsd.report.panels import PICTURE_DPI, PICTURE_WIDTH_IN, full_ink
from lcsd.report.surface import RAMP, error_ramp, scale_top

RESIDUAL_STEP_MM = 0.01
"""Unit of the distances that a page carries; 16 bits hold 655 mm."""

STEPS = 2**16 - 1

PIXEL_MM = 1.0
BLUR_MM = 1.3
"""Wider than half a voxel of the common grid, or the lattice of the points shows."""

MARGIN_MM = 20.0
"""Shown around both clouds. A method may carry points anywhere: what lies beyond stays out of the
pictures, which would grow with it, and at the border of the 3-D view."""

SIDES = (("from the front", (0, 2), ("R", "L")), ("from the left", (1, 2), ("A", "P")))
"""Title, world axes across and upwards, and what is at the left and right edge."""


def viewer_data(motion: CloudMotion, *, limit: int) -> dict[str, Any]:
    """Return what the 3-D view gets, JSON-serialisable.

    Positions are 16-bit steps from ``low_mm``, at most 0.01 mm wide for a pair of lungs; each
    point is x, y, z and its distance to the other cloud in ``residual_step_mm``. Clouds with more
    than ``limit`` points are thinned at random, always in the same way; distances are those to
    the whole cloud.

    Parameters
    ----------
    limit
        Largest number of points of a cloud.
    """
    clouds = (motion.fixed, motion.moving)
    low, high = shown_box(motion)
    step = max(float((high - low).max()) / STEPS, 1e-6)
    fixed, moving = (_thinned(len(points), limit) for points in clouds)

    def pack(points: Points, residual: NDArray[np.float64]) -> str:
        values = np.column_stack([(points - low) / step, residual / RESIDUAL_STEP_MM])
        steps = np.clip(np.rint(values), 0, STEPS).astype("<u2")
        return base64.b64encode(steps.tobytes()).decode("ascii")

    return {
        "low_mm": low.tolist(),
        "step_mm": step,
        "centre_mm": ((low + high) / 2).tolist(),
        "half_mm": ((high - low) / 2).tolist(),
        "radius_mm": float(np.linalg.norm(high - low)) / 2,
        "residual_step_mm": RESIDUAL_STEP_MM,
        "top_mm": residual_top(motion),
        "ramp": [list(stop) for stop in RAMP],
        "fixed": pack(motion.fixed[fixed], motion.before[fixed]),
        "moving": pack(motion.moving[moving], np.zeros(len(moving))),
        "methods": [
            {
                "name": method_name(name),
                "points": pack(moved.points[fixed], moved.residual[fixed]),
                "median_mm": float(np.median(moved.residual)),
            }
            for name, moved in motion.after.items()
        ],
        "median_mm": float(np.median(motion.before)),
    }


def shown_box(motion: CloudMotion) -> tuple[Points, Points]:
    """Return the lowest and the highest corner of what is shown, LPS mm."""
    both = np.concatenate([motion.fixed, motion.moving])
    return both.min(axis=0) - MARGIN_MM, both.max(axis=0) + MARGIN_MM


def _thinned(count: int, limit: int) -> NDArray[np.intp]:
    if count <= limit:
        return np.arange(count)
    # Every n-th point would show as a pattern: points stand in the order of the lattice.
    return np.sort(np.random.default_rng(0).choice(count, limit, replace=False))


def residual_top(motion: CloudMotion) -> float:
    """Return the distance, mm, at which the colours end."""
    return scale_top([motion.before, *(moved.residual for moved in motion.after.values())])


def residual_figure(motion: CloudMotion) -> Figure:
    """Return the fixed cloud before and after each method, coloured by mean residual.

    A row per side from which it is seen.
    """
    states = {"before (rigid)": (motion.fixed, motion.before)}
    for name, moved in motion.after.items():
        states[f"after {method_name(name)}"] = (moved.points, moved.residual)
    low, high = shown_box(motion)
    size = high - low
    scale, ramp = Normalize(0.0, residual_top(motion)), error_ramp()
    heights = [float(size[2] / size[across]) for _, (across, _), _ in SIDES]
    column_in = (PICTURE_WIDTH_IN - 1.2) / max(len(states), 2)
    with mpl.rc_context({**RC, "font.size": 10}):
        figure = Figure(
            (1.2 + column_in * len(states), 0.5 + column_in * sum(heights)), dpi=PICTURE_DPI, layout="constrained"
        )
        axes = figure.subplots(len(SIDES), len(states), squeeze=False, height_ratios=heights)
        for column, (label, (points, residual)) in enumerate(states.items()):
            axes[0, column].set_title(label, loc="center", fontweight="normal", pad=3)
            for row, (_, shown, edges) in enumerate(SIDES):
                ink, mean = _projected(points, residual, shown, low, high)
                colours = ramp(scale(mean))[..., :3]
                panel = axes[row, column]
                panel.imshow(1 - ink[..., None] * (1 - colours), interpolation="bilinear")
                panel.set(xticks=[], yticks=[])
                panel.spines[:].set_visible(False)
                for x, text in zip((0.02, 0.98), edges, strict=True):
                    panel.text(
                        x,
                        0.02,
                        text,
                        transform=panel.transAxes,
                        color="#444444",
                        fontsize=9,
                        ha="left" if x < 0.5 else "right",
                    )
        for row, (title, _, _) in enumerate(SIDES):
            axes[row, 0].set_ylabel(title, color="#222222")
        figure.colorbar(
            ScalarMappable(scale, ramp),
            ax=axes,
            label="distance to the follow-up's vessels (mm)",
            extend="max",
            shrink=0.8,
            aspect=30,
        )
    return figure


def _projected(
    points: Points, residual: NDArray[np.float64], shown: tuple[int, int], low: Points, high: Points
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ink in [0, 1] and the mean residual (mm) of every pixel, head up."""
    across, up = shown
    bins = [max(int(np.ceil((high[axis] - low[axis]) / PIXEL_MM)), 1) for axis in (up, across)]
    spans = [(low[axis], low[axis] + n * PIXEL_MM) for axis, n in zip((up, across), bins, strict=True)]
    maps = []
    for weights in (np.ones(len(points)), residual):
        counts, _, _ = np.histogram2d(points[:, up], points[:, across], bins=bins, range=spans, weights=weights)
        maps.append(gaussian_filter(counts, BLUR_MM / PIXEL_MM)[::-1])
    density, total = maps
    ink = np.clip(np.sqrt(density / full_ink(density)), 0.0, 1.0)
    return ink, total / np.maximum(density, 1e-9)
