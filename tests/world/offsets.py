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

    return Row(
        "offsets", name, source, write, outcome, lambda: anatomy.chest().grid, lambda: np.maximum(make(), LOWEST)
    )


def _by_name() -> np.ndarray:
    """Put slices in the order of their files: 0, 1, 10, 11, ..."""
    hu = anatomy.chest().hu
    return hu[sorted(range(len(hu)), key=str)]


OFFSETS = (
    row("files_by_name", "girder/girder 2864", _by_name, "odd_slice"),
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
    gate: str = "seam"  # name of the gate that flags it; empty for none


def ordered(order: Callable[[list[int]], list[int]]) -> Callable[[], Image]:
    """Return a maker of a phantom whose slices lie in another order."""

    def make() -> Image:
        made = anatomy.chest()
        return tall(made.hu[order(list(range(len(made.hu))))], made.grid)

    return make


def exchanged(first: int, second: int) -> Callable[[list[int]], list[int]]:
    def order(places: list[int]) -> list[int]:
        places[first], places[second] = places[second], places[first]
        return places

    return order


def _twice(places: list[int]) -> list[int]:
    """Lose a slice, and hold the one before it twice."""
    return [*places[:25], places[24], *places[26:]]


SEAMS = (
    Seam("one_acquisition", "made up", seam, gate=""),
    # Silent before: no jump is as large as that of a body that moved.
    Seam("neighbours_exchanged", "made up", ordered(exchanged(30, 31)), gate="slice_order"),
    Seam("two_slices_exchanged", "gibbonCode/GIBBON 178", ordered(exchanged(20, 25)), gate="slice_order"),
    Seam("a_slice_moved", "gibbonCode/GIBBON 178", ordered(lambda n: [*n[:20], *n[21:29], 20, *n[29:]]), "slice_order"),
    Seam("a_slice_twice", "pydicom/pydicom 1442", ordered(_twice), gate="repeated_slices"),
    Seam("overlap_of_60_mm", "dgobbi/vtk-dicom 220", lambda: seam(repeated=12), gate="seam slice_order"),
    Seam("gap_of_40_mm", "made up", lambda: seam(skipped=8)),
    Seam("body_moved_7_mm", "Project-MONAI/monai-deploy-app-sdk 532", lambda: seam(back=2)),
    Seam("overlap_of_5_mm", "dgobbi/vtk-dicom 220", lambda: seam(repeated=1), gate="repeated_slices"),
)
