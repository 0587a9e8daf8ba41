"""Scans of two people given as one pair: a gate must fail. The scans of one patient pass."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.io.files import read_json
from lcsd.io.images import Image, write_image, write_mask
from lcsd.phantom.case import Role
from lcsd.prealign.gates import judge
from lcsd.settings.gates import GatesSettings
from tests.world.anatomy import chest

pytestmark = pytest.mark.xdist_group("chests")

GRID = ("--set", "size=[112,96,112]", "--set", "spacing_mm=3.0")


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
def test_scans_of_two_people_fail_a_gate_and_the_command_says_so(row: Row, tmp_path: Path) -> None:
    words = []
    for scan, made in (("fixed", chest()), ("moving", chest(row.role, row.case))):
        write_image(tmp_path / f"{scan}.nii.gz", made.image(), dtype=np.int16)
        write_mask(tmp_path / f"{scan}_lungs.nii.gz", Image(made.lungs, made.grid))
        words += [str(tmp_path / f"{scan}.nii.gz"), f"--{scan}-mask", str(tmp_path / f"{scan}_lungs.nii.gz")]
    done = CliRunner().invoke(main, ["prealign", *words, "--out-dir", str(tmp_path / "out"), *GRID])
    assert done.exit_code == 0, done.output
    gates = judge(read_json(tmp_path / "out" / "prealign.json"), GatesSettings())
    failed = {gate["name"] for gate in gates if not gate["passed"]}
    assert failed == ({"matched"} if row.fails else set())
    assert row.fails or not any(gate["flagged"] for gate in gates)
    assert ("warning: implausible alignment: matched is" in done.stderr) == row.fails
    assert row.fails or "alignment:" not in done.stderr
