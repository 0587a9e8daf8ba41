"""Weights that are missing, cut, changed or of another task are named before a run."""

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.errors import BadInputError, WorkError
from lcsd.totalsegmentator import hashes
from lcsd.totalsegmentator.hashes import check_hashes, default_record, record_hashes
from lcsd.totalsegmentator.models import CHECKPOINT, TOTAL_6MM, VESSELS, VESSELS_LEGACY
from lcsd.totalsegmentator.weights import check_weights, link_weights, weights_folder
from tests.unit.totalsegmentator.made_up import made_up_weights

MODELS = (TOTAL_6MM, VESSELS_LEGACY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return made_up_weights(tmp_path / "weights", MODELS)


def code_of(folder: Path) -> tuple[str, str]:
    with pytest.raises(WorkError) as caught:
        check_weights(folder, MODELS)
    return caught.value.code, caught.value.message


def test_whole_weights_pass(folder: Path) -> None:
    check_weights(folder, MODELS)


def test_folder_is_found_as_the_package_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert weights_folder() == tmp_path / ".totalsegmentator" / "nnunet" / "results"
    monkeypatch.setenv("TOTALSEG_HOME_DIR", "/a")
    assert weights_folder() == Path("/a/nnunet/results")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", "/b")
    assert weights_folder() == Path("/b")
    assert weights_folder(Path("/c")) == Path("/c")
    assert weights_folder(Path("~/c")) == tmp_path / "c"


def test_missing_weights_name_folders_and_commands(folder: Path, tmp_path: Path) -> None:
    # The package would take this folder for the model.
    shutil.rmtree(folder / TOTAL_6MM.path)
    code, message = code_of(folder)
    assert code == "weights_missing"
    assert f"lcsd weights fetch lobes_fastest --folder {folder}" in message
    assert "LEGACY" not in message
    code, message = code_of(tmp_path / "absent")
    assert code == "weights_missing"
    assert f"lcsd weights fetch lung_vessels_LEGACY --folder {tmp_path / 'absent'}" in message
    assert VESSELS_LEGACY.path.as_posix() in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["dataset.json", "plans.json", CHECKPOINT])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_cut_file(name: str, share: float, folder: Path) -> None:
    path = folder / VESSELS_LEGACY.path / name
    os.truncate(path, int(path.stat().st_size * share))
    code, message = code_of(folder)
    assert code == "weights_truncated"
    assert str(path) in message


def test_weights_of_another_task(tmp_path: Path) -> None:
    folder = made_up_weights(tmp_path / "w", (*MODELS, VESSELS))
    # Someone copied the new lung_vessels under the old name.
    shutil.rmtree(folder / VESSELS_LEGACY.path)
    shutil.copytree(folder / VESSELS.path, folder / VESSELS_LEGACY.path)
    code, message = code_of(folder)
    assert code == "weights_of_another_task"
    assert "expected 0 to 2; found 0, 1, 2, 3, 4" in message


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("dataset.json", "channel_names", {"0": "CT", "1": "mask"}),
        ("dataset.json", "labels", ["a"]),
        ("dataset.json", "labels", {"background": 0, "region": [1, 2], "a": 1}),
        ("plans.json", "configurations", {"2d": {}}),
        ("plans.json", "configurations", None),
    ],
)
def test_other_channels_regions_or_plans(name: str, key: str, value: object, folder: Path) -> None:
    path = folder / VESSELS_LEGACY.path / name
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    assert code_of(folder)[0] == "weights_of_another_task"


def test_links_hold_the_models_only(folder: Path, tmp_path: Path) -> None:
    (folder / "Dataset298_of_somebody_else").mkdir()
    (folder / "Dataset302_vertebrae_body_1559subj").mkdir()
    link_weights(folder, MODELS, tmp_path / "links")
    assert {p.name for p in (tmp_path / "links").iterdir()} == {m.folder for m in MODELS}
    check_weights(tmp_path / "links", MODELS)


def test_recorded_hashes_refuse_a_change(folder: Path) -> None:
    before = check_hashes(folder, MODELS, None)
    assert len(before) == 6
    assert record_hashes(folder, MODELS) == default_record()
    assert check_hashes(folder, MODELS, None) == before
    path = folder / VESSELS_LEGACY.path / CHECKPOINT
    path.write_bytes(path.read_bytes().replace(b"258", b"259"))
    with pytest.raises(WorkError) as caught:
        check_hashes(folder, MODELS, None)
    assert caught.value.code == "weights_changed"
    assert str(path) in caught.value.message
    assert "--record" in caught.value.message


def test_named_record_must_be_there(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        check_hashes(folder, MODELS, tmp_path / "absent.json")
    assert caught.value.code == "missing_file"
    (tmp_path / "other.json").write_text('{"sha256": 3}')
    with pytest.raises(BadInputError) as caught:
        check_hashes(folder, MODELS, tmp_path / "other.json")
    assert caught.value.code == "bad_json"


def test_record_keeps_other_models(folder: Path) -> None:
    record_hashes(folder, MODELS[:1])
    record_hashes(folder, MODELS[1:])
    assert len(hashes.read_record(default_record())) == 6


def test_a_hash_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    real = hashes.sha256
    monkeypatch.setattr(hashes, "sha256", lambda path: (read.append(path), real(path))[1])
    first = check_hashes(folder, MODELS, None)
    assert len(read) == 6
    assert check_hashes(folder, MODELS, None) == first
    assert len(read) == 6
    (folder / TOTAL_6MM.path / "plans.json").touch()
    check_hashes(folder, MODELS, None)
    assert len(read) == 7


def test_broken_or_unwritable_cache_is_no_failure(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache" / "lcsd" / hashes.CACHE_NAME
    cache.parent.mkdir(parents=True)
    cache.write_text("{")
    expected = check_hashes(folder, MODELS, None)
    cache.unlink()
    cache.mkdir()
    assert check_hashes(folder, MODELS, None) == expected


def test_command_check_and_record(folder: Path) -> None:
    run = CliRunner().invoke(main, ["weights", "check", str(folder), "--record", "--json"])
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert printed[VESSELS.folder] == "absent"
    assert len(printed[(VESSELS_LEGACY.path / CHECKPOINT).as_posix()]) == 64
    assert default_record().exists()
    text = CliRunner().invoke(main, ["weights", "check", str(folder)])
    assert f"{VESSELS_LEGACY.folder}: present" in text.stdout
    assert f"{VESSELS.folder}: absent" in text.stdout
    (folder / VESSELS_LEGACY.path / "plans.json").write_text('{"configurations": {"3d_fullres": 1}}')
    changed = CliRunner().invoke(main, ["weights", "check", str(folder)])
    assert changed.exit_code == 1
    assert "[weights_changed]" in changed.stderr


def test_command_on_an_empty_folder(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["weights", "check", str(tmp_path)])
    assert run.exit_code == 1
    assert "[weights_missing]" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_command_list() -> None:
    run = CliRunner().invoke(main, ["weights", "list"])
    assert "lung_vessels_LEGACY, robust_crop" in run.stdout
    assert "lcsd weights fetch lung_vessels\n" in run.stdout
    listed = json.loads(CliRunner().invoke(main, ["weights", "list", "--json"]).stdout)
    assert [m["folder"] for m in listed["lobes_fastest"]] == [TOTAL_6MM.path.as_posix()]
