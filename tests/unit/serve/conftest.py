"""A server that all tests of the folder share, and what asks it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PROGRAM = [sys.executable, "-c", "from lcsd.cli.main import main; main()", "serve"]
MEMORY_GIB = 3
BOUNDARY = "a-boundary-that-no-file-has"
SECONDS = 300.0

Fields = dict[str, str | tuple[str, bytes]]


class Server:
    """A running ``lcsd serve``."""

    def __init__(self, *options: str, temporary: Path, **environment: str) -> None:
        self.process = subprocess.Popen(
            [*PROGRAM, "--port", "0", "--threads", "2", *options],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(temporary), **environment},
        )
        assert self.process.stderr is not None
        self.said = self.process.stderr.readline()
        found = re.search(r"http://[^/]*:(\d+)/", self.said)
        assert found, self.said
        self.port = int(found[1])

    @property
    def place(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the answer to a request and its content; ``_`` in the name of a header is ``-``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()
        finally:
            connection.close()

    def json(self, method: str, path: str, body: bytes | None = None, **headers: str) -> dict[str, Any]:
        """Return the JSON of an answer, with its ``status``."""
        answer, content = self.ask(method, path, body, **headers)
        return {**json.loads(content), "status": answer.status}

    def post(self, path: str, fields: Fields, **headers: str) -> dict[str, Any]:
        """Send a form; a pair is a file, its name and content."""
        parts = []
        for name, value in fields.items():
            file = f'; filename="{value[0]}"' if isinstance(value, tuple) else ""
            content = value[1] if isinstance(value, tuple) else value.encode()
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'
            parts.append(head.encode() + content + b"\r\n")
        body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
        return self.json("POST", path, body, Content_Type=f"multipart/form-data; boundary={BOUNDARY}", **headers)

    def job(self, name: str) -> dict[str, Any]:
        return self.json("GET", f"/api/jobs/{name}")

    def until(self, name: str, *states: str) -> dict[str, Any]:
        """Wait until a job is in one of the states, by default an end."""
        end = time.monotonic() + SECONDS
        while (found := self.job(name))["state"] not in (states or ("done", "failed", "cancelled")):
            assert time.monotonic() < end, found
            time.sleep(0.05)
        return found

    def check(self, fields: Fields) -> dict[str, Any]:
        """Send an upload and return the answer, or the verdict."""
        answer = self.post("/api/checks", fields)
        return answer if "id" not in answer else self.until(answer["id"])

    def end(self) -> str:
        """End the server as a user does; return the rest that it said."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.communicate(timeout=60)[1]


@contextlib.contextmanager
def running(*options: str, temporary: Path, **environment: str) -> Iterator[Server]:
    """Yield a server, and end it."""
    server = Server(*options, temporary=temporary, **environment)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The shared server; its folder is ``temporary``."""
    with running("--memory", str(MEMORY_GIB), temporary=tmp_path_factory.mktemp("temporary")) as found:
        yield found


def vessels(count: int, seed: int = 0) -> np.ndarray:
    """Points of curved vessels in a chest, (count, 3), LPS mm."""
    rng = np.random.default_rng(seed)
    lines = count // 50
    start, direction = rng.uniform(-80, 80, (lines, 3)), rng.normal(size=(lines, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    along = rng.uniform(-20, 20, (lines, 50, 1))
    return (start[:, None] + along * direction[:, None] + 0.01 * along**2).reshape(-1, 3)


def table(points: np.ndarray) -> bytes:
    rows = "\n".join(",".join(f"{value:.3f}" for value in row) for row in points)
    return f"x,y,z\n{rows}\n".encode()


def breathing(points: np.ndarray) -> np.ndarray:
    """Where points move: 4 to 9 mm."""
    return points + np.array([1.0, -2.0, 6.0]) + 2.0 * np.sin(points[:, [2, 0, 1]] / 40)


def landmarks(points: np.ndarray) -> bytes:
    names = "fixed_x,fixed_y,fixed_z,moving_x,moving_y,moving_z"
    rows = np.hstack([points, breathing(points)])
    return (names + "\n" + "\n".join(",".join(f"{value:.3f}" for value in row) for row in rows) + "\n").encode()


def pair(count: int) -> Fields:
    """Two clouds and landmarks of a motion of 4 to 9 mm, as a form."""
    whole = vessels(2 * count)
    return {
        "fixed": ("my baseline.csv", table(whole[::2])),
        "moving": ("my follow-up.csv", table(breathing(whole[1::2]))),
        "landmarks": ("where.csv", landmarks(whole[::97])),
    }
