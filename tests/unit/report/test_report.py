"""The page: complete, self-contained, safe, and made over whatever exists."""

import base64
import csv
import gzip
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.verdicts import verdict
from lcsd.errors import BadInputError
from lcsd.io.files import read_json, write_json, write_table
from lcsd.report import html, report
from lcsd.report.pages import Pages
from lcsd.report.report import write_report
from lcsd.settings.gates import Limits
from tests.unit.report.conftest import gate, write_evaluation, write_gates, write_manifest, write_rejection

MakeCase = Callable[..., Path]

VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses unbalanced tags."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(autouse=True)
def _overview_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of cases take most of a report's time, and have tests of their own."""
    monkeypatch.setattr(report, "write_pages", lambda *_, **__: Pages(set(), {}))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle, delimiter="\t" if path.suffix == ".tsv" else ","))


@pytest.mark.slow
def test_full_report(make_case: MakeCase, results: Path) -> None:
    make_case("a")
    make_case("b", landmarks=False, seed=1)
    write_rejection(make_case("c", landmarks=False, seed=2))
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "test", "b": "train", "c": "train", "d": "train"})
    summary = write_report(results, manifest=manifest)
    assert (summary.done, summary.rejected, summary.waiting) == (2, 1, 1)
    assert summary.problems == ()
    assert summary.line() == (f"4 cases: 2 done, 1 rejected, 1 not finished (see {results}/report/rejected.tsv)")
    report = results / "report"
    assert [(r["case"], r["method"]) for r in table(report / "tre.csv")] == [("a", "corrfield"), ("a", "divroc")]
    assert float(table(report / "tre.csv")[0]["tre_mean_mm"]) < 1.0
    assert [r["case"] for r in table(report / "rejected.tsv")] == ["c"]
    assert table(report / "rejected.tsv")[0]["code"] == "empty_mask"
    assert table(report / "table1.csv")[0]["points_mean"] == "300"
    figures = {path.name for path in (report / "figures").iterdir()}
    assert figures == {
        "tre_distribution.png",
        *(f"{case}_{kind}.jpg" for case in "abc" for kind in ("overlay", "clouds")),
    }
    page = Page(summary.page)
    assert len(page.all("img")) == len(figures)
    for words in ("2 of 4", "the mask is empty", "look at the scan", "132 300", "convert"):
        assert words in " ".join(page.text.replace("\N{NARROW NO-BREAK SPACE}", " ").split())


@pytest.mark.slow
def test_discarded_and_borderline_cases_are_shown_with_their_masks(
    make_case: MakeCase, results: Path, quick: None
) -> None:
    write_gates(make_case("a_odd"), gate("ratio", 0.15, of="pair"))
    write_gates(make_case("bad", seed=1), gate("share", 0.05), gate("inside", 0.04))
    write_gates(make_case("good", seed=2), gate("share", 0.9))
    write_rejection(make_case("late", seed=3))
    summary = write_report(results, views=1)
    report = results / "report"
    assert summary.line() == (f"4 cases: 1 done, 1 borderline, 1 discarded, 1 rejected (see {report}/rejected.tsv)")
    rows = [(row["case"], row["stage"], row["code"]) for row in table(report / "rejected.tsv")]
    assert rows == [
        ("late", "lungs", "empty_mask"),
        ("a_odd", "gates", "flagged_ratio"),
        ("bad", "gates", "gate_share"),
        ("bad", "gates", "gate_inside"),
    ]
    states = {row["case"]: (row["status"], row["in_statistics"]) for row in table(report / "tre.csv")}
    assert states["bad"] == ("discarded", "False")
    assert states["a_odd"] == ("borderline", "False")
    # Of two suspects the failed one has the picture.
    assert [path.name for path in (report / "figures").glob("*_vessels.jpg")] == ["bad_vessels.jpg"]
    page = Page(summary.page)
    text = " ".join(page.text.split())
    for words in (
        "1 borderline, 1 discarded, 1 rejected, 0 not finished",
        "1 of 2 cases have pictures",
        "0.05>= 0.1>= 0.2",
        "share of fixed: 0.05",
    ):
        assert words in text, words
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert "vessels-bad" in targets
    assert "vessels-a_odd" not in targets


@pytest.mark.slow
def test_untrusted_registrations_are_borderline_or_discarded(make_case: MakeCase, results: Path, quick: None) -> None:
    for name, share, limits in (("a", 0.25, Limits(warn_above=0.05)), ("b", 0.3, Limits(max=0.1))):
        figures = {"expected_error_median_mm": 1.234, "expected_error_p95_mm": 8.5, "untrusted_share": share}
        gates = [verdict("untrusted_share", share, limits, of="registration")]
        write_json(make_case(name) / "registration" / "registration.json", {**figures, "gates": gates})
    make_case("c")  # by a version without expected errors
    summary = write_report(results, views=0)
    assert (summary.done, summary.borderline, summary.discarded, summary.problems) == (1, 1, 1, ())
    flagged, row = table(results / "report" / "rejected.tsv")
    assert (flagged["case"], flagged["code"]) == ("a", "flagged_untrusted_share")
    assert (row["case"], row["code"]) == ("b", "gate_untrusted_share")
    assert row["target"] == "registration/registration.json"
    overview = " ".join(Page(summary.page).text.split())
    for cells in ("1.23 / 8.50 25.0", "1.23 / 8.50 30.0", "\N{EN DASH} / \N{EN DASH} \N{EN DASH}"):
        assert cells in overview, cells


def test_build_without_suspects_has_no_section_of_masks(make_case: MakeCase, results: Path, quick: None) -> None:
    write_gates(make_case("a"), gate("share", 0.9))
    assert 'id="vessels"' not in write_report(results, views=0).page.read_text()


@pytest.mark.slow
def test_page_asks_for_nothing_outside_itself(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    path = write_report(results).page
    page, source = Page(path), path.read_text(encoding="utf-8")
    for tag in ("script", "link", "iframe", "object", "base", "form"):
        assert page.all(tag) == []
    assert all((img["src"] or "").startswith("data:image/") for img in page.all("img"))
    targets = {attributes.get("id") for _, attributes in page.tags}
    for link in (a["href"] or "" for a in page.all("a")):
        assert link[1:] in targets if link.startswith("#") else (path.parent / link).is_file()
    assert "url(" not in source
    assert "@import" not in source
    assert "http" not in source.replace("http-equiv", "")
    for img in page.all("img"):
        base64.b64decode((img["src"] or "").partition(",")[2], validate=True)


@pytest.mark.slow
def test_page_is_accessible(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    write_rejection(make_case("b", seed=1))
    page = Page(write_report(results).page)
    assert page.all("html")[0]["lang"] == "en"
    assert all(len(img["alt"] or "") > 20 for img in page.all("img"))
    assert all(th.get("scope") in ("col", "row", "colgroup") for th in page.all("th"))
    assert len(page.all("main")) == len(page.all("h1")) == 1


def write_hostile_cohort(folder: Path, evil: str) -> None:
    write_table(
        folder / "funnel.tsv",
        ("reason", "asked", "patients", "patients_removed"),
        [{"reason": evil, "asked": evil, "patients": 3, "patients_removed": 1}],
    )
    write_table(
        folder / "selection.tsv",
        ("case", "role", "dice", "verdict", "code", "selected"),
        [{"case": "a", "role": evil, "dice": 0.5, "verdict": evil, "code": evil, "selected": evil}],
    )
    write_table(
        folder / "test.tsv",
        ("rank", "case", "median_displacement_mm", "verdict", "code"),
        [{"rank": 1, "case": "a", "verdict": evil, "code": evil}],
    )


@pytest.mark.slow
def test_hostile_texts_stay_texts(make_case: MakeCase, results: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7 * 7 }}"
    folder = make_case("a")
    write_rejection(folder, message=evil)
    rejection = read_json(folder / "rejected.json") | {"stage": evil, "code": evil, "remedy": evil}
    write_json(folder / "rejected.json", rejection)
    path = folder / "registration" / "field.provenance.json"
    write_json(
        path, read_json(path) | {"stage": evil, "settings": {evil: evil}, "versions": {evil: evil}, "output": evil}
    )
    write_gates(folder, gate("share", 0.01) | {"name": evil, "value": evil})
    scored = make_case("b", seed=1)
    write_gates(scored, gate("share", 0.01, of=evil))
    write_hostile_cohort(folder.parents[1] / "cohort", evil)
    hostile = dict.fromkeys(("source", "extrapolation", "circular", "count", "tre_p95_mm"), evil)
    figures = folder.parent / "b" / "evaluation" / "divroc.json"
    write_json(figures, read_json(figures) | hostile)
    (scored / "evaluation" / f"{'<b>x'}.json").write_text(figures.read_text())
    (scored / "evaluation" / "<b>x_landmarks.csv").write_text(
        (scored / "evaluation" / "divroc_landmarks.csv").read_text()
    )
    (folder.parent / "<script>x").mkdir()
    page = Page(write_report(results).page)
    assert page.all("script") == []
    assert page.all("b") == []
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert all("\n" not in row["message"] for row in table(results / "report" / "rejected.tsv"))


def test_empty_build_with_manifest_only(results: Path) -> None:
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "train", "b": "test"})
    summary = write_report(results, manifest=manifest)
    assert summary.line() == "2 cases: 0 done, 2 not finished"
    page = Page(summary.page)
    assert page.all("img") == []
    assert table(results / "report" / "tre.csv") == []


def test_no_case_at_all(results: Path) -> None:
    results.mkdir()
    summary = write_report(results)
    assert summary.line() == "0 cases: 0 done"
    assert "of 0" in Page(summary.page).text


def test_missing_build_without_manifest_is_an_error(results: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        write_report(results)
    assert caught.value.code == "missing_folder"
    assert not results.exists()


def test_one_case_says_so(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    page = Page(write_report(results).page)
    assert "(n = 1)" in page.text
    assert not (results / "report" / "figures" / "tre_cases.png").exists()


def test_splits_seconds_and_seeded_landmarks_are_on_the_page(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    figures = make_case("b", seed=1) / "evaluation" / "corrfield.json"
    write_json(figures, read_json(figures) | {"seeded_landmarks": 7})
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "test_pool", "b": "test"})
    page = Page(write_report(results, manifest=manifest, views=0).page)
    text = " ".join(page.text.split())
    for words in (
        "TRE per split",
        "test_pool",
        "†7 seeded",
        "† Seeded:",
        "Holm's correction",
        "95.0 % confidence interval",
        "(n = 1)",
    ):
        assert words in text, words
    rows = table(results / "report" / "summary.csv")
    assert [(row["role"], row["method"]) for row in rows][:3] == [
        ("all", "corrfield"),
        ("all", "divroc"),
        ("test_pool", "corrfield"),
    ]
    assert text.count("7 seeded") == 4  # its case, both sums over cases, its split


def test_two_cases_have_a_figure_per_case(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    make_case("b", seed=1)
    page = Page(write_report(results).page)
    assert "n = 1 case" not in page.text
    assert (results / "report" / "figures" / "tre_cases.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [
        "images/fixed.nii.gz",
        "images/moving.nii.gz",
        "images/fixed_mask.nii.gz",
        "registration/field.nii.gz",
        "correspondences/field.nii.gz",
        "registration/points.npz",
        "clouds/moving_dense.npz",
        "evaluation/divroc.json",
        "images/prealign.json",
    ],
)
@pytest.mark.parametrize("harm", ["missing", "truncated", "garbage"])
def test_any_file_may_be_missing_or_broken(
    make_case: MakeCase, results: Path, quick: None, file: str, harm: str
) -> None:
    path = make_case("a") / file
    whole = path.read_bytes()
    path.unlink()
    if harm != "missing":
        broken = whole[: len(whole) // 2] if harm == "truncated" else gzip.compress(b"not this")
        path.write_bytes(broken)
    summary = write_report(results)
    assert summary.page.exists()
    named = [problem for problem in summary.problems if problem.startswith(f"cases/a/{file}")]
    assert bool(named) == (harm != "missing")
    if named:
        assert f"cases/a/{file}" in Page(summary.page).text


@pytest.mark.slow
def test_moved_points_of_another_cloud_are_named(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    other = make_case("b", seed=1) / "clouds" / "fixed_keypoints.npz"
    whole = (folder / "registration" / "points.npz").read_bytes()
    # As many points as the sparse cloud: then that is the cloud that was registered.
    (folder / "registration" / "points.npz").write_bytes(other.read_bytes())
    assert write_report(results).problems == ()
    (folder / "clouds" / "fixed_keypoints.npz").write_bytes(whole)
    assert "another cloud" in write_report(results).problems[0]


@pytest.mark.slow
def test_rerun_forgets_what_is_gone(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    make_case("b", landmarks=False)
    write_report(results)
    for path in sorted((results / "cases" / "b").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (results / "cases" / "b").rmdir()
    write_rejection(folder)
    assert write_report(results).rejected == 1
    (folder / "rejected.json").unlink()
    write_evaluation(folder, np.random.default_rng(3))
    assert write_report(results).done == 1
    figures = {path.name for path in (results / "report" / "figures").iterdir()}
    assert not any(name.startswith("b_") for name in figures)
    assert table(results / "report" / "rejected.tsv") == []


def test_pictures_are_limited_and_prefer_scored_cases(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a", landmarks=False)
    make_case("b", seed=1)
    page = Page(write_report(results, views=1).page)
    assert "1 of 2 cases have pictures" in page.text
    names = {path.name for path in (results / "report" / "figures").iterdir()}
    assert "b_overlay.jpg" in names
    assert "a_overlay.jpg" not in names


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.314, "0.31 s"),
        (12.34, "12.3 s"),
        (59.99, "60.0 s"),
        (61, "1 min 01 s"),
        (3600, "1 h 00 min"),
        (7505, "2 h 05 min"),
        (None, html.MISSING),
        ("x", html.MISSING),
    ],
)
def test_durations(seconds: object, text: str) -> None:
    assert html._duration(seconds) == text
