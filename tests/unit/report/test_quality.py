"""Rows of the quality without landmarks, and what the page shows of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lcsd.build.inventory import Case, Inventory
from lcsd.io.files import read_json, write_json
from lcsd.report.quality import FIGURES, quality_medians, quality_rows
from lcsd.report.report import write_report
from tests.unit.report.conftest import write_gates

MakeCase = Callable[..., Path]
EMPTY = Case(name="a", folder=Path("a"), role="test", status="done")


def test_rows_have_every_figure_and_medians_only_those_that_are_known() -> None:
    cases = [
        replace(EMPTY, name=name, quality={"before": {"nmi": nmi}, "divroc": {"nmi": 2 * nmi, "lungs_dice": None}})
        for name, nmi in (("a", 1.0), ("b", 1.1), ("c", 1.6))
    ]
    rows = quality_rows(cases)
    assert [(row["case"], row["method"]) for row in rows[:3]] == [("a", "before"), ("a", "divroc"), ("b", "before")]
    assert set(FIGURES) < set(rows[0])
    assert rows[1]["lungs_dice"] == ""
    before, after = quality_medians(cases)
    assert (before["cases"], before["nmi"], after["nmi"], after["lungs_dice"]) == (3, 1.1, 2.2, "")
    left_out = replace(cases[2], status="rejected")
    assert quality_medians([*cases[:2], left_out])[0]["nmi"] == pytest.approx(1.05)


@pytest.mark.slow
def test_a_build_shows_the_figures_of_its_gates(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    write_gates(folder)
    content = read_json(folder / "gates.json")
    figures = {"before": {"lungs_dice": 0.8123}, "divroc": {"lungs_dice": 0.9456, "nmi": None}}
    write_json(folder / "gates.json", {**content, "figures": {"registration": {"quality": figures}}})
    write_report(results)
    rows = (results / "report" / "quality.csv").read_text().splitlines()
    assert [line.split(",")[3:5] for line in rows[1:]] == [["before", "0.8123"], ["divroc", "0.9456"]]
    for page in ("index.html", "cases/a.html"):
        assert "0.946" in (results / "report" / page).read_text()


@pytest.mark.parametrize("quality", [[], {"divroc": 3}])
def test_figures_that_are_no_table_are_a_problem(make_case: MakeCase, results: Path, quality: object) -> None:
    folder = make_case("a")
    write_gates(folder)
    content = {**read_json(folder / "gates.json"), "figures": {"registration": {"quality": quality}}}
    write_json(folder / "gates.json", content)
    inventory = Inventory(results)
    assert inventory.cases(None)[0].quality == {}
    assert any("no table of methods" in problem.line() for problem in inventory.problems)
