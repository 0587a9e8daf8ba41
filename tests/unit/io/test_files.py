"""Tables, clouds and JSON: whole or not at all, equal content is equal bytes."""

import errno
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lcsd.errors import BadInputError, WorkError
from lcsd.io.files import (
    BLANKS,
    FORMULA_SIGNS,
    as_cell,
    atomic_path,
    from_cell,
    read_json,
    require_file,
    sha256,
    write_json,
    write_table,
    write_text,
)
from lcsd.io.tables import read_rows


def test_failed_write_leaves_the_old_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text(f"half{1 // 0}")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".0123456789ab.tmp.a.txt").write_text("half")
    (tmp_path / ".0123456789ab.tmp.other.txt").write_text("half")
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".0123456789ab.tmp.other.txt", "a.txt"]


def test_content_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, synced = tmp_path / "a.txt", []

    def sync(descriptor: int) -> None:
        assert not path.exists()
        synced.append(os.pread(descriptor, 9, 0))

    monkeypatch.setattr(os, "fsync", sync)
    write_text(path, "whole")
    assert synced == [b"whole"]


def test_a_file_that_another_process_writes_is_not_taken_for_a_rest(tmp_path: Path) -> None:
    """As a job of a killed build and the one of the build that goes on, in the same folder."""
    path = tmp_path / "a.txt"
    (tmp_path / ".0123456789ab.tmp.a.txt").write_text("half")
    with atomic_path(path) as first:
        first.write_text("first")
        (tmp_path / ".ba9876543210.tmp.a.txt").write_text("half")
        with atomic_path(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.exists()
    assert path.read_text() == "first"
    # What the killed one left goes once nobody else is at work.
    with atomic_path(path) as third:
        third.write_text("third")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(WorkError, match=r"\[cannot_write\]"), atomic_path(tmp_path / "file" / "a"):
        pass


def test_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": [1.5]})
    assert read_json(tmp_path / "a.json") == {"a": [1.5], "b": 1}
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(BadInputError, match=r"\[bad_json\]"):
        read_json(tmp_path / "a.json")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "b.json", {"x": float("nan")})
    assert not (tmp_path / "b.json").exists()


@pytest.mark.parametrize("number", [errno.EACCES, errno.ENAMETOOLONG, errno.ENOTDIR])
def test_a_file_that_cannot_be_reached_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "stat", fails)
    with pytest.raises(BadInputError, match=os.strerror(number)) as caught:
        require_file(tmp_path / "a")
    assert caught.value.code == "missing_file"


def test_a_disk_that_fails_is_no_fault_of_the_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "stat", fails)
    with pytest.raises(OSError, match="Input/output"):
        require_file(tmp_path / "a")


def test_folder_hash_takes_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.txt")).write_text("1")
    first = sha256(folder)
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.txt")).rename(folder / "e.txt")
    assert sha256(folder) != first


def test_folder_hash_sees_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = sha256(folder)
    (folder / "a").rename(folder / "b")
    assert sha256(folder) != first


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\n@1", "'=1", "''=1", "- 3", "\uff1d1"]
)
def test_no_cell_of_a_table_is_a_formula(tmp_path: Path, text: str) -> None:
    for name, mark in (("a.tsv", "\t"), ("a.csv", ",")):
        write_table(tmp_path / name, ("a", "b"), [{"a": text, "b": "x"}])
        line = (tmp_path / name).read_text(encoding="utf-8").split("\n", 1)[1]
        assert line.lstrip('"').startswith("'"), line
        assert line.endswith(f"{mark}x\n")
    assert read_rows(tmp_path / "a.tsv", ("a",)) == [{"a": text, "b": "x"}]


@pytest.mark.parametrize("value", ["-3.5", "+1e-3", "-inf", -3.5, 7, "", "a=b", "'tis", "O'Neil"])
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert as_cell(value) == value


@given(st.text(alphabet="'=+-@1. a\t\r", max_size=6) | st.text(max_size=6))
def test_every_text_comes_back_from_its_cell(text: str) -> None:
    cell = str(as_cell(text))
    assert from_cell(cell) == text.replace("\r", " ")
    if cell.lstrip(BLANKS).startswith(tuple(FORMULA_SIGNS)):
        float(cell)
