"""A release takes its name when it is whole, and replaces only an earlier release."""

import errno
import json
import shutil
import zipfile
from collections import namedtuple
from pathlib import Path

import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import read_json
from lcsd.release import release as release_build
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import QUICK, hashes


@pytest.mark.slow
def test_an_earlier_release_goes_when_the_new_one_is_whole(
    build: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    settings = ReleaseSettings(viewer=False)
    write_release(*build, out, settings)
    before = hashes(tmp_path)
    for unwanted in (settings, QUICK):
        with pytest.raises(BadInputError, match="not_empty"):
            write_release(*build, out, unwanted)
    for step in ("write_checksums", "write_archive"):
        with monkeypatch.context() as patched:
            patched.setattr(release_build, step, refuse)
            with pytest.raises(BadInputError, match="broken"):
                write_release(*build, out, settings, replace=True)
    assert hashes(tmp_path) == before
    write_release(*build, out, ReleaseSettings(viewer=False, version="2.0.0"), replace=True)
    assert hashes(tmp_path).keys() == before.keys()
    assert read_json(out / "dataset.json")["release"] == "2.0.0"
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert json.loads(archive.read("lcsd/dataset.json"))["release"] == "2.0.0"
    write_release(*build, out, QUICK, replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def refuse(*_: object, **__: object) -> None:
    raise BadInputError("broken", code="broken")


def test_archive_of_an_earlier_release_is_not_left_beside_another(build: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out.zip").write_text("mine")
    with pytest.raises(BadInputError, match="not_empty"):
        write_release(*build, tmp_path / "out", QUICK)
    assert (tmp_path / "out.zip").read_text() == "mine"


def test_replace_removes_nothing_but_a_release(build: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("x")
    with pytest.raises(BadInputError, match="not_empty"):
        write_release(*build, tmp_path / "out", QUICK, replace=True)
    assert (tmp_path / "out" / "mine").read_text() == "x"


def test_a_full_disk_is_refused_before_anything_is_written(
    build: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 1000))
    with pytest.raises(WorkError, match="disk_full"):
        write_release(*build, tmp_path / "out", QUICK)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_halfway_leaves_nothing_under_the_name(
    build: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    left = tmp_path / ".abc.tmp.out"  # of a killed run
    left.mkdir()
    monkeypatch.setattr(release_build, "write_checksums", full)
    with pytest.raises(OSError, match="No space"):
        write_release(*build, tmp_path / "out", QUICK)
    assert list(tmp_path.iterdir()) == []
