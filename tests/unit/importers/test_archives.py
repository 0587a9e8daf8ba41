"""Archives of others: what is unpacked, and what is refused before a byte is written."""

import stat
import zipfile
from pathlib import Path

import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.importers.archives import dataset_files, extract
from lcsd.importers.folder import new_folder
from lcsd.settings.imports import ImportSettings

LIMITS = ImportSettings(max_gib=1e-4, max_files=5)


def archive(path: Path, entries: dict[str, bytes], kind: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as content:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = kind << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            content.writestr(info, data)
    return path


def refused(path: Path, to: Path) -> str:
    with pytest.raises(BadInputError) as caught:
        extract(path, to, wanted=lambda _: True, limits=LIMITS)
    assert not to.exists(), "something was written"
    return caught.value.code


@pytest.mark.parametrize("name", ["../a", "x/../../a", "/a", "x\\..\\a", "C:/a", "C:a"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {"good": b"1", name: b"2"})
    assert refused(path, tmp_path / "out") == "unsafe_archive"
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK | 0o777, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    path = archive(tmp_path / "a.zip", {"link": b"/etc/passwd"}, kind)
    assert refused(path, tmp_path / "out") == "unsafe_archive"


def test_size_and_number_are_bounded(tmp_path: Path) -> None:
    big = archive(tmp_path / "big.zip", {"a": b"0" * 200_000})
    assert big.stat().st_size < 1000
    assert refused(big, tmp_path / "out") == "unsafe_archive"
    many = archive(tmp_path / "many.zip", {str(n): b"1" for n in range(6)})
    assert refused(many, tmp_path / "out") == "unsafe_archive"


def test_broken_and_encrypted_archives_are_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"a": bytes(range(256)) * 100})
    data = bytearray(path.read_bytes())
    (tmp_path / "cut.zip").write_bytes(data[: len(data) // 2])
    assert refused(tmp_path / "cut.zip", tmp_path / "out") == "broken_archive"
    (tmp_path / "text.zip").write_text("no archive")
    assert refused(tmp_path / "text.zip", tmp_path / "out") == "broken_archive"
    data[60:80] = bytes(20)
    (tmp_path / "bad.zip").write_bytes(data)
    with pytest.raises(BadInputError, match="broken_archive"):
        extract(tmp_path / "bad.zip", tmp_path / "half", wanted=lambda _: True, limits=LIMITS)
    secret = bytearray(archive(tmp_path / "s.zip", {"a": b"1"}).read_bytes())
    secret[6] |= 1
    secret[secret.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "secret.zip").write_bytes(secret)
    assert refused(tmp_path / "secret.zip", tmp_path / "out") == "encrypted_archive"


@pytest.mark.parametrize("entries", [("a", "a/b"), ("a/b", "a"), ("a", "a/"), ("x" * 300,)])
def test_names_that_no_folder_can_hold_are_refused(tmp_path: Path, entries: tuple[str]) -> None:
    path = archive(tmp_path / "a.zip", {"good": b"1"} | dict.fromkeys(entries, b""))
    assert refused(path, tmp_path / "out") == "unsafe_archive"
    # Each part is short enough, but not the whole.
    path = archive(tmp_path / "deep.zip", {"/".join(["d" * 200] * 30): b"1"})
    with pytest.raises(BadInputError, match="unsafe_archive"):
        extract(path, tmp_path / "deep", wanted=lambda _: True, limits=LIMITS)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_damage_is_named_whatever_the_compression(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as content:
        content.writestr("a", "".join(map(str, range(5000))))
    data = bytearray(path.read_bytes())
    data[40:400] = bytes(value ^ 0x5A for value in data[40:400])
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="broken_archive"):
        extract(path, tmp_path / "out", wanted=lambda _: True, limits=LIMITS)


def test_a_destination_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (".", "..", "/"):
        with pytest.raises(BadInputError, match="bad_destination"), new_folder(Path(name)):
            pass


def test_wanted_files_of_folders_and_archives_are_found(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "one.txt").write_text("1")
    (source / "other.img").write_text("0")
    archive(source / "deep" / "a.zip", {"in/two.txt": b"2", "in/skipped.img": b"0", "in/": b""})
    files = dataset_files(source, tmp_path / "scratch", wanted=lambda name: name.endswith(".txt"), limits=LIMITS)
    assert sorted(path.read_text() for path in files) == ["1", "2"]
    assert not list((tmp_path / "scratch").rglob("*.img"))
    (path,) = dataset_files(
        source / "deep" / "a.zip", tmp_path / "more", wanted=lambda name: name == "two.txt", limits=LIMITS
    )
    assert path.read_bytes() == b"2"
    with pytest.raises(BadInputError, match="missing_file"):
        dataset_files(tmp_path / "x", tmp_path / "y", wanted=lambda _: True, limits=LIMITS)


def test_folder_is_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (tmp_path / ".00ff.tmp.out").mkdir()

    def fail() -> None:
        with new_folder(target) as folder:
            (folder / "a").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not any(target.iterdir())
    with new_folder(target) as folder:
        (folder / "a").write_text("whole")
    assert (target / "a").read_text() == "whole"
    with pytest.raises(BadInputError, match="not_empty"), new_folder(target):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="cannot_write"), new_folder(tmp_path / "file" / "x"):
        pass
    assert (target / "a").read_text() == "whole"
