"""What holds when things go wrong: kills, broken cases, other threads. See docs/reliability.md."""

import shutil
from pathlib import Path

import pytest

from benchmarks.reliability import isolation, kills
from benchmarks.reliability.broken import FAULTS
from benchmarks.reliability.small import MICRO, Undisturbed
from tests.workflow.conftest import Workspace, rows_of, write_manifest

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]

GOOD = 1
"""One, since each costs seconds; `make isolation` takes more."""


@pytest.mark.campaign
def test_kills_of_a_job_of_snakemake_and_of_all_change_no_byte(small: Undisturbed, tmp_path: Path) -> None:
    tally = kills.campaign(tmp_path, small, kills=len(kills.KINDS), seed=0)
    assert tally.faults == []
    assert tally.line().startswith("3 kills (1 job, 1 snakemake, 1 tree) in ")
    assert tally.line().endswith(": 0 outputs differ")


@pytest.mark.campaign
def test_broken_cases_are_named_and_the_good_ones_finish(small: Undisturbed, tmp_path: Path) -> None:
    outcome = isolation.campaign(tmp_path, small.build, cases=GOOD + len(FAULTS), broken=len(FAULTS))
    assert outcome.faults == []
    assert (outcome.good, outcome.named) == (GOOD, len(FAULTS))
    build = Workspace(tmp_path / "among", tmp_path / "pairs.tsv", base=MICRO)
    assert all("\n" not in row["message"] for row in build.rejected().values())
    assert "absent.nii.gz" in (build.results / "report" / "index.html").read_text()
    # Pages of cases take time, which the handler of a failure must not.
    assert not (build.results / "report" / "cases").exists()
    # The user mends a case: it runs, and is no longer rejected.
    (good,) = rows_of(small.build.manifest)
    shutil.copy(good["fixed_source"], tmp_path / "broken" / "missing_file" / "absent.nii.gz")
    build.snakemake("results/cases/missing_file/scans/fixed.nii.gz")
    assert not (build.results / "cases" / "missing_file" / "rejected.json").exists()


def test_threads_and_hash_seed_change_no_byte(
    built: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every stage with one thread and with two; in a build of one case only the last ones have two."""
    row = rows_of(built.manifest)[-1]
    again = Workspace(tmp_path, write_manifest(built.manifest.with_name("one.tsv"), [row]))
    monkeypatch.setenv("PYTHONHASHSEED", "1")
    others = ("convert", "lungs", "prealign", "vessels", "gates", "cloud", "keypoints", "evaluate")
    threads = [f"{rule}=2" for rule in others] + ["correspond=1", "register=1"]
    again.snakemake("--cores", "2", "--set-threads", *threads, settings={"report": {"pages": 0}})
    expected, found = built.hashes(row["case"]), again.hashes(row["case"])
    assert len(expected) > len(others)
    assert {name for name in expected | found if expected.get(name) != found.get(name)} == set()
