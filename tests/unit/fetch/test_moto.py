"""The same against moto, an S3 server of other people."""

from pathlib import Path

import pytest

from lcsd.fetch.fetch import fetch_series
from lcsd.settings.fetch import FetchSettings
from tests.moto_s3 import moto_archive
from tests.s3 import BUCKET, series_prefix
from tests.unit.fetch.conftest import FILES, UIDS


@pytest.mark.slow
def test_good_private_and_missing_objects(tree: Path, tmp_path: Path) -> None:
    index = tmp_path / "i.parquet"
    with moto_archive(tree, index) as (url, client):
        settings = FetchSettings(index=index, endpoint_url=url, retries=0)
        done = fetch_series(UIDS, tmp_path / "out", settings)
        assert [(one.state, one.files) for one in done] == [("fetched", FILES)] * 2
        keys = [f"{series_prefix(uid)}/0003.dcm" for uid in UIDS]
        client.put_object_acl(Bucket=BUCKET, Key=keys[0], ACL="private")
        client.delete_object(Bucket=BUCKET, Key=keys[1])
        failed = fetch_series(UIDS, tmp_path / "other", settings)
        codes = [one.error.code for one in failed if one.error]
        assert codes == ["access_denied", "missing_objects"]
