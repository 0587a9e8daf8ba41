"""Weights are fetched from a server on this machine: announced, verified, and complete or absent."""

import hashlib
import inspect
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from totalsegmentator.libs import download_pretrained_weights
from totalsegmentator.map_tasks_config import TASK_ID_WEIGHTS_CONFIGS

from lcsd.cli.main import main
from lcsd.cli.weights import USES
from lcsd.totalsegmentator import download
from lcsd.totalsegmentator.hashes import default_record, read_record
from lcsd.totalsegmentator.models import CHECKPOINT, MODELS, TASKS, TOTAL_6MM, VESSELS_LEGACY, Model
from lcsd.totalsegmentator.weights import check_weights
from tests.unit.totalsegmentator.made_up import made_up_weights


class Server:
    """Answers by path; ``requested`` has method and path of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes] = {}
        self.longer = 0  # bytes that are announced and not sent
        self.requested: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def reply(self) -> None:
                outer.requested.append((self.command, self.path))
                body = outer.answers.get(self.path)
                self.send_response(404 if body is None else 200)
                zipped = self.path.endswith(".zip")
                self.send_header("Content-Length", str(len(body or b"") + (outer.longer if zipped else 0)))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body or b"")

            do_GET = do_HEAD = reply  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def offer(self, model: Model, archive: bytes, *, digest: str | None = None) -> None:
        """Serve an archive, and describe it as GitHub does."""
        self.answers[f"/files/{model.release}/{model.folder}.zip"] = archive
        tag = f"/tags/{model.release}"
        release = json.loads(self.answers.get(tag, b'{"assets": []}'))
        release["assets"].append({"name": f"{model.folder}.zip", "size": len(archive), "digest": digest})
        self.answers[tag] = json.dumps(release).encode()


def archive_of(folder: Path, model: Model) -> bytes:
    made_up_weights(folder, [model])
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder).as_posix())
        archive.writestr("../outside.txt", "x")
        archive.writestr(f"{model.folder}/../../../outside.txt", "x")
    return packed.getvalue()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    made = Server()
    monkeypatch.setattr(download, "SOURCE", f"{made.address}/files")
    monkeypatch.setattr(download, "FACTS", f"{made.address}/tags")
    yield made
    made.http.shutdown()
    made.http.server_close()


@pytest.fixture
def crop(server: Server, tmp_path: Path) -> bytes:
    """The archive of the 6 mm model, which the server has with its SHA-256."""
    packed = archive_of(tmp_path / "made", TOTAL_6MM)
    server.offer(TOTAL_6MM, packed, digest=f"sha256:{hashlib.sha256(packed).hexdigest()}")
    return packed


def weights(*words: str) -> Result:
    return CliRunner().invoke(main, ["weights", *words])


def fetch(folder: Path, *words: str, use: str = "lobes_fastest") -> Result:
    return weights("fetch", use, "--folder", str(folder), *words)


def failed(run: Result, code: str, folder: Path) -> str:
    assert run.exit_code != 0
    assert f"[{code}]" in run.stderr.splitlines()[-1]
    assert not [p for p in folder.rglob("*") if p.is_file()], "leftovers"
    return run.stderr.splitlines()[-1]


def test_addresses_are_those_of_the_package() -> None:
    assert tuple(TASKS) == USES
    for model in MODELS:
        listed = TASK_ID_WEIGHTS_CONFIGS[model.dataset]
        assert (listed["foldername"], listed["version"]) == (model.folder, model.release)
    assert f'"{download.SOURCE}"' in inspect.getsource(download_pretrained_weights)


def test_facts_are_said_before_anything_is_downloaded(server: Server, crop: bytes, tmp_path: Path) -> None:
    run = fetch(tmp_path / "w")  # standard input is no terminal
    failed(run, "bad_usage", tmp_path / "w")
    for fact in (f"{server.address}/files/v2.0.0-weights/{TOTAL_6MM.folder}.zip", "Apache-2.0", " MB"):
        assert fact in run.stderr
    assert hashlib.sha256(crop).hexdigest() in run.stderr
    assert "--yes" in run.stderr
    assert {path for _, path in server.requested} == {"/tags/v2.0.0-weights"}


def test_show_asks_and_downloads_nothing(server: Server, crop: bytes) -> None:
    run = weights("show", "lobes_fastest", "--json")
    assert run.exit_code == 0, run.output
    (facts,) = json.loads(run.stdout)
    assert facts["size"] == len(crop)
    assert facts["sha256"] == hashlib.sha256(crop).hexdigest()
    assert {path for _, path in server.requested} == {"/tags/v2.0.0-weights"}


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_terminal_is_asked(
    answer: str, server: Server, crop: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.BytesIO):
        def isatty(self) -> bool:
            return True

    keys = Terminal(f"{answer}\n".encode())
    run = CliRunner().invoke(main, ["weights", "fetch", "lobes_fastest", "--folder", str(tmp_path / "w")], input=keys)
    assert "Download?" in run.stderr
    assert run.exit_code == 0, run.output
    assert (tmp_path / "w" / TOTAL_6MM.folder).exists() == (answer == "y")


def test_fetched_weights_pass_every_check(server: Server, crop: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    run = fetch(folder, "--yes")
    assert run.exit_code == 0, run.output
    check_weights(folder, [TOTAL_6MM])
    assert [p.name for p in folder.iterdir()] == [TOTAL_6MM.folder]
    assert not list(tmp_path.rglob("outside.txt"))
    record = read_record(default_record())
    assert record[f"v2.0.0-weights/{TOTAL_6MM.folder}.zip"] == hashlib.sha256(crop).hexdigest()
    assert weights("check", str(folder)).exit_code == 0
    before = len(server.requested)
    again = fetch(folder, "--yes")
    assert "nothing is missing" in again.stdout
    assert len(server.requested) == before


def test_without_a_published_hash_the_first_is_recorded(server: Server, crop: bytes, tmp_path: Path) -> None:
    server.offer(VESSELS_LEGACY, archive_of(tmp_path / "vessels", VESSELS_LEGACY))
    run = fetch(tmp_path / "w", "--yes", use="lung_vessels_LEGACY")
    assert run.exit_code == 0, run.output
    assert "not published; the one found is recorded" in run.stderr
    other = archive_of(tmp_path / "changed", VESSELS_LEGACY) + b"\0"  # still an archive
    server.answers["/tags/v2.0.0-weights"] = b'{"assets": []}'
    server.offer(VESSELS_LEGACY, other)
    server.offer(TOTAL_6MM, crop)
    message = failed(fetch(tmp_path / "x", "--yes", use="lung_vessels_LEGACY"), "checksum_mismatch", tmp_path / "none")
    assert str(default_record()) in message
    assert not (tmp_path / "x" / VESSELS_LEGACY.folder).exists()


def test_another_archive_than_published(server: Server, crop: bytes, tmp_path: Path) -> None:
    server.answers[f"/files/v2.0.0-weights/{TOTAL_6MM.folder}.zip"] = crop[:-1] + b"\1"
    failed(fetch(tmp_path / "w", "--yes"), "checksum_mismatch", tmp_path / "w")


@pytest.mark.parametrize("change", [-7, 7])
def test_another_size_than_announced(change: int, server: Server, crop: bytes, tmp_path: Path) -> None:
    server.answers[f"/files/v2.0.0-weights/{TOTAL_6MM.folder}.zip"] = crop[:change] if change < 0 else crop + b"x" * 7
    failed(fetch(tmp_path / "w", "--yes"), "size_mismatch", tmp_path / "w")


def test_a_broken_connection(server: Server, crop: bytes, tmp_path: Path) -> None:
    server.longer = 10
    failed(fetch(tmp_path / "w", "--yes", "--mirror", f"{server.address}/files"), "size_mismatch", tmp_path / "w")


@pytest.mark.parametrize("packed", [b"no archive", "another model"])
def test_something_else_in_the_archive(packed: bytes | str, server: Server, tmp_path: Path) -> None:
    content = packed if isinstance(packed, bytes) else archive_of(tmp_path / "other", VESSELS_LEGACY)
    server.offer(TOTAL_6MM, content)
    failed(fetch(tmp_path / "w", "--yes"), "bad_archive", tmp_path / "w")


def test_cut_checkpoint_in_the_archive(server: Server, tmp_path: Path) -> None:
    packed = io.BytesIO()
    folder = made_up_weights(tmp_path / "cut", [TOTAL_6MM])
    with zipfile.ZipFile(packed, "w") as archive:
        for name in TOTAL_6MM.files:
            content = (folder / name).read_bytes()
            archive.writestr(name.as_posix(), content[:20] if name.name == Path(CHECKPOINT).name else content)
    server.offer(TOTAL_6MM, packed.getvalue())
    failed(fetch(tmp_path / "w", "--yes"), "weights_truncated", tmp_path / "w")


def test_incomplete_weights_are_replaced(server: Server, crop: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    (folder / TOTAL_6MM.folder).mkdir(parents=True)
    assert fetch(folder, "--yes").exit_code == 0
    check_weights(folder, [TOTAL_6MM])


def test_a_mirror_is_asked_for_the_size(server: Server, crop: bytes, tmp_path: Path) -> None:
    run = fetch(tmp_path / "w", "--yes", "--mirror", f"{server.address}/files/")
    assert run.exit_code == 0, run.output
    assert [method for method, _ in server.requested] == ["HEAD", "GET"]


def test_servers_without_the_file(server: Server, tmp_path: Path) -> None:
    assert "404" in failed(fetch(tmp_path / "w", "--yes"), "not_offered", tmp_path)
    for facts in (b'{"assets": []}', b"[]", b"{", b'{"assets": [{}]}'):
        server.answers["/tags/v2.0.0-weights"] = facts
        failed(fetch(tmp_path / "w", "--yes"), "not_offered", tmp_path)
    failed(fetch(tmp_path / "w", "--yes", "--mirror", "http://127.0.0.1:1"), "server_unreachable", tmp_path)
    failed(fetch(tmp_path / "w", "--yes", "--mirror", "file:///etc"), "bad_value", tmp_path)


def test_never_in_a_job(server: Server, crop: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LCSD_BUILD", "4242")
    failed(fetch(tmp_path / "w", "--yes"), "bad_usage", tmp_path / "w")
    assert server.requested == []
