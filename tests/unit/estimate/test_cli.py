"""The command ``lcsd estimate`` as a user calls it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from tests.unit.estimate.builds import write_case


def call(*options: object) -> Result:
    return CliRunner().invoke(main, ["estimate", *map(str, options)])


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name, factor in (("a", 1.0), ("b", 1.5)):
        write_case(tmp_path / "results", name, factor=factor)
    return tmp_path / "results"


def test_prints_hours_disk_and_jobs(results: Path) -> None:
    done = call("--from", results, "--pairs", 10, "--cores", 4)
    assert done.exit_code == 0, done.output
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if "risk" not in line)
    assert "10" in said["cases"]
    assert "80 % of draws" in said["time"]
    assert "correspond 10" in said["jobs"]


def test_json_is_one_line_and_a_saved_file_says_the_same(results: Path, tmp_path: Path) -> None:
    options = ("--pairs", 10, "--cores", 4, "--json")
    first = call("--from", results, *options, "--save", tmp_path / "m.json")
    assert first.exit_code == 0, first.output
    assert first.stdout == call("--from", tmp_path / "m.json", *options).stdout
    found = json.loads(first.stdout)
    assert found["jobs"]["register"] == 10
    assert found["hours"][1] < found["hours"][0] < found["hours"][2]


def test_without_a_finished_build_nothing_is_guessed() -> None:
    done = call("--pairs", 10, "--cores", 4)
    assert done.exit_code == 2
    assert "make demo" in done.stderr
    assert done.stdout == ""


def test_settings_profile_and_basis_matter(results: Path, tmp_path: Path) -> None:
    def hours(*options: object) -> float:
        done = call("--from", results, "--pairs", 10, "--cores", 4, "--json", *options)
        assert done.exit_code == 0, done.output
        middle: float = json.loads(done.stdout)["hours"][0]
        return middle

    plain = hours()
    assert hours("--set", "report_start_s=3605") - plain == pytest.approx(1, abs=1e-3)
    assert hours("--basis", "cpu") < plain
    (tmp_path / "config.yaml").write_text("resources: {mem_mb: 100000}\n", encoding="utf-8")
    assert hours("--profile", tmp_path) < plain


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--cores", "4"), "missing_option"),
        (("--cores", "4", "--pairs", "1", "--nodes", "3"), "bad_usage"),
        (("--cores", "4", "--pairs", "1", "--set", "loop_s=-1"), "bad_value"),
        (("--cores", "4", "--pairs", "1", "--config", "none.yaml"), "missing_file"),
        (("--cores", "4", "--pairs", "1", "--memory-gb", "1"), "job_too_large"),
        (("--cores", "4", "--pairs", "1", "--memory-gb", "nan"), "bad_usage"),
        (("--cores", "4", "--pairs", "1", "--mbit", "inf", "--json"), "bad_usage"),
        (("--cores", "4", "--pairs", "3", "--batches", "100"), "bad_usage"),
    ],
)
def test_bad_calls_end_with_one_line(results: Path, options: tuple[str, ...], code: str) -> None:
    done = call("--from", results, *options)
    assert (done.exit_code, code in done.stderr) == (2, True), done.output
    assert "Traceback" not in done.stderr
