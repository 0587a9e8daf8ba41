"""A small chest in HU, and the table row that all files of this folder use."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from lcsd.geometry import Grid
from lcsd.io.images import Image
from tests.series import SLICES, SPACING, STEP, Change, write_series

SIDE = 48
GRID_TOLERANCE_MM = 0.1
"""Positions with one decimal place a slice to 0.05 mm."""

GRID = Grid((SIDE, SIDE, SLICES), (SPACING[1], SPACING[0], STEP), (-10.0, 20.0, -300.0))


@dataclass(frozen=True)
class Row:
    """One mishap of the world's files.

    Parameters
    ----------
    kind
        Kind of mishap; every kind has several rows.
    name
        Unique, snake_case.
    source
        The public report, in words: repository and number; or "made up".
    make
        Writes the input into an empty folder; returns what the command is given.
    outcome
        Reason code of the refusal; empty if the content must be right.
    grid
        Grid of the right content, to :data:`GRID_TOLERANCE_MM`, or a function that returns it, if it takes time.
    content
        Returns the right content, HU (z, y, x).
    """

    kind: str
    name: str
    source: str
    make: Callable[[Path], Path]
    outcome: str = ""
    grid: Grid | Callable[[], Grid] = GRID
    content: Callable[[], np.ndarray] = lambda: chest().array


def chest(breath: float = 0.0, seed: int = 0) -> Image:
    """Return a chest of 24 slices (int16 HU): air, body, fat, two lungs with vessels, spine; with noise.

    ``breath`` from 0 to 1 deflates the lungs and moves the body, as a second breath-hold does.
    """
    draw = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in (SLICES, SIDE, SIDE)), indexing="ij")
    middle, shift = (SIDE - 1) / 2, 3.0 * breath
    body = ((x - middle) / 22) ** 2 + ((y - middle - shift) / 16) ** 2
    hu = np.where(body < 1, np.where(body > 0.8, -100.0, 40.0), -1000.0)
    size = (6.5 - 3 * breath) * (0.85 + 0.15 * np.sin(z / 6))
    for side in (-1, 1):
        lung = ((x - middle - side * 10) / size) ** 2 + ((y - middle - shift) / (1.5 * size)) ** 2
        vessel = (np.hypot(x - middle - side * (8 + z / 12), y - middle - shift) < 1.5) & (lung < 1)
        hu = np.where(lung < 1, -850.0 + 150 * breath, hu)
        hu = np.where(vessel, 50.0, hu)
    hu = np.where(np.hypot(x - middle, y - middle - shift - 11) < 2.5, 400.0, hu)
    hu += draw.normal(0, 12, hu.shape)
    return Image(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16), GRID)


def round_field(shape: tuple[int, ...] = (SIDE, SIDE)) -> np.ndarray:
    """Return which pixels (y, x) are inside the round field of view."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(x - (shape[1] - 1) / 2, y - (shape[0] - 1) / 2) < shape[0] / 2)


def in_series(image: Image, *changes: Change, intercept: float = -1024, signed: bool = False) -> Change:
    """Return a change of :func:`tests.series.write_series` that stores slices of an image, then makes other changes."""

    def change(part: pydicom.Dataset, index: int) -> None:
        plane = image.array[index].astype(np.int32) - int(intercept)
        part.Rows, part.Columns = plane.shape
        part.RescaleIntercept, part.PixelRepresentation = intercept, int(signed)
        part.PixelData = plane.astype(np.int16 if signed else np.uint16).tobytes()
        for other in changes:
            other(part, index)

    return change


def write_chest(folder: Path, *changes: Change, image: Image | None = None, prefix: str = "ct") -> Path:
    """Write a chest as a DICOM series; ``changes`` spoil each slice."""
    return write_series(folder, change=in_series(image or chest(), *changes), prefix=prefix)
