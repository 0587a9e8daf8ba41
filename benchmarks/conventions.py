"""The picture of docs/transforms.md: one arrow as the numbers of every convention.

    python -m benchmarks.conventions docs/images/conventions.png

The numbers are computed by the functions that convert files.
"""

import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lcsd.geometry import Grid
from lcsd.io.files import atomic_path
from lcsd.io.plotting import RC, render
from lcsd.readings.motion import stored_as

TURN = np.deg2rad(20)
DIRECTION = (np.cos(TURN), -np.sin(TURN), 0.0, np.sin(TURN), np.cos(TURN), 0.0, 0.0, 0.0, 1.0)
GRID = Grid((8, 6, 5), (2.0, 2.0, 4.0), (-8.0, -9.0, 40.0), DIRECTION)
VOXEL, STEP = np.array([2.0, 1.0, 2.0]), np.array([3.0, 2.0, 0.0])

ROWS = (
    ("ITK, ANTs, elastix, Slicer, lcsd", "displacement", "displacement, LPS mm"),
    ("NIfTI with intent 1006", "ras", "ras, RAS mm"),
    ("Learn2Reg, convexAdam, VoxelMorph (nibabel)", "voxel", "voxel, along x, y, z"),
    ("VoxelMorph fed by SimpleITK", "voxel-zyx", "voxel-zyx"),
    ("grid_sample, align_corners=False", "normalised", "normalised"),
    ("grid_sample, align_corners=True", "normalised-corners", "normalised-corners"),
    ("a map in place of a displacement", "positions", "positions, LPS mm"),
)


def _lattice(axes: Any, start: np.ndarray, motion: np.ndarray) -> None:
    """Draw a slice of the fixed scan in LPS, and the arrow."""
    x, y = np.meshgrid(np.arange(GRID.size[0]), np.arange(GRID.size[1]))
    centres = GRID.voxel_to_world(np.stack([x, y, np.full_like(x, 2)], axis=-1).astype(float))
    axes.plot(centres[..., 0], centres[..., 1], ".", color="#999999")
    for first, last in (((-0.5, -0.5), (7.5, -0.5)), ((7.5, -0.5), (7.5, 5.5)), ((7.5, 5.5), (-0.5, 5.5))):
        ends = GRID.voxel_to_world(np.array([[*first, 2.0], [*last, 2.0]]))
        axes.plot(ends[:, 0], ends[:, 1], color="#bbbbbb")
    ends = GRID.voxel_to_world(np.array([[-0.5, 5.5, 2.0], [-0.5, -0.5, 2.0]]))
    axes.plot(ends[:, 0], ends[:, 1], color="#bbbbbb")
    for axis, name in ((0, "array axis x"), (1, "array axis y")):
        way = GRID.voxel_vectors_to_world(2.4 * np.eye(3)[axis])
        corner = GRID.voxel_to_world(np.array([-1.3, -1.3, 2.0]))
        axes.annotate("", corner[:2] + way[:2], corner[:2], arrowprops={"arrowstyle": "->", "color": "#0072b2"})
        at = (corner + 1.1 * way)[:2]
        axes.text(*at, name, color="#0072b2", ha="left" if axis == 0 else "right", va="center")
    axes.annotate(
        "", (start + motion)[:2], start[:2], arrowprops={"arrowstyle": "-|>", "color": "#d55e00", "linewidth": 2.5}
    )
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    words = {"color": "#d55e00", "va": "center", "bbox": box}
    axes.text(start[0] + 0.5, start[1] - 0.6, "x, in the fixed scan", **words)
    axes.text(start[0] + motion[0] + 0.6, start[1] + motion[1], "y = x + u(x),\nin the moving scan", **words)
    axes.set(aspect="equal", xlabel="L (mm)", ylabel="P (mm)", title="A motion of 3 voxels along x and 2 along y")
    axes.set_xlim(-16.5, 7.5)
    axes.set_ylim(7.5, -13)


def _numbers(axes: Any, start: np.ndarray, motion: np.ndarray) -> None:
    """Write the numbers of the arrow in each convention."""
    axes.set_axis_off()
    axes.set_title("What a file holds for x, and its name")
    for row, (program, reading, name) in enumerate(ROWS):
        height = 0.93 - 0.135 * row
        numbers = stored_as(motion, start, GRID, reading) + 0.0  # no -0
        axes.text(0, height, program, weight="bold", va="center", fontsize=10.5)
        axes.text(0, height - 0.052, name, va="center", fontsize=9.5, color="#555555")
        text = ", ".join(f"{value:.3g}" if abs(value) > 5e-4 else "0" for value in numbers)
        axes.text(1.0, height - 0.02, f"({text})", va="center", ha="right", family="monospace", fontsize=10.5)


def _scales(axes: Any) -> None:
    """Draw where the normalised scales and the voxels of half resolution lie on a row of voxels."""
    count = GRID.size[0]
    axes.set_title("A row of 8 voxels: the two normalised scales, and the 4 voxels of Learn2Reg's half resolution")
    for voxel in range(count):
        axes.add_patch(plt.Rectangle((voxel - 0.5, 2.6), 1, 0.8, fill=False, color="#bbbbbb"))
        axes.text(voxel, 3.0, str(voxel), ha="center", va="center")
    scales = (
        ("align_corners=False", 1.75, lambda v: GRID.normalised_to_voxel(v)[0]),
        ("align_corners=True", 0.85, lambda v: GRID.corner_aligned_to_voxel(v)[0]),
    )
    for name, height, place in scales:
        marks = [float(place(np.full(3, value))) for value in (-1.0, -0.5, 0.0, 0.5, 1.0)]
        axes.plot(marks, [height] * 5, "|-", color="#009e73", markersize=10)
        for mark, value in zip(marks, ("-1", "-0.5", "0", "0.5", "1"), strict=True):
            axes.text(mark, height + 0.2, value, ha="center", va="bottom", fontsize=10, color="#009e73")
        axes.text(-0.9, height, name, ha="right", va="center")
    half = np.arange(4) * (count - 1) / 3
    axes.plot(half, [-0.05] * 4, "s", color="#cc79a7", markersize=9)
    for number, at in enumerate(half):
        axes.text(at, -0.28, str(number), ha="center", va="top", fontsize=10, color="#cc79a7")
    axes.text(-0.9, 3.0, "voxels", ha="right", va="center")
    axes.text(-0.9, -0.05, "half resolution", ha="right", va="center")
    axes.set(xlim=(-2.6, 7.8), ylim=(-0.75, 3.6))
    axes.set_axis_off()


def main(path: Path) -> None:
    """Write the picture (``.png`` or ``.jpg``)."""
    with plt.rc_context(RC):
        figure = plt.figure(figsize=(11, 8.4), layout="constrained")
        parts = figure.subplot_mosaic([["lattice", "numbers"], ["scales", "scales"]], height_ratios=[2.5, 1])
        start, motion = GRID.voxel_to_world(VOXEL), GRID.voxel_vectors_to_world(STEP)
        _lattice(parts["lattice"], start, motion)
        _numbers(parts["numbers"], start, motion)
        _scales(parts["scales"])
        with atomic_path(path) as temporary:
            temporary.write_bytes(render(figure, path.suffix.lstrip(".")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
