"""Lungs of scans as patients and scanners make them: nothing outside the body, no throat, no gas, no fluid."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from lcsd.lungs.classical import segment_lungs
from tests.thorax import dice
from tests.world import anatomy
from tests.world.anatomy import Chest, chest


@dataclass(frozen=True)
class Row:
    """A chest that misleads thresholds; its right lungs are known."""

    name: str
    source: str  # the public report: repository and number; or "made up"
    make: Callable[[], Chest]
    lungs: int = 2
    least: float = 0.98  # Dice with the right lungs; tiny phantoms have voxels of 3.7 x 3.7 x 5 mm


def _changed(make: Callable[..., Chest], **options: float) -> Callable[[], Chest]:
    return lambda: make(chest(), **options)


ROWS = (
    Row("mat", "NVIDIA-Medtech/NV-Generate-CTMR 41", _changed(anatomy.mat)),
    Row("mat_of_dense_foam", "made up", _changed(anatomy.mat, hu=-600.0)),
    Row("foam_in_a_shell", "JoHof/lungmask 22", _changed(anatomy.wedge)),
    Row("strap", "made up", _changed(anatomy.strap)),
    Row("blanket", "ganslate-team/ganslate 26", _changed(anatomy.blanket)),
    Row("throat", "drivendataorg/concept-to-clinic 138", _changed(anatomy.throat)),
    Row("touching_lungs", "JoHof/lungmask 22", _changed(anatomy.touching)),
    Row("bowel_gas", "drivendataorg/concept-to-clinic 267", _changed(anatomy.bowel)),
    Row("effusion", "JoHof/lungmask 61", _changed(anatomy.effusion)),
    Row("pneumothorax", "made up", _changed(anatomy.pneumothorax)),
    *(
        Row(f"round_field_{-padding}", "JoHof/lungmask 108", _changed(anatomy.round_field, padding=padding))
        for padding in (-1024, -2000, -3024)
    ),
    Row("right_lung_only", "made up", _changed(anatomy.one_lung, side=1), lungs=1),
    Row("left_lung_only", "made up", _changed(anatomy.one_lung, side=-1), lungs=1),
    Row("emphysema", "made up", _changed(anatomy.emphysema)),
    Row("consolidation", "Slicer/SlicerLungCTAnalyzer 20", _changed(anatomy.consolidation)),
)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_lungs(row: Row) -> None:
    made = row.make()
    found = segment_lungs(made.image())
    mask = found.mask.array
    assert found.count == row.lungs
    assert dice(mask, made.lungs) >= row.least
    assert not (mask & ~made.body).any()


@pytest.mark.slow
def test_trachea_and_throat_are_airways() -> None:
    """The same lungs, whether the scan ends at the neck or at the jaw."""
    low, high = (segment_lungs(made.image()) for made in (chest(), anatomy.throat(chest())))
    height = low.mask.array.shape[0]
    assert np.array_equal(low.mask.array, high.mask.array[:height])
    assert not high.mask.array[height:].any()
    assert high.airways_ml > low.airways_ml
