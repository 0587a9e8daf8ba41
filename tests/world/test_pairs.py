"""Scans of two people given as one pair: a gate must fail. The scans of one patient pass."""

from dataclasses import dataclass

import pytest

from lcsd.io.images import Image
from lcsd.phantom.case import Role
from lcsd.prealign.gates import judge
from lcsd.prealign.prealign import prealign
from lcsd.settings.gates import GatesSettings
from lcsd.settings.prealign import PrealignSettings
from tests.world.anatomy import chest

pytestmark = pytest.mark.xdist_group("chests")

SETTINGS = PrealignSettings(size=(112, 96, 112), spacing_mm=3.0)


@dataclass(frozen=True)
class Row:
    """A baseline and what is given as its follow-up."""

    name: str
    source: str  # the public report: repository and number
    role: Role  # of the scan that is given as follow-up
    case: int  # its patient; the baseline's is 0
    fails: bool = True


ROWS = (
    Row("the_patient", "made up", "moving", 0, fails=False),
    Row("another_patient", "aces/Loris-MRI 405", "fixed", 1),
    Row("another_patient_s_follow_up", "SlicerProstate/SliceTracker 37", "moving", 1),
)


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, marks=pytest.mark.slow) if row.role == "moving" else row for row in ROWS],
    ids=lambda row: row.name,
)
def test_scans_of_two_people_fail_a_gate(row: Row) -> None:
    fixed, moving = chest(), chest(row.role, row.case)
    found = prealign(
        fixed.image(),
        moving.image(),
        fixed_mask=Image(fixed.lungs, fixed.grid),
        moving_mask=Image(moving.lungs, moving.grid),
        settings=SETTINGS,
    )
    gates = judge(found.report, GatesSettings())
    failed = {gate["name"] for gate in gates if not gate["passed"]}
    assert failed == ({"matched"} if row.fails else set())
    assert row.fails or not any(gate["flagged"] for gate in gates)
