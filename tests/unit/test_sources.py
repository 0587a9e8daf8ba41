"""Sources: paths as they are, series fetched first and, if so asked, removed afterwards."""

from pathlib import Path

import pytest

from lcsd.errors import BadInputError
from lcsd.settings.fetch import FetchSettings
from lcsd.sources import is_series_uid, local
from tests.s3 import publish, s3_server
from tests.unit.fetch.dicom import write_series

UID = "1.2.840.99.1"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UID, True), ("2.25.0.1", True), ("1.2.3", False), ("scan.nii.gz", False),
        ("/data/1.2.3.4", False), ("1.2.3.4/..", False), ("1.2..3.4", False), ("", False),
        ("1.2.3.4\n", False), ("1." * 31 + "123", False), ("\u0661.2.3.4", False),
    ],
)  # fmt: skip
def test_only_a_uid_is_a_series(text: str, *, expected: bool) -> None:
    assert is_series_uid(text) is expected


def test_a_path_is_given_as_it_is() -> None:
    with local("a/b.nii.gz", None, FetchSettings(), say=print) as path:
        assert path == Path("a/b.nii.gz")


def test_a_series_needs_a_folder() -> None:
    with (
        pytest.raises(BadInputError, match="--series-dir"),
        local("1.2.3.4", None, FetchSettings(), say=print),
    ):
        pass


@pytest.mark.parametrize("keep", [True, False])
def test_a_series_is_fetched_and_stays_only_if_it_should(tmp_path: Path, *, keep: bool) -> None:
    write_series(tmp_path / "tree", UID, files=2)
    with s3_server() as server:
        publish(server, tmp_path / "tree", tmp_path / "index.parquet")
        settings = FetchSettings(
            index=tmp_path / "index.parquet", endpoint_url=server.url, keep=keep, retries=0
        )
        folder = tmp_path / "series"
        with local(UID, folder, settings, say=print) as path:
            assert sorted(p.name for p in path.iterdir()) == ["0001.dcm", "0002.dcm"]
        assert sorted(p.name for p in folder.iterdir()) == ([UID, f"{UID}.sha256"] if keep else [])
        with pytest.raises(ZeroDivisionError), local(UID, folder, settings, say=print):
            raise ZeroDivisionError
        assert (folder / UID).is_dir(), "a failed step needs it again"


def test_a_series_that_cannot_be_had_says_why(tmp_path: Path) -> None:
    write_series(tmp_path / "tree", UID, files=1)
    with s3_server() as server:
        publish(server, tmp_path / "tree", tmp_path / "index.parquet")
        settings = FetchSettings(index=tmp_path / "index.parquet", endpoint_url=server.url)
        with (
            pytest.raises(BadInputError, match="no such series"),
            local("1.2.840.99.2", tmp_path / "series", settings, say=print),
        ):
            pass
