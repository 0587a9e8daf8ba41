"""The index of the package idc-index-data: all patients of NLST."""

from importlib.metadata import version
from pathlib import Path

import pytest

from lcsd.cohort.cohort import build
from lcsd.cohort.index import Wanted
from lcsd.settings.cohort import CohortSettings
from tests.unit.cohort.made_up import made, read, sampled

pytestmark = pytest.mark.slow

TEN_PATIENTS = ("212202", "212587", "213510", "214907", "216160", "216422", "216978", "218307", "100108", "100124")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("real") / "o")


def test_real_index_has_a_falling_funnel_and_accounts_for_everybody(real: Path) -> None:
    steps = read(real / "funnel.tsv")
    counts = [int(step["patients"]) for step in steps]
    assert counts[0] > 26_000
    assert counts == sorted(counts, reverse=True)
    of_series = [int(step["series"]) for step in steps]
    assert of_series == sorted(of_series, reverse=True)
    candidates, rejected = read(real / "candidates.tsv"), read(real / "rejected.tsv")
    assert len(candidates) + len(rejected) == counts[0]
    assert len({row["patient_id"] for row in candidates + rejected}) == counts[0]
    assert len(sampled(real)) == 1300
    assert all(row["found"] and row["time_points"] for row in rejected)


def test_ten_known_patients_are_candidates(real: Path) -> None:
    rows = {row["patient_id"]: row for row in read(real / "candidates.tsv")}
    for patient in TEN_PATIENTS:
        row = rows[patient]
        assert row["fixed_maker"] == row["moving_maker"]
        assert row["fixed_kernel"] == row["moving_kernel"]
        assert row["fixed_kernel_family"] == ("sharp" if patient == "100124" else "soft")
    assert rows["212587"]["moving_slices"] == "269"


@pytest.mark.skipif(version("idc-index-data") != "25.0.5", reason="docs/nlst.md describes idc-index-data 25.0.5")
def test_documented_figures_are_those_of_the_real_index(real: Path) -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "nlst.md").read_text()
    for step in read(real / "funnel.tsv"):
        cells = f"| `{step['step']}` | {step['asked']} | {int(step['patients']):,} |"
        assert cells in text, cells
    for row in read(real / "kernels.tsv"):
        if int(row["series"]) >= 100:
            assert f"| {int(row['series']):,} | {100 * float(row['share_of_all']):.2f} % |" in text


def test_library_call_gives_the_same(real: Path) -> None:
    cohort = build(CohortSettings(), Wanted(), seed=0, threads=2)
    assert cohort.count("candidates") == len(read(real / "candidates.tsv"))
    assert cohort.download_usd == 0
