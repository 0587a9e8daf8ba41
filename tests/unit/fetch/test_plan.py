"""What the index says, and whether the disk has room."""

import time
from pathlib import Path
from typing import Any

import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.fetch.plan import check_space, folder_bytes, look_up
from tests.s3 import INDEX_COLUMNS, write_index
from tests.unit.cohort.made_up import write_index as write_any

KNOWN = "1.2.840.113654.2.55.122344168497038128022524906545138736420"


def row(uid: str = "1.2", **changed: Any) -> dict[str, Any]:
    return {
        "SeriesInstanceUID": uid,
        "PatientID": "p",
        "Modality": "CT",
        "instanceCount": 3,
        "series_size_MB": 1.234567,
        "series_aws_url": "s3://bucket-a/0-a/*",
        **changed,
    }


def test_entries_of_the_index(tmp_path: Path) -> None:
    index = tmp_path / "i[1].parquet"
    write_index(index, [row("1.2"), row("1.3", PatientID=None), row("1.4")])
    found = look_up(["1.3", "1.2", "9"], index)
    assert sorted(found) == ["1.2", "1.3"]
    entry = found["1.2"]
    assert (entry.patient, entry.modality, entry.files) == ("p", "CT", 3)
    assert (entry.size_bytes, entry.bucket, entry.prefix) == (1234567, "bucket-a", "0-a")
    assert found["1.3"].patient == ""
    assert look_up([], Path("absent")) == {}


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/../*",
        "s3://bucket/a b/*",
        "s3://-x/a/*",
        "file:///etc/*",
        "s3://bucket/a/b/*",
        "s3://bucket/a/*;x",
        "s3://bucket/*",
        None,
    ],
)
def test_hostile_addresses_are_refused(tmp_path: Path, url: str | None) -> None:
    index = tmp_path / "i.parquet"
    write_index(index, [row(series_aws_url=url)])
    with pytest.raises(BadInputError) as caught:
        look_up(["1.2"], index)
    assert caught.value.code == "bad_index"


def test_unusable_indexes_are_named(tmp_path: Path) -> None:
    index = tmp_path / "i.parquet"
    for content, code in (([row(), row()], "duplicate_series"), ([row(instanceCount=None)], "bad_index")):
        write_index(index, content)
        with pytest.raises(BadInputError) as caught:
            look_up(["1.2"], index)
        assert caught.value.code == code
    write_any(index, [{"SeriesInstanceUID": "1.2"}])
    with pytest.raises(BadInputError, match=r"\[missing_column\]"):
        look_up(["1.2"], index)
    index.write_bytes(b"nothing of the kind" * 9)
    with pytest.raises(BadInputError, match="bad_index"):
        look_up(["1.2"], index)
    with pytest.raises(BadInputError, match="missing_file"):
        look_up(["1.2"], tmp_path / "absent")


def test_real_index(record_property: Any) -> None:
    started = time.perf_counter()
    entry = look_up([KNOWN])[KNOWN]
    record_property("seconds of one look-up in the real index", time.perf_counter() - started)
    assert (entry.files, entry.size_bytes, entry.modality) == (129, 67_929_922, "CT")
    assert (entry.bucket, len(entry.prefix)) == ("idc-open-data", 36)


def test_columns_of_the_test_servers_index_are_the_real_ones() -> None:
    import duckdb

    from lcsd.cohort.index import default_index

    assert tuple(duckdb.read_parquet(str(default_index())).columns) == INDEX_COLUMNS


def test_space(tmp_path: Path) -> None:
    assert folder_bytes(tmp_path / "absent") == 0
    (tmp_path / "a").write_bytes(b"12345")
    assert folder_bytes(tmp_path) == 5
    check_space(10, tmp_path, 1.0)
    with pytest.raises(WorkError) as caught:
        check_space(1 << 60, tmp_path, 2.0)
    assert caught.value.code == "disk_full"
    assert "2,305,843,009,213.7 MB free" in caught.value.message
