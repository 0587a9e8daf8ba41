"""``lcsd case``: what it shows, what it calls, what it refuses."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from lcsd.build import rejections
from lcsd.build.pipeline import profile_folder, root
from lcsd.build.plan import Build
from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.monitor.case import _hash
from tests.unit.build.test_candidates import ROW as CANDIDATE
from tests.unit.build.test_candidates import write as write_candidates
from tests.unit.made_up_cases import make_build, make_case


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    build = make_build(tmp_path)
    make_case(build, "b")
    content = {"manifest": build.manifest, "results": build.results}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SNAKEMAKE_PROFILE", raising=False)
    return build


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["case", *map(str, arguments)])


def test_stages_are_shown_with_state_settings_and_time(build: Build) -> None:
    result = run("b", "--config", "my.yaml")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert len(lines) == 12
    assert lines[1].split()[:2] == ["convert", "done"]
    shown = {row["stage"]: row for row in json.loads(run("b", "--config", "my.yaml", "--json").stdout)}
    first = shown["evaluate divroc"]["settings"]
    assert first == shown["evaluate corrfield"]["settings"] != shown["gates"]["settings"]
    assert len(first) == 12
    assert shown["convert"]["seconds"] >= 0
    assert set(shown["convert"]["outputs"]) == {f"cases/b/scans/{scan}.nii.gz" for scan in ("fixed", "moving")}


def test_missing_files_and_reasons_are_shown(build: Build) -> None:
    root = Path(build.results) / "cases" / "b"
    (root / "registration" / "points.npz").unlink()
    aside = Path(build.results) / "cases" / "a"
    error = BadInputError("no CT", code="not_hu")
    rejections.reject(aside / "rejected.json", stage="convert", target=aside / "x", error=error)
    assert "missing: cases/b/registration/points.npz" in run("b", "--config", "my.yaml").stdout
    shown = run("a", "--config", "my.yaml").stdout
    assert "rejected" in shown
    assert "not_hu" in shown


def test_why_is_said_in_words_and_as_json(build: Build) -> None:
    text = run("b", "--config", "my.yaml", "--why").stdout
    assert len(text.splitlines()) == 11
    assert "would run" not in text
    (Path(build.results) / "cases" / "b" / "gates.json").unlink()
    rows = json.loads(run("b", "--config", "my.yaml", "--why", "--json").stdout)
    assert [row["stage"] for row in rows if row["runs"]] == ["gates"]


def test_from_calls_snakemake_for_what_follows_alone(build: Build, called: list[list[str]]) -> None:
    result = run("b", "--config", "my.yaml", "--from", "cloud", "--dry-run", "--", "--cores", "4")
    assert result.exit_code == 0, result.output
    (words,) = called
    case = f"{build.results}/cases/b"
    assert words == [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "4",
        "--snakefile",
        str(root() / "Snakefile"),
        "--profile",
        str(profile_folder("workstation")),
        "--configfile",
        "my.yaml",
        "--dry-run",
        "--forcerun",
        "cloud",
        "--",
        f"{case}/clouds/fixed_keypoints.npz",
        f"{case}/gates.json",
    ]
    assert "--forcerun cloud -- " in result.stderr


def test_from_knows_profile_and_overridden_keys(
    build: Build, called: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    run("a", "--manifest", build.manifest, "--results", "my results; ls", "--from", "gates", "--profile", "mine")
    monkeypatch.setenv("SNAKEMAKE_PROFILE", "slurm")
    run("a", "--config", "my.yaml", "--from", "gates")
    given, environment = called
    at = given.index("--config")
    assert given[at : at + 3] == ["--config", f'manifest="{build.manifest}"', 'results="my results; ls"']
    assert given[5:7] == ["--profile", "mine"]
    assert given[-1] == "my results; ls/cases/a/gates.json"
    assert "--profile" not in environment


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("B1",), "unknown_case", ""),
        (("../b",), "unknown_case", ""),
        (("b; rm -r x", "--from", "convert"), "unknown_case", ""),
        (("b", "--from", "evalute"), "unknown_stage", "did you mean evaluate?"),
        (("b", "--from", "report"), "unknown_stage", "one of convert, "),
        (("a", "--from", "evaluate"), "no_landmarks", "landmarks"),
        (("b", "--from", "lungs", "--profile", "none"), "missing_folder", "--profile"),
        (("b", "--dry-run"), "bad_option", "--from"),
        (("b", "--why", "--from", "lungs"), "bad_option", "--why"),
        (("b", "--", "--cores"), "bad_option", "after --"),
        (("b", "--from", "lungs", "--json"), "bad_option", "--json"),
        (("b", "--from", "lungs", "--directory", "."), "bad_option", "--directory"),
    ],
)
def test_bad_names_and_calls_are_one_line(
    build: Build, called: list[list[str]], arguments: tuple[str, ...], code: str, said: str
) -> None:
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    result = run(*words[:at], "--config", "my.yaml", *words[at:])
    assert result.exit_code == 2
    assert f"[{code}]" in result.stderr
    assert said in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert called == []


def test_a_case_of_no_build_asks_for_the_configuration() -> None:
    result = run("b")
    assert result.exit_code == 2
    assert "[missing_option]" in result.stderr
    assert "--config" in result.stderr


def test_a_case_before_the_first_job_is_shown(build: Build) -> None:
    shutil.rmtree(build.results)
    shown = run("b", "--config", "my.yaml", "--json")
    assert {row["state"] for row in json.loads(shown.stdout)} == {"waiting"}


def test_a_case_near_by_is_suggested(tmp_path: Path, build: Build) -> None:
    named = make_build(tmp_path, cases=("case-0001", "case-0002"))
    result = run("Case-001", "--manifest", named.manifest, "--results", named.results)
    assert "did you mean case-0001?" in result.stderr
    assert os.listdir(tmp_path / "results" / "cases") == ["b"]  # noqa: PTH208 - names alone


def test_a_case_of_a_selection_that_was_not_made_is_bad_input(tmp_path: Path) -> None:
    table = write_candidates(tmp_path / "candidates.tsv", CANDIDATE)
    config = tmp_path / "selection.yaml"
    config.write_text(yaml.safe_dump({"candidates": str(table), "results": str(tmp_path / "r")}))
    (tmp_path / "r").mkdir()
    for more in ((), ("--why",), ("--from", "lungs")):
        result = run(CANDIDATE["case"], "--config", config, *more)
        assert (result.exit_code, "[not_selected]" in result.stderr) == (2, True)
        assert len(result.stderr.splitlines()) == 1


def test_the_hash_of_settings_leaves_threads_out() -> None:
    one = {"settings": {"k": 29, "threads": 1}}
    assert _hash([one]) == _hash([{"settings": {"k": 29, "threads": 8}}])
    assert _hash([one]) != _hash([{"settings": {"k": 30, "threads": 1}}]) != _hash([one, one])
