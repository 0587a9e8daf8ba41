"""Sources: paths as they are, series fetched first and, if so asked, removed afterwards."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lcsd.errors import BadInputError
from lcsd.fetch.local import local
from lcsd.names import is_series_uid
from lcsd.settings.fetch import FetchSettings
from tests.s3 import publish, s3_server
from tests.unit.fetch.dicom import write_series

UID = "1.2.840.99.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UID, True),
        ("2.25.0.1", True),
        ("1.2.3", False),
        ("scan.nii.gz", False),
        ("/data/1.2.3.4", False),
        ("1.2.3.4/..", False),
        ("1.2..3.4", False),
        ("", False),
        ("1.2.3.4\n", False),
        ("1." * 31 + "123", False),
        ("\u0661.2.3.4", False),
    ],
)
def test_only_a_uid_is_a_series(text: str, *, expected: bool) -> None:
    assert is_series_uid(text) is expected


def test_a_path_is_given_as_it_is() -> None:
    with local("a/b.nii.gz", None, FetchSettings(), say=print) as path:
        assert path == Path("a/b.nii.gz")


def test_a_series_needs_a_folder() -> None:
    with pytest.raises(BadInputError, match="--series-dir"), local("1.2.3.4", None, FetchSettings(), say=print):
        pass


def shown(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[FetchSettings]:
    """Settings of a server with one series of two images."""
    write_series(tmp_path / "tree", UID, files=2)
    with s3_server() as server:
        publish(server, tmp_path / "tree", tmp_path / "index.parquet")
        yield FetchSettings(index=tmp_path / "index.parquet", endpoint_url=server.url, retries=0)


@pytest.mark.parametrize("keep", [True, False])
def test_a_series_is_fetched_and_stays_only_if_it_should(archive: FetchSettings, tmp_path: Path, *, keep: bool) -> None:
    settings, folder = archive.model_copy(update={"keep": keep}), tmp_path / "series"
    with local(UID, folder, settings, say=print) as path:
        assert shown(path) == ["0001.dcm", "0002.dcm"]
    assert shown(folder) == ([UID, f"{UID}.sha256"] if keep else [])
    with pytest.raises(ZeroDivisionError), local(UID, folder, settings, say=print):
        raise ZeroDivisionError
    assert (folder / UID).is_dir(), "a failed step needs it again"
    with local(UID, folder, settings, say=print):
        pass
    assert shown(folder) == ([UID, f"{UID}.sha256"] if keep else [])


def test_a_series_that_was_there_before_stays(archive: FetchSettings, tmp_path: Path) -> None:
    passing, folder = archive.model_copy(update={"keep": False}), tmp_path / "series"
    with local(UID, folder, archive, say=print):
        pass
    with local(UID, folder, passing, say=print):
        pass
    assert shown(folder) == [UID, f"{UID}.sha256"]


def test_a_series_that_another_reads_stays_until_it_has(archive: FetchSettings, tmp_path: Path) -> None:
    passing, folder = archive.model_copy(update={"keep": False}), tmp_path / "series"
    with local(UID, folder, passing, say=print) as path:
        with local(UID, folder, passing, say=print):
            pass
        assert shown(path) == ["0001.dcm", "0002.dcm"]
    assert shown(folder) == []


def test_a_series_that_cannot_be_had_says_why(archive: FetchSettings, tmp_path: Path) -> None:
    with (
        pytest.raises(BadInputError, match="unknown_series"),
        local("1.2.840.99.2", tmp_path / "series", archive, say=print),
    ):
        pass
