"""``lcsd init``: files that a build can start from, and that are never overwritten."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from lcsd.build.pairs import read_pairs
from lcsd.build.plan import Build
from lcsd.cli.config import commented_yaml
from lcsd.cli.main import main
from lcsd.config import Config


def init(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, arguments)])


def test_the_files_are_a_build_with_every_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = init(tmp_path / "a b", "--json")
    assert done.exit_code == 0, done.output
    made = {name: Path(path) for name, path in json.loads(done.stdout).items()}
    (pair,) = read_pairs(made["manifest"])
    assert Path(pair.fixed_source).is_relative_to(tmp_path / "a b")
    text = made["config"].read_text()
    assert text.count("#") == commented_yaml().count("#")
    monkeypatch.chdir(tmp_path / "a b")
    assert Build.from_file(Path("my.yaml")).config == Config(manifest=Path("pairs.tsv"))
    assert yaml.safe_load(text)["results"] == "results"


def test_the_next_call_is_printed(tmp_path: Path) -> None:
    assert f"cd '{tmp_path}/a b' && lcsd run --config my.yaml" in init(tmp_path / "a b").stdout


@pytest.mark.parametrize("name", ["my.yaml", "pairs.tsv"])
def test_an_existing_file_is_kept_and_the_other_not_written(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    refused = init(tmp_path)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert "[file_exists]" in refused.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = init(tmp_path / "file")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)


def test_pairs_of_scans_become_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.nii.gz", "b.nii.gz", "c.nrrd"):
        (tmp_path / name).write_text("")
    (tmp_path / "series").mkdir()
    done = init("my data", "--pair", "a.nii.gz", tmp_path / "b.nii.gz", "--pair", "c.nrrd", "series")
    assert done.exit_code == 0, done.output
    first, second = read_pairs(tmp_path / "my data" / "pairs.tsv")
    found = [(pair.case, pair.patient_id, Path(pair.fixed_source).resolve().name) for pair in (first, second)]
    assert found == [("case-0001", "patient-1", "a.nii.gz"), ("case-0002", "patient-2", "c.nrrd")]
    assert Path(first.moving_source).samefile(tmp_path / "b.nii.gz")
    assert Path(second.moving_source).samefile(tmp_path / "series")


@pytest.mark.parametrize(("scans", "code"), [(("a", "gone"), "missing_file"), (("a", "./a"), "bad_value")])
def test_scans_that_are_no_pair_write_nothing(
    scans: tuple[str, str], code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_text("")
    refused = init("my", "--pair", *scans)
    assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
    assert f"[{code}]" in refused.stderr
    assert not (tmp_path / "my").exists()
