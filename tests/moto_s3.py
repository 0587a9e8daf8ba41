"""Series in an S3 server of other people (moto), published as the IDC does."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.s3 import BUCKET, S3Server, publish


@contextmanager
def moto_archive(tree: Path, index: Path) -> Iterator[tuple[str, Any]]:
    """Give address and client of a server that holds all series below ``tree``; write the index."""
    published = S3Server()
    publish(published, tree, index)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="a",
            aws_secret_access_key="b",  # noqa: S106
        )
        client.create_bucket(Bucket=BUCKET, ACL="public-read")
        for name, body in published.objects.items():
            key = name.removeprefix(f"{BUCKET}/")
            client.put_object(Bucket=BUCKET, Key=key, Body=body, ACL="public-read")
        yield url, client
    finally:
        server.stop()
