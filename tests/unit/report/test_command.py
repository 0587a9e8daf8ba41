"""``lcsd report``: summary line, warnings, exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcsd.cli.report import command
from lcsd.io.files import read_json
from tests.unit.report.conftest import write_manifest, write_rejection

MakeCase = Callable[..., Path]


@pytest.mark.slow
def test_summary_line_and_warning(make_case: MakeCase, results: Path, quick: None) -> None:
    write_rejection(make_case("a"))
    (results / "cases" / "a" / "images" / "prealign.json").write_text("{")
    result = CliRunner().invoke(command, [str(results)])
    assert result.exit_code == 0, result.output
    line = result.stdout.splitlines()[0]
    assert line == f"1 case: 0 done, 1 rejected (see {results}/report/rejected.tsv)"
    assert "warning: cases/a/images/prealign.json" in result.stderr


def test_manifest_alone_makes_a_report(results: Path) -> None:
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "train"})
    result = CliRunner().invoke(command, [str(results), "--manifest", str(manifest), "--json"])
    assert result.exit_code == 0
    summary = json.loads(result.stdout)
    assert (summary["done"], summary["waiting"], summary["problems"]) == (0, 1, 0)
    assert summary["discarded"] == 0
    assert Path(summary["page"]).exists()


def test_the_report_has_a_provenance(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a")
    manifest = write_manifest(results.parent / "pairs.tsv", {"a": "train"})
    options = [str(results), "--manifest", str(manifest), "--pages", "0", "--set", "cloud_points=9"]
    assert CliRunner().invoke(command, options).exit_code == 0
    folder = results / "report"
    record = read_json(folder / "index.provenance.json")
    there = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert set(record["outputs"]) == there - {"index.provenance.json"}
    assert record["stage"] == "report"
    assert record["settings"]["cloud_points"] == 9
    assert set(record["inputs"]) == {"manifest"}


def test_missing_build_is_bad_input(results: Path) -> None:
    result = CliRunner().invoke(command, [str(results)])
    assert result.exit_code == 2
    assert "[missing_folder]" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_pages_are_limited_by_option_and_setting(make_case: MakeCase, results: Path, quick: None) -> None:
    make_case("a", landmarks=False)
    pages = results / "report" / "cases"
    assert CliRunner().invoke(command, [str(results), "--pages", "0"]).exit_code == 0
    assert not pages.exists()
    options = [str(results), "--views", "0", "--set", "pages=1"]
    assert CliRunner().invoke(command, options).exit_code == 0
    assert [path.name for path in pages.iterdir()] == ["a.html"]


def test_bad_setting_is_bad_input(results: Path) -> None:
    result = CliRunner().invoke(command, [str(results), "--set", "cloud_points=0"])
    assert result.exit_code == 2
    assert "report.cloud_points" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
