"""A real server: results are the bytes of the command line, jobs can be ended, and nothing is left."""

import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from tests.unit.serve.conftest import MEMORY_GIB, Server, breathing, pair, running, table, vessels

IDLE_MIB = 150
LONG = 60_000  # points whose registration lasts for seconds


@pytest.fixture(scope="module")
def done(server: Server) -> dict:
    """A finished job on files that were checked before."""
    checked = server.post("/api/checks", pair(1500))
    verdict = server.until(checked["id"])
    assert verdict["result"]["good"], verdict
    job = server.post("/api/jobs", {"like": checked["id"], "effort": "fast", "symmetric": "true"})
    seen = server.until(job["id"], "running", "done")
    assert seen["state"] == "running"
    steps = {round(server.job(job["id"])["progress"], 3) for _ in _while_running(server, job["id"])}
    return {"verdict": verdict["result"], "steps": steps, **server.until(job["id"])}


def _while_running(server: Server, name: str) -> Iterator[None]:
    while server.job(name)["state"] == "running":
        yield
        time.sleep(0.1)


def children(process: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def worker_of(server: Server) -> int:
    """The worker, once there is one; it is started by a thread, so by any of the server's."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        tasks = Path(f"/proc/{server.process.pid}/task").iterdir()
        found = [int(word) for task in tasks for word in (task / "children").read_text().split()]
        if found:
            return found[0]
        time.sleep(0.05)
    raise AssertionError("no worker")


def gone(process: int) -> bool:
    end = time.monotonic() + 30
    while Path(f"/proc/{process}").exists() and "Z" not in Path(f"/proc/{process}/stat").read_text().split()[2:3]:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.slow
def test_verdict_says_what_was_read(done: dict) -> None:
    facts = done["verdict"]["read"]["fixed"]
    assert (facts["points"], facts["frame"], facts["unit"], facts["format"]) == (1500, "lps", "mm", ".csv")
    assert np.allclose(facts["box_mm"], [vessels(3000)[::2].min(axis=0), vessels(3000)[::2].max(axis=0)], atol=0.06)
    assert done["verdict"]["landmarks"] == 31
    assert len(done["verdict"]["verdicts"]) == 5


@pytest.mark.slow
def test_progress_moves_and_the_result_is_right(done: dict) -> None:
    assert done["state"] == "done", done
    assert len(done["steps"]) > 3
    assert len(done["curve"]) > 3
    figures = done["result"]["landmarks"]
    assert figures["tre_before_mean_mm"] > 6
    assert figures["tre_mean_mm"] < 2
    assert done["result"]["warnings"] == []


@pytest.mark.slow
def test_files_are_the_bytes_of_the_shown_commands(done: dict, server: Server, tmp_path: Path) -> None:
    ours = {"fixed": "fixed.csv", "moving": "moving.csv", "landmarks": "landmarks.csv"}
    for part, (theirs, content) in pair(1500).items():
        assert done["result"]["renamed"][ours[part]] == theirs
        (tmp_path / ours[part]).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        for line in done["result"]["commands"]:
            program, *words = shlex.split(line)
            assert program == "lcsd"
            result = CliRunner().invoke(main, [*words, "--threads", "1"])
            assert result.exit_code == 0, result.output
    names = [file["name"] for file in done["result"]["files"]]
    assert names == [
        *("points.csv", "points.npz", "field.nii.gz", "inverse_field.nii.gz", "transform.h5", "registration.json"),
        *("evaluation.json", "landmark_errors.csv", "result.html"),
    ]
    for name in names[:-1]:
        answer, content = server.ask("GET", f"/api/jobs/{done['id']}/files/{name}")
        assert answer.status == 200
        assert answer.headers["Content-Disposition"] == f"attachment; filename={name}"
        made = tmp_path / "registration" / name
        assert content == made.read_bytes(), name


@pytest.mark.slow
def test_a_file_is_served_by_the_name_in_the_result_only(done: dict, server: Server) -> None:
    place = f"/api/jobs/{done['id']}/files/"
    for name in (
        "registration.json.provenance.json",
        "fixed.csv",
        "../result.html",
        "..%2fresult.html",
        "%2fetc%2fpasswd",
    ):
        answer = server.json("GET", place + name)
        assert answer["status"] == 404
        assert answer["code"] in {"unknown_file", "bad_request"}
    assert server.json("GET", f"/api/jobs/{'0' * 32}")["code"] == "unknown_job"


@pytest.mark.slow
def test_cancel_ends_the_process_and_erases_the_files(server: Server) -> None:
    job = server.post("/api/jobs", {**pair(LONG), "effort": "accurate"})["id"]
    server.until(job, "running")
    worker = worker_of(server)
    # The worker stands still meanwhile: on a busy machine it could be done before the next look.
    os.kill(worker, signal.SIGSTOP)
    other = server.post("/api/checks", {"sample": "patient-1"})["id"]
    assert server.job(other)["ahead"] == 1
    os.kill(worker, signal.SIGCONT)
    while server.job(job)["progress"] == 0:
        time.sleep(0.05)
    folder = next(Path(f"/proc/{worker}/cwd").resolve().parent.glob(job))
    assert server.json("DELETE", f"/api/jobs/{job}")["state"] == "cancelled"
    assert gone(worker)
    assert not folder.exists()
    assert server.job(job)["state"] == "cancelled"
    # The job that waited is done by a new worker; its sample is made there.
    assert server.until(other)["result"]["good"]


@pytest.mark.slow
def test_a_killed_worker_fails_its_job_and_no_other(server: Server) -> None:
    server.until(server.post("/api/checks", pair(100))["id"])
    job = server.post("/api/jobs", {**pair(LONG), "effort": "accurate"})["id"]
    server.until(job, "running")
    worker = worker_of(server)
    os.kill(worker, signal.SIGKILL)
    failed = server.until(job)
    assert (failed["state"], failed["error"]["code"]) == ("failed", "worker_died")
    assert server.check(pair(100))["result"]["good"]
    assert worker_of(server) != worker


@pytest.mark.slow
def test_a_large_cloud_is_read_in_bounded_memory(server: Server) -> None:
    points = np.tile(vessels(100_000), (43, 1)).astype(np.float32)
    contents = []
    for cloud in (points, breathing(points).astype(np.float32)):
        held = io.BytesIO()
        np.save(held, cloud)
        contents.append(held.getvalue())
    assert len(contents[0]) > 50e6
    verdict = server.check({"fixed": ("a.npy", contents[0]), "moving": ("b.npy", contents[1])})
    assert verdict["result"]["read"]["fixed"]["points"] == len(points), verdict
    high = Path(f"/proc/{worker_of(server)}/status").read_text().split("VmHWM:")[1].split()[0]
    assert int(high) < MEMORY_GIB << 20


@pytest.mark.slow
def test_an_idle_server_is_small(server: Server, record_property: Callable[[str, object], None]) -> None:
    server.ask("GET", "/")
    kib = int(Path(f"/proc/{server.process.pid}/status").read_text().split("VmRSS:")[1].split()[0])
    record_property("idle_mib", round(kib / 1024))
    assert kib / 1024 < IDLE_MIB


@pytest.mark.slow
def test_an_ended_server_leaves_nothing_and_a_killed_one_is_cleaned_up(tmp_path: Path) -> None:
    with running(temporary=tmp_path) as first:
        worker = worker_of(first)
        first.post("/api/checks", {"fixed": ("a.csv", table(vessels(100))), "moving": ("b.csv", b"x,y,z\n")})
        assert len(list(tmp_path.iterdir())) == 1
        first.process.kill()
        first.process.wait()
        assert gone(worker)
        assert len(list(tmp_path.iterdir())) == 1
    with running(temporary=tmp_path) as second:
        assert len(list(tmp_path.iterdir())) == 1
        assert "ended; all uploads and results are erased" in second.end()
        assert second.process.returncode == 0
    assert list(tmp_path.iterdir()) == []


ENDED_AT_ONCE = """
import os, signal
from lcsd.serve.offers import Limits
from lcsd.serve.serve import Address, serve
def say(text):
    print(text, flush=True)
    if "serving" in text:
        os.kill(os.getpid(), signal.SIGTERM)
serve(Address("127.0.0.1", 0), Limits(), say=say)
"""


@pytest.mark.slow
def test_a_signal_right_after_the_first_line_erases_all(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", ENDED_AT_ONCE], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, "ended" in done.stdout) == (0, True), done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_for_others_needs_its_token(tmp_path: Path) -> None:
    token = "only-for-this-test"  # noqa: S105
    with running("--host", "0.0.0.0", temporary=tmp_path, LCSD_SERVE_TOKEN=token) as server:  # noqa: S104
        assert f"?token={token}" in server.said
        assert server.ask("GET", "/")[0].status == 200
        for headers in ({}, {"Authorization": "Bearer other"}, {"Cookie": "lcsd_token=other"}):
            answer = server.json("GET", "/api", **headers)
            assert (answer["status"], answer["code"]) == (401, "no_token")
        assert server.json("GET", "/api", Authorization=f"Bearer {token}")["methods"]
        opened, _ = server.ask("GET", f"/?token={token}")
        assert (opened.status, opened.headers["Location"]) == (303, "/")
        assert "HttpOnly" in opened.headers["Set-Cookie"]
        assert "SameSite=Strict" in opened.headers["Set-Cookie"]
        assert server.json("GET", "/api", Cookie=opened.headers["Set-Cookie"].split(";")[0])["methods"]
        assert token not in server.end()


@pytest.mark.parametrize(
    ("options", "environment", "code"),
    [
        (["--port", "PORT"], {}, "port_in_use"),
        (["--host", "203.0.113.1"], {"LCSD_SERVE_TOKEN": "long-enough-a-token"}, "bad_address"),
        (["--host", "0.0.0.0"], {"LCSD_SERVE_TOKEN": "short"}, "short_token"),  # noqa: S104
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(
    options: list[str], environment: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = [str(taken.getsockname()[1]) if word == "PORT" else word for word in options]
        result = CliRunner().invoke(main, ["serve", *words])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert f"[{code}]" in result.stderr
