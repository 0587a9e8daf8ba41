"""Rows of values that are shifted against HU, and of two acquisitions put together without a word in the headers."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lcsd.geometry import Grid
from lcsd.io.images import Image
from tests.world import anatomy
from tests.world.support import Row
from tests.world.volumes import nifti

LOWEST = -1024


def shifted_by(offset: int, *, lowest: int = -4000, padding: int | None = None) -> Callable[[], np.ndarray]:
    """Return a maker of a phantom's HU with an offset, cut off at a lowest value, with padding in a round field."""

    def make() -> np.ndarray:
        made = anatomy.chest()
        values = np.maximum(made.hu.astype(np.int32) + offset, lowest)
        if padding is not None:
            values = np.where(anatomy.round_field(made, padding=-9999).hu == -9999, padding, values)
        return values.astype(np.int16)

    return make


def row(name: str, source: str, make: Callable[[], np.ndarray], outcome: str = "") -> Row:
    def write(folder: Path) -> Path:
        return nifti(folder, image=Image(make(), anatomy.chest().grid))

    return Row("offsets", name, source, write, outcome, anatomy.chest().grid, lambda: np.maximum(make(), LOWEST))


OFFSETS = (
    row("none", "made up", shifted_by(0)),
    row("minus_24", "cerr/CERR 212", shifted_by(-24)),  # stored with 1000, read with 1024: not told from HU
    row("plus_24", "cerr/CERR 212", shifted_by(24)),
    row("none_air_cut_off", "made up", shifted_by(0, lowest=-1000)),
    row("none_padded", "made up", shifted_by(0, padding=-2000)),
    row("minus_90", "llnl/LEAP 80", shifted_by(-90), "not_hu"),
    row("minus_100_cut_off", "llnl/LEAP 80", shifted_by(-100, lowest=LOWEST), "not_hu"),
    row("plus_100", "made up", shifted_by(100), "not_hu"),
    row("plus_100_padded", "made up", shifted_by(100, padding=-1024), "not_hu"),
    row("plus_150_padded", "made up", shifted_by(150, padding=-2000), "not_hu"),
)


def tall(hu: np.ndarray, grid: Grid) -> Image:
    """Return slices on a grid that has as many."""
    return Image(hu, replace(grid, size=(*grid.size[:2], len(hu))))


def seam(*, skipped: int = 0, repeated: int = 0, back: int = 0) -> Image:
    """Return a phantom put together from two parts: slices left out or twice, and the lower part moved to the back."""
    made = anatomy.chest()
    cut = len(made.hu) // 2
    lower = np.roll(made.hu[:cut], back, axis=1)
    return tall(np.concatenate([lower, made.hu[cut + skipped - repeated :]]), made.grid)


@dataclass(frozen=True)
class Seam:
    """A scan of two acquisitions, one after the other, whose headers say nothing."""

    name: str
    source: str
    make: Callable[[], Image]
    seen: bool = True


SEAMS = (
    Seam("one_acquisition", "made up", seam, seen=False),
    Seam("overlap_of_60_mm", "dgobbi/vtk-dicom 220", lambda: seam(repeated=12)),
    Seam("gap_of_40_mm", "made up", lambda: seam(skipped=8)),
    Seam("body_moved_7_mm", "Project-MONAI/monai-deploy-app-sdk 532", lambda: seam(back=2)),
    Seam("overlap_of_5_mm", "dgobbi/vtk-dicom 220", lambda: seam(repeated=1), seen=False),  # the limit
)
