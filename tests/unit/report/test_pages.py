"""Pages of the cases: complete, self-contained, made over whatever exists, made again if needed."""

import base64
import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcsd.build.inventory import Inventory
from lcsd.build.provenance import OWN_DIGEST, own_digest
from lcsd.build.verdicts import verdict
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import read_json, write_json
from lcsd.io.points import read_cloud, write_cloud
from lcsd.report import html
from lcsd.report.pages import page_order, write_pages
from lcsd.report.report import write_report
from lcsd.settings.gates import Limits
from lcsd.settings.report import ReportSettings
from tests.unit.report.conftest import GRID, gate, write_gates, write_manifest, write_rejection
from tests.unit.report.test_report import Page

MakeCase = Callable[..., Path]

SETTINGS = ReportSettings()


def make(results: Path, settings: ReportSettings = SETTINGS) -> tuple[set[str], Inventory]:
    inventory = Inventory(results)
    cases = inventory.cases(None)
    made = write_pages(cases, inventory, results / "report" / "cases", settings)
    return made.names, inventory


def change_record(path: Path, **changes: Any) -> None:
    """Write a provenance with other content, and its checksum."""
    record = read_json(path) | changes
    write_json(path, record | {OWN_DIGEST: own_digest(record)})


def text_of(results: Path, name: str) -> str:
    return " ".join(Page(results / "report" / "cases" / f"{name}.html").text.split())


@pytest.mark.slow
def test_page_of_a_scored_case_has_every_part(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    write_gates(folder, gate("share", 0.5))
    write_expected_errors(folder)
    made, inventory = make(results)
    assert made == {"a"}
    assert inventory.problems == []
    page = Page(results / "report" / "cases" / "a.html")
    # Mix, checkers, still clouds, expected errors, lungs, landmarks of two methods, vessel masks.
    assert len(page.all("img")) == 8
    assert all((img["src"] or "").startswith("data:image/jpeg;base64,") for img in page.all("img"))
    assert all(len(img["alt"] or "") > 20 for img in page.all("img"))
    targets = {attributes.get("id") for _, attributes in page.tags}
    parts = {"slices", "clouds", "expected", "surface", "landmarks", "vessels", "cost", "viewer"}
    assert parts <= targets
    assert "trouble" not in targets
    assert (results / "report" / "cases" / "a.html").stat().st_size < 15e6


@pytest.mark.slow
def test_several_processes_draw_the_same_pages_and_nothing_twice(make_case: MakeCase, results: Path) -> None:
    write_gates(make_case("a"), gate("share", 0.15))
    shutil.copytree(results / "cases" / "a", results / "cases" / "b")
    (results / "cases" / "b" / "registration" / "field.nii.gz").write_bytes(b"broken")
    written = []
    for workers in (1, 2):
        shutil.rmtree(results / "report", ignore_errors=True)
        summary = write_report(results, workers=workers, settings=ReportSettings(worst_landmarks=1))
        assert [problem.split(":")[0] for problem in summary.problems] == ["cases/b/registration/field.nii.gz"]
        files = [*(results / "report" / "cases").iterdir(), *(results / "report" / "figures").iterdir()]
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]
    page = Page(results / "report" / "cases" / "a.html")
    shown = {base64.b64decode((img["src"] or "").partition(",")[2]) for img in page.all("img")}
    assert {written[0]["a_overlay.jpg"], written[0]["a_vessels.jpg"]} < shown


@pytest.mark.slow
def test_page_asks_for_nothing_and_admits_its_own_scripts_only(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    make(results)
    path = results / "report" / "cases" / "a.html"
    page, source = Page(path), path.read_text()
    for tag in ("link", "iframe", "object", "base", "form"):
        assert page.all(tag) == []
    assert all("src" not in script for script in page.all("script"))
    links = [a["href"] or "" for a in page.all("a")]
    targets = {attributes.get("id") for _, attributes in page.tags}
    assert all(link == "../index.html" or link[1:] in targets for link in links)
    scripts = re.findall(r"<script>(.*?)</script>", source, re.DOTALL)
    hashes = {"'sha256-" + base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() + "'" for s in scripts}
    policy = next(m["content"] or "" for m in page.all("meta") if "http-equiv" in m)
    assert len(scripts) == 2
    assert set(policy.partition("script-src ")[2].split()) == hashes
    assert "unsafe-eval" not in policy


def test_library_is_the_documented_one() -> None:
    vendor = resources.files("lcsd.report") / "vendor"
    library = (vendor / html.LIBRARY).read_bytes()
    row = next(line for line in (vendor / "README.md").read_text().splitlines() if f"| `{html.LIBRARY}`" in line)
    assert hashlib.sha256(library).hexdigest() in row
    assert b"</script" not in library
    assert b"MIT" in library
    assert "MIT License" in (vendor / "three-LICENSE.txt").read_text()


@pytest.mark.slow
def test_unchanged_page_is_left_and_a_changed_one_made_again(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    make(results)
    path = results / "report" / "cases" / "a.html"
    path.write_text(path.read_text().replace("Slices", "Kept"))
    make(results)
    assert "Kept" in path.read_text()
    fields = ReportSettings(pages=0)
    assert make(results, fields)[0] == {"a"}
    # Other settings, another state, another file: each makes it again.
    make(results, ReportSettings(worst_landmarks=1))
    assert "Kept" not in path.read_text()
    before = path.read_text()
    write_gates(folder, gate("share", 0.01))
    make(results, ReportSettings(worst_landmarks=1))
    assert path.read_text() != before


@pytest.mark.slow
def test_page_that_shows_what_is_no_more_is_removed(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    make(results)
    gone = results / "report" / "cases" / "gone.html"
    gone.write_text("of an earlier build")
    (folder / "registration" / "field.nii.gz").unlink()
    assert make(results, ReportSettings(pages=0))[0] == set()
    assert list(gone.parent.iterdir()) == []


@pytest.mark.slow
def test_scored_then_suspect_cases_come_first(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a", landmarks=False)
    write_gates(make_case("b", landmarks=False, seed=1), gate("share", 0.15))
    make_case("c", seed=2)
    (results / "cases" / "d").mkdir()
    cases = Inventory(results).cases(None)
    # There is no file of d, so there is nothing to show.
    assert [case.name for case in page_order(cases)] == ["c", "b", "a"]
    assert make(results, ReportSettings(pages=2))[0] == {"b", "c"}


def errors_on_lungs(results: Path) -> str | None:
    page = Page(results / "report" / "cases" / "a.html")
    return next(section["data-errors"] for section in page.all("section") if section["id"] == "surface")


def test_case_without_landmarks_shows_distances_of_vessels(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a", landmarks=False)
    make(results)
    assert errors_on_lungs(results) == "vessels"
    text = text_of(results, "a")
    assert "Landmark errors:" in text
    assert "Worst landmarks" not in text


def test_rejected_case_says_why(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = results / "cases" / "a"
    write_rejection(folder)
    make(results)
    text = text_of(results, "a")
    assert "lungs empty_mask: the mask is empty look at the scan." in text
    page = Page(results / "report" / "cases" / "a.html")
    assert page.all("script") == []
    assert page.all("img") == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("images/fixed.nii.gz", "Slices:"),
        ("images/fixed_mask.nii.gz", "Errors on the lungs:"),
        ("clouds/moving_dense.npz", "Vessel clouds:"),
        ("correspondences/field.nii.gz", "Registration by corrfield:"),
        ("evaluation/divroc_landmarks.csv", "Not shown:"),
        ("vessels/fixed.nii.gz", "Vessel masks:"),
    ],
)
def test_any_file_may_be_missing(make_case: MakeCase, results: Path, quick: None, file: str, says: str) -> None:
    (make_case("a") / file).unlink()
    # Only a scored method's table must be there.
    missing = [problem.message.split(";")[0] for problem in make(results)[1].problems]
    assert missing == (["missing"] if file.startswith("evaluation/") else [])
    assert says in text_of(results, "a")


@pytest.mark.slow
def test_broken_files_are_named_each_time(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    files = ["images/fixed_mask.nii.gz", "clouds/fixed_dense.npz", "vessels/moving.nii.gz"]
    for file in files:
        (folder / file).write_bytes(gzip.compress(b"not this"))
    for _ in range(2):
        broken = {problem.file for problem in make(results)[1].problems}
        assert broken == {f"cases/a/{file}" for file in files}
    assert f"cases/a/{files[1]} could not be used" in text_of(results, "a")


@pytest.mark.slow
def test_page_of_a_broken_case_stays_while_nothing_changes(make_case: MakeCase, results: Path, quick: None) -> None:
    (make_case("a") / "vessels" / "fixed.nii.gz").write_bytes(b"broken")
    make(results)
    page = results / "report" / "cases" / "a.html"
    page.write_text(page.read_text() + "seen")
    # As after a failed build: no page is drawn, none that is up to date is removed.
    make(results, ReportSettings(pages=0))
    assert page.read_text().endswith("seen")
    # What could not be read is looked for again.
    make(results)
    assert not page.read_text().endswith("seen")
    results.rename(results.with_name("other"))
    make(results.with_name("other"), ReportSettings(pages=0))
    assert not (results.with_name("other") / "report" / "cases" / "a.html").exists()


@pytest.mark.slow
def test_a_lost_landmark_table_changes_picture_and_text(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    make(results)
    assert errors_on_lungs(results) == "landmarks"
    for table in (folder / "evaluation").glob("*_landmarks.csv"):
        table.unlink()
    make(results)
    assert errors_on_lungs(results) == "vessels"


@pytest.mark.slow
def test_formulas_in_ids_and_methods_are_texts(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    for table in (folder / "evaluation").glob("*_landmarks.csv"):
        head, first, *rest = table.read_text().splitlines()
        cells = first.split(",")
        cells[head.split(",").index("id")] = r"$\foo0$" + "x" * 3000
        table.write_text("\n".join([head, ",".join(cells), *rest[:2]]) + "\n")
    summary = write_report(results, views=0)
    assert summary.problems == ()


@pytest.mark.slow
def test_field_with_nan_is_named(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    vectors = np.full((*GRID.shape, 3), np.nan, dtype=np.float32)
    write_field(folder / "correspondences" / "field.nii.gz", DisplacementField(vectors, GRID))
    make(results)
    assert "correspondences/field.nii.gz could not be used: the field has NaN" in text_of(results, "a")


@pytest.mark.slow
def test_hostile_texts_stay_texts(make_case: MakeCase, results: Path, quick: None) -> None:
    evil = "</script><script>alert(1)</script>{{ 7 * 7 }}<img src=x onerror=alert(2)>"
    folder = make_case("a")
    write_rejection(folder, message=evil)
    path = folder / "registration" / "field.provenance.json"
    change_record(path, stage=evil, versions={evil: evil}, output=evil)
    write_gates(folder, gate("share", 0.01, of=evil))
    make(results)
    page = Page(results / "report" / "cases" / "a.html")
    assert len(page.all("script")) == 3
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert evil in page.text


@pytest.mark.slow
def test_overview_links_the_pages_and_names_the_slowest_case(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    slow = make_case("b", landmarks=False, seed=1) / "registration" / "field.provenance.json"
    change_record(slow, wall_s=500.0)
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "test", "b": "train"})
    summary = write_report(results, manifest=manifest, views=0, settings=ReportSettings(pages=1))
    page = Page(summary.page)
    links = {a["href"] for a in page.all("a")}
    assert "cases/a.html" in links
    assert "cases/b.html" not in links
    text = " ".join(page.text.split())
    assert "8 min 20 sb" in text
    # A build without a cohort has a funnel, too.
    assert "cases of the build2" in text
    assert "cases done2" in text


@pytest.mark.slow
def test_data_of_the_view_are_json(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    make(results, ReportSettings(cloud_points=50))
    source = (results / "report" / "cases" / "a.html").read_text()
    found = re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', source)
    assert found is not None
    data = json.loads(found[1])
    assert len(base64.b64decode(data["fixed"])) == 50 * 8
    assert "random sample of 50 points" in " ".join(source.split())


def write_expected_errors(folder: Path) -> np.ndarray:
    """Give the registered points of a case expected errors, and return them."""
    moved = read_cloud(folder / "registration" / "points.npz")
    errors = np.linspace(0, 8, len(moved), dtype=np.float32)
    write_cloud(folder / "registration" / "points.npz", replace(moved, expected_error_mm=errors))
    return errors


@pytest.mark.slow
def test_expected_errors_have_a_card_a_picture_and_a_colour(make_case: MakeCase, results: Path, quick: None) -> None:
    folder = make_case("a")
    errors = write_expected_errors(folder)
    figures = {"expected_error_median_mm": 1.234, "expected_error_p95_mm": 8.5, "untrusted_share": 0.25}
    gates = [verdict("untrusted_share", 0.25, Limits(warn_above=0.05), of="registration")]
    write_json(folder / "registration" / "registration.json", {**figures, "gates": gates})
    make_case("b")
    make(results)
    with_errors, without = (Page(results / "report" / "cases" / f"{name}.html") for name in "ab")
    for number in ("1.23", "8.50", "25.0", "untrusted_share"):
        assert number in with_errors.text
    parts = [{attributes.get("data-part") for _, attributes in page.tags} for page in (with_errors, without)]
    assert {"by-expected", "expected-bar"} <= parts[0]
    assert not {"by-expected", "expected-bar"} & parts[1]
    assert [sum(a.get("id") == "expected" for _, a in page.tags) for page in (with_errors, without)] == [1, 0]
    source = (results / "report" / "cases" / "a.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="viewer-data">(.*?)</script>', source)[1])
    found = np.frombuffer(base64.b64decode(data["methods"][0]["expected"]), dtype="<u2") * data["residual_step_mm"]
    np.testing.assert_allclose(found, errors, atol=0.0051)
