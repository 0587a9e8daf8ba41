"""``lcsd compare`` as a user calls it."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from lcsd.cli.compare import command
from lcsd.io.files import read_json
from lcsd.io.points import PointPairs
from tests.unit.evaluation.scored_builds import Score, landmarks


def run(*arguments: object) -> Result:
    return CliRunner().invoke(command, [str(part) for part in arguments])


@pytest.fixture
def builds(score: Score) -> tuple[Path, Path]:
    for case in ("a", "b", "c"):
        first = score("first", case, "divroc", 0.0)
        score("first", case, "corrfield", 2.0)
        second = score("second", case, "divroc", 4.0)
    score("second", "d", "divroc", 4.0)
    return first, second


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.mark.slow
def test_builds_are_compared(builds: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = (builds[0], f"late={builds[1]}", "--out-dir", out, "--set", "resamples=200")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.strip() == (out / "compare.md").read_text("utf-8").strip()
    assert "1 of 4 cases dropped: 1 no such case in first" in result.stderr
    rows = table(out / "compare.csv")
    assert [row["name"] for row in rows] == ["first/corrfield", "first/divroc", "late/divroc"]
    means = [float(row["tre_mean_mm"]) for row in rows]
    assert means[1] < means[0] < means[2]
    assert [row["reference"] for row in rows] == ["False", "True", "False"]
    assert all(float(row["rank_sum_p_holm"]) < 1e-6 for row in (rows[0], rows[2]))
    assert len(table(out / "compare_cases.csv")) == 9
    record = read_json(out / "compare.provenance.json")
    assert (record["stage"], len(record["inputs"])) == ("compare", 18)
    files = sorted(p for p in out.iterdir() if "provenance" not in p.name)
    before = [p.read_bytes() for p in files]
    run(*arguments)
    assert [p.read_bytes() for p in files] == before


def test_errors_before_that_differ_are_warned_of(score: Score, tmp_path: Path) -> None:
    same = landmarks(1, 30)
    builds = [score("first", "a", "divroc", 0.0, moved=same)]
    elsewhere = PointPairs(same.fixed, same.moving + 9.0)
    builds.append(score("second", "a", "divroc", 0.0, moved=elsewhere))
    result = run(*builds, "--out-dir", tmp_path / "out", "--set", "resamples=200")
    assert result.exit_code == 0, result.output
    assert "warning: case a, first/divroc and second/divroc: errors before" in result.stderr


def test_json_is_one_line(builds: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(
        *builds,
        "--out-dir",
        tmp_path / "out",
        "--json",
        "--method",
        "divroc",
        "--reference",
        "second/divroc",
        "--set",
        "resamples=200",
    )
    assert result.exit_code == 0, result.output
    content = json.loads(result.stdout)
    assert content["reference"] == "second/divroc"
    assert content["cases"] == ["a", "b", "c"]
    assert content["dropped"] == {"d": "no such case in first"}
    assert len(content["rows"]) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("absent", "--out-dir", "out"), "[missing_folder]"),
        (("FIRST", "FIRST", "--out-dir", "out"), "[duplicate_name]"),
        (("FIRST", "--out-dir", "out", "--method", "ants"), "[empty_build]"),
        (("FIRST", "--out-dir", "out", "--set", "confidence=2"), "compare.confidence"),
    ],
)
def test_bad_calls_are_one_line_and_exit_2(
    builds: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(builds[0] if part == "FIRST" else part for part in options))
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
