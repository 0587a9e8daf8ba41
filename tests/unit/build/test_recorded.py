"""What a build remembers, and the commands that need nothing but its folder."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from lcsd.build.pairs import read_pairs
from lcsd.build.plan import Build
from lcsd.build.recorded import record, recorded, recorded_manifest
from lcsd.cli.main import main
from tests.unit.made_up_cases import make_build, make_case


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """A build that was started in this folder with a relative manifest and relative results."""
    monkeypatch.chdir(tmp_path)
    made = make_build(tmp_path)
    make_case(made, "b")
    names = {name: Path(getattr(made, name)).resolve().relative_to(tmp_path) for name in ("manifest", "results")}
    started = Build.from_config({name: str(path) for name, path in names.items()} | {"keypoints": {"k": 21}})
    record(started)
    return started


def test_a_build_is_read_back_with_the_paths_that_it_was_given(build: Build) -> None:
    again = recorded(Path(build.results))
    assert again == build
    assert again.config.keypoints.k == 21


def test_an_older_build_recorded_nothing(tmp_path: Path) -> None:
    assert recorded(tmp_path) is None
    assert recorded_manifest(tmp_path) is None


def test_from_another_folder_its_manifest_is_found(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert recorded_manifest(tmp_path / build.results) == tmp_path / build.manifest


def test_results_moved_away_have_their_own_manifest(build: Build, tmp_path: Path) -> None:
    moved = tmp_path / "archive" / "old"
    moved.parent.mkdir()
    shutil.move(build.results, moved)
    Path(build.manifest).unlink()
    again = recorded(moved)
    assert again is not None
    assert again.results == str(moved)
    assert again.manifest == str(moved / "build" / "pairs.tsv")
    assert list(again.pairs) == list(build.pairs)


def test_the_copy_names_the_same_files(build: Build, tmp_path: Path) -> None:
    copy = {pair.case: pair for pair in read_pairs(build.files.recorded_pairs)}
    for case, pair in build.pairs.items():
        for name in ("fixed_source", "moving_source", "landmarks"):
            given, kept = getattr(pair, name), getattr(copy[case], name)
            assert (given is None) == (kept is None)
            assert given is None or Path(given).resolve() == Path(kept).resolve()
        assert copy[case].role == pair.role


@pytest.mark.parametrize("command", ["status", "report", "verify", "case"])
def test_commands_need_the_folder_alone(build: Build, tmp_path: Path, command: str) -> None:
    words = ["case", "b", "--results", build.results] if command == "case" else [command, build.results]
    alone = CliRunner().invoke(main, [*words, "--json"])
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({"manifest": build.manifest, "results": build.results}))
    with_file = ["--config", "my.yaml"] if command in ("status", "case") else ["--manifest", build.manifest]
    named = CliRunner().invoke(main, [*words, *with_file, "--json"])
    assert alone.exit_code == named.exit_code
    assert alone.exit_code in (0, 1), alone.output
    same = [json.loads(result.stdout) for result in (alone, named)]
    for found in same:
        if isinstance(found, dict):
            found.pop("page", None)
    assert same[0] == same[1]


def test_a_record_of_unknown_settings_is_one_line(build: Build) -> None:
    path = build.files.recorded_config
    path.write_text(path.read_text() + "no_such_section: {}\n")
    refused = CliRunner().invoke(main, ["case", "b", "--results", build.results])
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert "config.yaml" in refused.stderr or "[unknown_key]" in refused.stderr
    shown = CliRunner().invoke(main, ["status", build.results])
    assert shown.exit_code == 0
    assert "[unknown_key]" in shown.stderr
    assert recorded_manifest(Path(build.results)) == Path(build.manifest)


def test_a_manifest_of_another_folder_is_not_taken(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = Build.from_config({"manifest": build.manifest, "results": str(tmp_path / build.results)})
    record(absolute)
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    results = Path(absolute.results)
    rows = Path(tmp_path / build.manifest).read_text().replace("train", "test")
    place = other / build.manifest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(rows)
    assert recorded_manifest(results) == results / "build" / "pairs.tsv"
    again = recorded(results)
    assert again is not None
    assert [pair.role for pair in again.pairs.values()] == [pair.role for pair in build.pairs.values()]


def test_a_manifest_that_was_changed_since_is_not_taken(build: Build) -> None:
    manifest = Path(build.manifest)
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[:2]))
    assert recorded_manifest(Path(build.results)) == build.files.recorded_pairs


def test_results_behind_a_link(build: Build, tmp_path: Path) -> None:
    real = tmp_path / "far" / "away" / "results"
    real.parent.mkdir(parents=True)
    shutil.move(build.results, real)
    Path(build.results).symlink_to(real)
    record(build)
    copy = read_pairs(build.files.recorded_pairs)
    for pair, kept in zip(build.pairs.values(), copy, strict=True):
        assert Path(pair.fixed_source).resolve() == Path(kept.fixed_source).resolve()
    assert recorded_manifest(Path(build.results)) == Path(build.manifest)
