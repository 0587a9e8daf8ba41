"""Every fault of the catalogue ends as its row says, with one line and nothing left behind."""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcsd.build.provenance import PROVENANCE_SUFFIX
from lcsd.cli.main import main
from lcsd.errors import INSTALLATION_FAULTS
from lcsd.io.files import read_json, sha256
from tests.faults.catalogue import FAULTS, markdown
from tests.faults.fault import Fault, Place
from tests.faults.scans import OTHER_PATIENT
from tests.faults.system import NO_MOUNT
from tests.series import PATIENT
from tests.unit.fetch.dicom import PATIENT as REMOTE_PATIENT

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = [sys.executable, "-c", "from lcsd.cli.main import main; main()"]
LIMIT_S = 120
HASHED_BYTES = 1 << 28
TORCHS_OWN = "scratch/torchinductor_*"
"""An empty folder that torch makes where it is loaded."""

IDENTIFIERS = ("Doe", PATIENT, OTHER_PATIENT, REMOTE_PATIENT)
"""Of the patients in the made-up series."""


def run(fault: Fault, place: Place, words: list[str]) -> tuple[int, str, str]:
    """Run the command, in this process if the fault allows; return exit code and output."""
    if fault.behind is None:
        done = CliRunner().invoke(main, words)
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr
    ended = subprocess.run(
        [*fault.behind(place), *PROGRAM, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )
    return ended.returncode, ended.stdout, ended.stderr


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


def state_of(folder: Path) -> dict[Path, str]:
    """Return all that is in a folder, with each file's hash; of the largest with its size."""
    return {
        path: (sha256(path) if (size := path.stat().st_size) < HASHED_BYTES else str(size)) if path.is_file() else ""
        for path in folder.rglob("*")
    }


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder for temporary files, for this process and those that it starts."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_fault(fault: Fault, tmp_path: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        place = Place(tmp_path / "place", monkeypatch, stack)
        place.inputs.mkdir(parents=True)
        words = fault.make(place)
        assert words[0] == fault.command
        given = state_of(place.inputs)
        if fault.records:
            words += ["--rejected", str(place.rejected), "--threads", "1"]
        code, printed, complaints = run(fault, place, words)
    if fault.behind is not None and code == NO_MOUNT:
        pytest.skip("no right to mount a small disk here")
    assert code == fault.exit_code, printed + complaints
    assert "Traceback" not in complaints
    assert fault.words in complaints, complaints
    assert not [name for name in IDENTIFIERS if name in printed + complaints]
    assert not place.canary.exists()
    assert [path for path in scratch.rglob("*") if not path.match(TORCHS_OWN)] == []
    assert state_of(place.inputs) == given
    made = files_in(place.out) if place.out.exists() else []
    assert not [name for name in made if ".tmp." in name]
    assert fault.prints in printed
    if not fault.code:
        assert fault.prints or [name for name in made if not name.endswith(PROVENANCE_SUFFIX)]
        assert not place.rejected.exists()
        return
    if words[0] == "fetch":  # hidden folders are gone on with; its own record says what failed
        made = [name for name in made if name[0] != "." and not name.endswith(PROVENANCE_SUFFIX)]
    else:
        assert printed == ""
    assert made == []
    lines = complaints.splitlines()
    assert lines[-1].startswith(f"lcsd {words[0]}: error: "), complaints
    assert lines[-1].endswith(f"[{fault.code}]")
    assert fault.chatty or len(lines) == 1, complaints
    if not fault.records:
        return
    assert place.rejected.exists() == (fault.code not in INSTALLATION_FAULTS)
    if place.rejected.exists():
        record = read_json(place.rejected)
        assert (record["stage"], record["code"]) == (words[0], fault.code)
        assert str(record["message"]) in lines[-1]
        assert not [name for name in IDENTIFIERS if name in place.rejected.read_text()]


def test_the_catalogue_is_wide_and_its_names_are_unique() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 40
    kinds = Counter(fault.kind for fault in FAULTS)
    assert min(kinds[kind] for kind in ("DICOM", "NIfTI", "geometry", "stage", "system")) >= 5
    assert kinds["hostile"] >= 10


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    assert markdown() in page, "run: python -m tests.faults, and put its table into the page"
