"""The same against moto, an S3 server of other people."""

import logging
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

from lcsd.fetch import fetch_series
from lcsd.settings.fetch import FetchSettings
from tests.s3 import BUCKET, S3Server, publish, series_prefix
from tests.unit.fetch.conftest import FILES, UIDS


def test_good_private_and_missing_objects(tree: Path, tmp_path: Path) -> None:
    store = S3Server()
    publish(store, tree, tmp_path / "i.parquet")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3", endpoint_url=url, region_name="us-east-1", aws_access_key_id="a",
            aws_secret_access_key="b",  # noqa: S106
        )  # fmt: skip
        client.create_bucket(Bucket=BUCKET, ACL="public-read")
        for name, body in store.objects.items():
            key = name.removeprefix(f"{BUCKET}/")
            client.put_object(Bucket=BUCKET, Key=key, Body=body, ACL="public-read")
        settings = FetchSettings(index=tmp_path / "i.parquet", endpoint_url=url, retries=0)
        done = fetch_series(UIDS, tmp_path / "out", settings)
        assert [(one.state, one.files) for one in done] == [("fetched", FILES)] * 2
        keys = [f"{series_prefix(uid)}/0003.dcm" for uid in UIDS]
        client.put_object_acl(Bucket=BUCKET, Key=keys[0], ACL="private")
        client.delete_object(Bucket=BUCKET, Key=keys[1])
        failed = fetch_series(UIDS, tmp_path / "other", settings)
        codes = [one.error.code for one in failed if one.error]
        assert codes == ["access_denied", "missing_objects"]
    finally:
        server.stop()
