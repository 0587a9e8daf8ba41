"""The cohort's part of the report: sums of the funnel, broken tables, no patient."""

from dataclasses import replace
from pathlib import Path

import pytest

from lcsd.build.inventory import Inventory
from lcsd.build.rejections import Rejection
from lcsd.io.files import write_table
from lcsd.report.cohort import Cohort, Screened, Step, read_cohort
from lcsd.report.figures import dice_figure
from lcsd.report.report import write_report
from lcsd.selection.select import SELECTION_COLUMNS
from lcsd.selection.select_test import COLUMNS as POOL_COLUMNS
from tests.unit.report.test_report import Page
from tests.unit.report.test_tables import EMPTY

PATIENT = "patient-4711"

FUNNEL = [
    {
        "step": "ct",
        "reason": "",
        "asked": "CT in the index",
        "patients": 100,
        "series": 400,
        "patients_removed": 0,
        "patient_id": PATIENT,
    },
    {
        "step": "thin",
        "reason": "slice_too_thick",
        "asked": "slice thickness <= 2.5 mm",
        "patients": 60,
        "series": 90,
        "patients_removed": 40,
        "patient_id": PATIENT,
    },
    {
        "step": "train",
        "reason": "",
        "asked": "sampled for training",
        "patients": 5,
        "series": 10,
        "patients_removed": "",
        "patient_id": PATIENT,
    },
]


def selection_row(case: str, **changed: object) -> dict[str, object]:
    return {
        "case": case,
        "role": "train",
        "dice": 0.9,
        "fixed_volume_l": 5.0,
        "moving_volume_l": 4.5,
        "volume_ratio": 0.9,
        "verdict": "accepted",
        "code": "",
        "rank": 1,
        "selected": "yes",
        "patient_id": PATIENT,
        **changed,
    }


SELECTION = [
    selection_row("a", dice=0.85),
    selection_row("b", dice=0.87),
    selection_row("c", dice=0.95, selected="no"),
    selection_row("d", dice=0.5, verdict="discarded", code="gate_dice", selected="no"),
    selection_row("e", dice="", verdict="rejected", code="not_hu", selected="no"),
    selection_row("f", dice="", verdict="rejected", code="not_hu", selected="no"),
    selection_row("t", role="test_pool"),
]

POOL = [
    {"rank": 1, "case": "t", "median_displacement_mm": 12.3456, "verdict": "selected"},
    {"case": "u", "verdict": "rejected", "code": "empty_mask"},
]


def write_cohort(results: Path) -> Path:
    folder = results / "cohort"
    write_table(folder / "funnel.tsv", tuple(FUNNEL[0]), FUNNEL)
    write_table(folder / "selection.tsv", (*SELECTION_COLUMNS, "patient_id"), SELECTION)
    write_table(folder / "test.tsv", POOL_COLUMNS, POOL)
    return folder


def read(results: Path) -> Cohort:
    cohort = read_cohort(Inventory(results))
    assert cohort is not None
    return cohort


def test_funnel_goes_on_to_the_cases_of_the_build(results: Path) -> None:
    write_cohort(results)
    broken = Rejection("convert", "x", "not_hu", "", "")
    cases = [
        replace(EMPTY, name="a"),
        replace(EMPTY, name="b", status="discarded"),
        replace(EMPTY, name="e", status="rejected", rejection=broken),
        replace(EMPTY, name="own", status="discarded"),
    ]
    steps = read(results).steps(cases)
    assert steps[:3] == [
        Step("CT in the index", "", 100, None),
        Step("slice thickness <= 2.5 mm", "slice_too_thick", 60, 40),
        Step("sampled for training", "", 5, None),
    ]
    assert steps[3:] == [
        Step("screened", left=7),
        Step("broken scan", "not_hu", removed=1),
        Step("broken scan, convert", "not_hu", removed=1),
        Step("implausible lungs", "gate_dice", removed=1),
        Step("accepted by the screening", left=4),
        Step("selected for training", left=2),
        Step("selected for the test pool", left=1),
        Step("discarded by gates", removed=1),
        Step("not finished", removed=1),
        Step("cases done", left=1),
    ]


def test_what_is_out_and_what_is_left_add_up(results: Path) -> None:
    write_cohort(results)
    steps = {step.text: step for step in read(results).steps([])}
    left = steps["screened"].left
    assert left is not None
    out = [s.removed for s in steps.values() if s.code in ("gate_dice", "not_hu")]
    assert left - sum(n or 0 for n in out) == steps["accepted by the screening"].left


def test_section_shows_tables_and_no_patient(results: Path) -> None:
    write_cohort(results)
    path = write_report(results).page
    page = Page(path)
    text = " ".join(page.text.split())
    for words in (
        "CT in the index",
        "slice_too_thick",
        "gate_dice",
        "12.35",
        "cases done",
        "The other 1 case",
        "empty_mask",
    ):
        assert words in text
    assert PATIENT not in path.read_text()
    assert "cohort" in {attributes.get("id") for _, attributes in page.tags}
    assert (results / "report" / "figures" / "cohort_dice.png").exists()


def test_build_without_cohort_and_cases_has_no_section(results: Path) -> None:
    results.mkdir()
    assert read_cohort(Inventory(results)) is None
    assert 'id="cohort"' not in write_report(results).page.read_text()


@pytest.mark.parametrize("name", ["funnel.tsv", "selection.tsv", "test.tsv"])
@pytest.mark.parametrize(
    "harm",
    [
        lambda text: text[:0],
        lambda text: text.replace("patients\t", "x\t").replace("verdict", "x"),
        lambda text: text.replace("\t100\t", "\tmany\t").replace("0.85", "nan").replace("12.3456", "far"),
        lambda text: text.rsplit("\t", 1)[0],
        lambda text: text + "\udcff",
    ],
    ids=["empty", "column", "number", "cut", "bytes"],
)
def test_broken_table_is_named_and_the_others_are_shown(results: Path, name: str, harm: object) -> None:
    path = write_cohort(results) / name
    assert callable(harm)
    path.write_bytes(str(harm(path.read_text())).encode("utf-8", "surrogateescape"))
    inventory = Inventory(results)
    cohort = read_cohort(inventory)
    assert [problem.file for problem in inventory.problems] == [f"cohort/{name}"]
    assert cohort is not None
    empty = {"funnel.tsv": cohort.funnel, "selection.tsv": cohort.screened, "test.tsv": cohort.pool}
    assert [file for file, rows in empty.items() if not rows] == [name]


def test_dice_figure_has_the_cut_only_between_two_groups() -> None:
    def screened(dice: float, *, selected: bool, role: str = "train") -> Screened:
        return Screened("x", role, dice, accepted=True, code="", selected=selected)

    low, high = screened(0.8, selected=True), screened(0.91, selected=False)
    figure = dice_figure([low, high, screened(0.99, selected=True, role="test_pool")])
    assert figure is not None
    (axes,) = figure.axes
    assert [line.get_xdata()[0] for line in axes.lines] == [0.8]  # type: ignore[index]
    assert sum(patch.get_height() for patch in axes.patches) == 2  # type: ignore[attr-defined]
    every = dice_figure([low])
    assert every is not None
    assert len(every.axes[0].lines) == 0
    assert dice_figure([screened(0.8, selected=True, role="test_pool")]) is None
