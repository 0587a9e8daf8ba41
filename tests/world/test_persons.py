"""Headers of two scans that name different people: the conversion warns, and a gate flags or fails the pair."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner

from lcsd.build.provenance import provenance_path
from lcsd.cli.main import main
from lcsd.io.files import read_json
from lcsd.prealign.gates import judge_scans
from lcsd.settings.gates import GatesSettings
from tests.world.support import write_chest

KNOWN = {"PatientID": "ZQX-4711", "PatientSex": "F", "PatientBirthDate": "19530714"}


@dataclass(frozen=True)
class Row:
    """What the headers of a baseline and a follow-up say, and which elements name different people."""

    name: str
    source: str  # the public report: repository and number
    differ: tuple[str, ...] = ()
    compared: int = 3
    fixed: Mapping[str, str] = field(default_factory=dict)  # beyond KNOWN
    moving: Mapping[str, str] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """Two contradictions discard a pair, one flags it."""
        return ("passed", "flagged", "failed", "failed")[len(self.differ)]


OTHER = {"PatientID": "ZQX-0815", "PatientSex": "M", "PatientBirthDate": "19610302"}

ROWS = (
    Row("one_person", "made up"),
    Row("another_person", "TIGRLab/admin 1364", tuple(KNOWN), moving=OTHER),
    Row("another_birth", "aces/Loris 4921", ("PatientBirthDate",), moving={"PatientBirthDate": "19530715"}),
    Row(
        "another_number_and_birth",
        "fli-iam/shanoir-ng 859",
        ("PatientID", "PatientBirthDate"),
        moving={name: OTHER[name] for name in ("PatientID", "PatientBirthDate")},
    ),
    Row("number_of_a_visit", "fli-iam/shanoir-ng 3504", ("PatientID",), moving={"PatientID": "ZQX-4712"}),
    Row("number_listed", "openradx/adit 66", moving={"PatientID": "EXT-1", "OtherPatientIDs": "ZQX-4711"}),
    Row(
        "numbers_of_two_issuers",
        "dcm4che/dcm4chee-arc-light 4508",
        compared=2,
        fixed={"IssuerOfPatientID": "ABCD"},
        moving={"PatientID": "ZQX-9", "IssuerOfPatientID": "EFGH"},
    ),
    Row(
        "pseudonym_next_to_a_number",
        "pymedphys/pymedphys 828",
        compared=2,
        moving={"PatientID": "0CD75F856690", "PatientIdentityRemoved": "YES"},
    ),
    Row(
        "two_pseudonyms",
        "chop-dbhi/dicom-anon 26",
        ("PatientID",),
        fixed={"PatientIdentityRemoved": "YES"},
        moving={"PatientID": "0CD75F856690", "PatientIdentityRemoved": "YES"},
    ),
    Row("removed", "medInria/medInria-public 1219", compared=0, moving=dict.fromkeys(KNOWN, "")),
    Row("no_sex", "FNNDSC/med2image 36", compared=2, moving={"PatientSex": "O"}),
    Row("placeholders", "made up", compared=1, moving={"PatientID": "Anonymized", "PatientBirthDate": "19000101"}),
    Row("year_only", "made up", moving={"PatientBirthDate": "19530101"}),
    Row("another_year", "made up", ("PatientBirthDate",), moving={"PatientBirthDate": "19540101"}),
    Row("other_case", "blairconrad/dicognito 78", moving={"PatientID": "zqx-4711 "}),
)


def says(values: Mapping[str, str]) -> pydicom.Dataset:
    def change(part: pydicom.Dataset, _: int) -> None:
        for name, value in {**KNOWN, **values}.items():
            setattr(part, name, value)

    return change


def converted(folder: Path, source: Path, *options: str) -> tuple[str, Path]:
    """Return what a conversion prints, and its result."""
    out = folder / f"{source.name}.nii.gz"
    done = CliRunner().invoke(main, ["convert", str(source), str(out), *options])
    assert done.exit_code == 0, done.output
    return done.output, out


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_headers_of_two_scans(row: Row, tmp_path: Path) -> None:
    baseline = write_chest(tmp_path / "baseline", says(row.fixed))
    followup = write_chest(tmp_path / "followup", says(row.moving))
    printed, out = converted(tmp_path, followup, "--baseline", str(baseline))
    warned = [line for line in printed.splitlines() if "warning" in line]
    assert len(warned) == bool(row.differ)
    assert all(f"({', '.join(row.differ)})" in line for line in warned)
    person = read_json(provenance_path(out))["facts"]["person"]
    assert (len(person["compared"]), tuple(person["differ"])) == (row.compared, row.differ)
    gates = judge_scans({"fixed": {}, "moving": {"person": person}}, GatesSettings())
    verdicts = ["flagged" if gate["flagged"] else "passed" if gate["passed"] else "failed" for gate in gates]
    assert verdicts == ([row.verdict] if row.compared else [])
    everything = (printed + provenance_path(out).read_text()).upper()
    for value in {*KNOWN.values(), *row.fixed.values(), *row.moving.values()}:
        assert len(value) < 4 or value.strip().upper() not in everything


def test_trusted_headers_are_not_judged(tmp_path: Path) -> None:
    baseline, followup = (write_chest(tmp_path / name, says(of)) for name, of in (("a", {}), ("b", OTHER)))
    _, out = converted(tmp_path, followup, "--baseline", str(baseline))
    person = read_json(provenance_path(out))["facts"]["person"]
    (gate,) = judge_scans({"fixed": {}, "moving": {"person": person}}, GatesSettings.model_validate({"person": {}}))
    assert gate["passed"]
    assert not gate["flagged"]


def test_a_volume_names_nobody(tmp_path: Path) -> None:
    series = write_chest(tmp_path / "series", says({}))
    _, volume = converted(tmp_path, series)
    printed, out = converted(tmp_path, write_chest(tmp_path / "other", says(OTHER)), "--baseline", str(volume))
    assert "warning" not in printed
    assert "person" not in read_json(provenance_path(out))["facts"]
    scan = tmp_path / "again.nii.gz"
    done = CliRunner().invoke(main, ["convert", str(volume), str(scan), "--baseline", str(series)])
    assert (done.exit_code, "warning" in done.output) == (0, False)


def test_a_missing_baseline_is_named(tmp_path: Path) -> None:
    followup = write_chest(tmp_path / "followup", says({}))
    done = CliRunner().invoke(main, ["convert", str(followup), str(tmp_path / "ct.nii.gz"), "--baseline", "away"])
    assert done.exit_code == 2
    assert "away" in done.stderr
    assert len(done.stderr.splitlines()) == 1
