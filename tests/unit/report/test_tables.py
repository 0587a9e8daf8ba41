"""Tables: which cases count, and sums that can be done by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lcsd.build.inventory import Case, Inventory, Run
from lcsd.build.rejections import UNREADABLE_REJECTION
from lcsd.build.verdicts import Verdict
from lcsd.report.tables import (
    bounds,
    cost_rows,
    left_out_rows,
    motion_rows,
    plain_figure,
    readable_rejections,
    rejected_rows,
    setting_rows,
    table1_rows,
    verdict_rows,
    version_rows,
)
from lcsd.settings.gates import LCSD500
from tests.unit.report.conftest import write_rejection

MakeCase = Callable[..., Path]

EMPTY = Case(name="a", folder=Path("a"), role="test", status="done")


def test_table1_is_beside_the_published_values() -> None:
    cases = [
        replace(EMPTY, points={("fixed", "dense"): 10, ("moving", "dense"): 30}, correspondences=5),
        replace(EMPTY, points={("fixed", "dense"): 20, ("fixed", "keypoints"): 4}),
        replace(EMPTY, points={("fixed", "dense"): 999}, status="rejected"),
    ]
    dense, sparse, corrfield = table1_rows(cases)
    assert (dense["clouds"], dense["points_min"], dense["points_max"]) == (3, 10, 30)
    assert dense["points_mean"] == 20
    assert dense["lcsd500_mean"] == LCSD500["dense"][2] == 72_600
    assert (sparse["clouds"], sparse["points_mean"]) == (1, 4)
    assert (corrfield["clouds"], corrfield["points_mean"]) == (1, 5)


def test_table1_of_nothing_has_empty_cells() -> None:
    assert [row["points_mean"] for row in table1_rows([])] == ["", "", ""]


def test_cost_rows_are_in_pipeline_order() -> None:
    runs = tuple(
        Run(stage, "", seconds, gib, {}, {})
        for stage, seconds, gib in [
            ("zebra", 1.0, None),
            ("register", 4.0, 2.0),
            ("convert", 1.0, 0.5),
            ("convert", 3.0, 0.7),
            ("convert", 2.0, 0.6),
            ("lungs", None, None),
        ]
    )
    rows = cost_rows([replace(EMPTY, runs=runs)])
    assert [row["stage"] for row in rows] == ["convert", "register", "zebra"]
    assert rows[0] == {
        "stage": "convert",
        "runs": 3,
        "median_s": 2.0,
        "max_s": 3.0,
        "total_s": 6.0,
        "slowest": "a",
        "median_gib": 0.6,
        "max_gib": 0.7,
    }
    assert rows[2]["max_gib"] is None


def test_versions_and_settings_show_differences() -> None:
    runs = (
        Run("lungs", "", 1.0, 1.0, {"hu": -500}, {"numpy": "2.0"}),
        Run("lungs", "", 1.0, 1.0, {"hu": -400}, {"numpy": "2.1"}),
        Run("convert", "", 1.0, 1.0, {"gap": None}, {"numpy": "2.1"}),
    )
    cases = [replace(EMPTY, runs=runs)]
    assert version_rows(cases) == [{"package": "numpy", "version": "2.0, 2.1"}]
    assert setting_rows(cases) == [
        {"stage": "convert", "setting": "gap", "value": "null"},
        {"stage": "lungs", "setting": "hu", "value": "-400 or -500"},
    ]


def test_rejected_rows_say_nothing_twice(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    write_rejection(folder, message=f"{results}/cases/a/lungs/fixed.nii.gz: the mask is empty")
    cases = Inventory(results).cases(None)
    (row,) = rejected_rows(cases)
    assert row["message"].endswith("look at the scan [empty_mask]")
    (readable,) = readable_rejections(cases, results)
    assert readable["message"] == "cases/a/lungs/fixed.nii.gz: the mask is empty"
    assert readable["remedy"] == "look at the scan"


def test_broken_rejection_has_a_row() -> None:
    (row,) = rejected_rows([replace(EMPTY, status="rejected", rejection=UNREADABLE_REJECTION)])
    assert row["code"] == "unreadable_rejection"


SHARE = Verdict("share", "fixed left", 0.004321, 0.01, 0.2, 0.02, 0.1, passed=False, flagged=False)
POINTS = Verdict("points", "moving", 140_123, 12_700, 200_000, 25_400, 132_300, passed=True, flagged=True)


def test_discarded_cases_are_rejected_with_figure_limits_and_what_was_measured() -> None:
    cases = [
        replace(EMPTY, name="bad", status="discarded", gates=(SHARE, POINTS)),
        replace(EMPTY, name="odd", gates=(POINTS,)),
        replace(EMPTY, name="late", status="rejected", rejection=UNREADABLE_REJECTION, gates=(SHARE,)),
    ]
    late, bad = left_out_rows(cases)
    assert (late["case"], late["code"]) == ("late", "unreadable_rejection")
    assert bad == {
        "case": "bad",
        "stage": "gates",
        "target": "gates.json",
        "code": "gate_share",
        "message": "share of fixed left: implausible vessel masks; expected >= 0.01 and <= 0.2; found 0.004321",
        "file": "",
    }


def test_verdict_rows_are_failures_then_flags_with_what_the_gate_asks() -> None:
    unknown = replace(SHARE, name="of_another_version")
    case = replace(EMPTY, gates=(POINTS, unknown, replace(SHARE, passed=True)))
    rows = verdict_rows([case])
    assert [row["gate"].name for row in rows] == ["of_another_version", "points"]
    assert rows[0]["asked"] == ""
    assert "vessel voxels" in rows[1]["asked"]


def test_bounds_and_figures_read_well() -> None:
    assert bounds(None, 132_300) == "<= 132300"
    assert bounds(0.02, None) == ">= 0.02"
    assert bounds(None, None) == ""
    assert plain_figure(1 / 3) == "0.3333"


def test_motion_rows_take_the_length_of_the_shift() -> None:
    prealign = {"dice_aligned": 0.9, "translation_mm": [3.0, 0.0, 4.0], "rotation_deg": "x"}
    (row,) = motion_rows([replace(EMPTY, prealign=prealign), EMPTY])
    assert (row["shift_mm"], row["dice_aligned"]) == (5.0, 0.9)
    assert row["rotation_deg"] is row["dice_centred"] is None
    (row,) = motion_rows([replace(EMPTY, prealign={"translation_mm": ["a", 1, 2]})])
    assert row["shift_mm"] is None
