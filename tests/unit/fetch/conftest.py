"""A server with two small series, and a call of the command that goes to it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from lcsd.cli.main import main
from lcsd.settings.fetch import FetchSettings
from tests.s3 import BUCKET, S3Server, publish, s3_server, series_prefix
from tests.unit.fetch.dicom import write_series

UIDS = ("1.2.840.99.1", "1.2.840.99.2")
FILES = 6


@dataclass
class Site:
    """Server, index, and an output folder."""

    server: S3Server
    index: Path
    out: Path

    def key(self, number: int, series: int = 0) -> str:
        """Return the key of an object."""
        return f"{series_prefix(UIDS[series])}/{number:04d}.dcm"

    def change(self, number: int, body: bytes | None, series: int = 0) -> bytes:
        """Replace an object, or remove it; return what it was."""
        name = f"{BUCKET}/{self.key(number, series)}"
        before = self.server.objects.pop(name)
        if body is not None:
            self.server.objects[name] = body
        return before

    def settings(self, **changed: Any) -> FetchSettings:
        """Return settings that go to the server and do not wait."""
        given = {"index": self.index, "endpoint_url": self.server.url, "backoff_s": 0.01, "retries": 1}
        return FetchSettings(**{**given, **changed})

    def arguments(self, *arguments: str, **changed: Any) -> list[str]:
        """Return the words of a call of the command."""
        content = self.settings(**changed).model_dump(mode="json", exclude_defaults=True)
        pairs = [f"{key}={json.dumps(value)}" for key, value in content.items()]
        sets = [word for pair in pairs for word in ("--set", pair)]
        return ["fetch", *arguments, "--out-dir", str(self.out), *sets]

    def run(self, *arguments: str, **changed: Any) -> Result:
        """Run the command in this process."""
        return CliRunner().invoke(main, self.arguments(*arguments, **changed))

    def start(self, *arguments: str, **changed: Any) -> "subprocess.Popen[str]":
        """Run the command in a process of its own."""
        # Tests that run in the background of a shell have SIGINT ignored, and hand that on.
        code = "from signal import *; signal(SIGINT, default_int_handler)\n"
        code += "from lcsd.cli.main import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *self.arguments(*arguments, **changed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def names(self) -> list[str]:
        """Return what lies in the output folder, without provenance."""
        return sorted(p.name for p in self.out.iterdir() if not p.name.endswith("provenance.json"))

    def part(self, series: int = 0) -> Path:
        """Return the folder of a download in progress."""
        return self.out / f".{UIDS[series]}.part"

    def check_complete(self, *uids: str) -> None:
        """Assert that these series lie there byte for byte as in the bucket, and nothing beside."""
        there = [name for name in self.names() if any(uid in name for uid in uids)]
        assert there == sorted(name for uid in uids for name in (uid, f"{uid}.sha256"))
        for uid in uids:
            done = subprocess.run(
                ["sha256sum", "-c", "--quiet", f"{uid}.sha256"],
                cwd=self.out,
                check=False,
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            prefix = f"{BUCKET}/{series_prefix(uid)}/"
            files = {path.name: path.read_bytes() for path in (self.out / uid).iterdir()}
            bodies = self.server.objects.items()
            assert files == {n.removeprefix(prefix): b for n, b in bodies if n.startswith(prefix)}

    def check_nothing_final(self) -> None:
        """Assert that no file has a final name yet."""
        assert [n for n in self.names() if not n.startswith(".")] == []


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two series."""
    folder = tmp_path_factory.mktemp("tree")
    for number, uid in enumerate(UIDS):
        write_series(folder / f"case{number}" / "fixed" / "standard", uid, files=FILES)
    return folder


@pytest.fixture
def site(tree: Path, tmp_path: Path) -> Iterator[Site]:
    """A running server with both series."""
    with s3_server() as server:
        publish(server, tree, tmp_path / "index.parquet")
        yield Site(server, tmp_path / "index.parquet", tmp_path / "out dir'\"")
