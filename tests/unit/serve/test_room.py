"""A server whose folder for temporary files is full says so, and goes on."""

import errno
import http.client
import json
import socket
import threading
from collections.abc import Iterator

import pytest
from waitress.buffers import OverflowableBuffer
from waitress.server import create_server

from lcsd.serve.offers import Limits
from lcsd.serve.serve import _channel

SMALL, LARGE = 1000, 300_000


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that answers with the length of what it got, and has no room for more than ``SMALL`` bytes."""
    append = OverflowableBuffer.append

    def limited(buffer: OverflowableBuffer, data: bytes) -> None:
        if len(buffer) + len(data) > SMALL:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(buffer, data)

    def answer(environ: dict, start: object) -> list[bytes]:
        start("200 OK", [("Content-Type", "application/json")])  # type: ignore[operator]
        return [json.dumps({"got": len(environ["wsgi.input"].read())}).encode()]

    monkeypatch.setattr(OverflowableBuffer, "append", limited)
    listener = socket.create_server(("127.0.0.1", 0))
    server = create_server(answer, sockets=[listener], threads=1, max_request_body_size=Limits().upload_bytes)
    server.channel_class = _channel(Limits())
    threading.Thread(target=server.run, daemon=True).start()
    yield listener.getsockname()[1]
    server.close()


def post(port: int, size: int) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/", bytes(size))
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_an_upload_without_room_is_one_clear_answer(port: int) -> None:
    """gradio-app/gradio 4620: temporary files fill the disk. Before, the connection broke, with a traceback."""
    assert post(port, SMALL // 2) == (200, {"got": SMALL // 2})
    status, error = post(port, LARGE)
    assert (status, error["code"], "TMPDIR" in error["remedy"]) == (507, "storage_full", True)
    assert post(port, SMALL // 2) == (200, {"got": SMALL // 2})
