"""What holds when things go wrong: kills, broken cases, other threads. See docs/reliability.md."""

import shutil
from pathlib import Path

import pytest

from benchmarks.reliability import isolation, kills
from benchmarks.reliability.small import MICRO, absolute
from tests.workflow.conftest import Workspace, rows_of, write_manifest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

GOOD, BROKEN = 1, 7
"""A few, since each costs seconds; `make isolation` takes all."""


@pytest.fixture
def one_case(cohort: Path, tmp_path: Path) -> Path:
    """Manifest of the tiny cohort's case with landmarks alone."""
    return write_manifest(tmp_path / "one.tsv", [absolute(cohort, rows_of(cohort)[-1])])


def test_kills_of_a_job_of_snakemake_and_of_all_change_no_byte(one_case: Path, tmp_path: Path) -> None:
    tally = kills.campaign(tmp_path, one_case, kills=len(kills.KINDS), seed=0)
    assert tally.faults == []
    assert tally.line().startswith("3 kills (1 job, 1 snakemake, 1 tree) in ")
    assert tally.line().endswith(": 0 outputs differ")


def test_broken_cases_are_named_and_the_good_ones_finish(cohort: Path, tmp_path: Path) -> None:
    outcome = isolation.campaign(tmp_path, cohort, cases=GOOD + BROKEN, broken=BROKEN)
    assert outcome.faults == []
    assert (outcome.good, outcome.named) == (GOOD, BROKEN)
    build = Workspace(tmp_path / "among", tmp_path / "pairs.tsv", base=MICRO)
    assert all("\n" not in row["message"] for row in build.rejected().values())
    assert "absent.nii.gz" in (build.results / "report" / "index.html").read_text()
    # Pages of cases take time, which the handler of a failure must not.
    assert not (build.results / "report" / "cases").exists()
    # The user mends a case: it runs, and is no longer rejected.
    good = {row["case"]: row for row in rows_of(tmp_path / "good.tsv")}["good-000"]
    shutil.copy(good["fixed_source"], tmp_path / "broken" / "missing_file" / "absent.nii.gz")
    build.snakemake("results/cases/missing_file/scans/fixed.nii.gz")
    assert not (build.results / "cases" / "missing_file" / "rejected.json").exists()


def test_threads_and_hash_seed_change_no_byte(
    built: Workspace, one_case: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage with one thread and with two; in a build of one case only the last ones have two."""
    (row,) = rows_of(one_case)
    again = Workspace(tmp_path, one_case)
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    others = ("convert", "lungs", "prealign", "vessels", "gates", "cloud", "keypoints", "evaluate")
    threads = [f"{rule}=2" for rule in others] + ["correspond=1", "register=1"]
    again.snakemake("--cores", "2", "--set-threads", *threads, settings={"report": {"pages": 0}})
    expected, found = built.hashes(row["case"]), again.hashes(row["case"])
    assert len(expected) > len(others)
    assert {name for name in expected | found if expected.get(name) != found.get(name)} == set()
