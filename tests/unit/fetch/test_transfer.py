"""What s5cmd says, turned into errors; the lock; the guard of its process."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lcsd.fetch.plan import Entry
from lcsd.fetch.store import _taken, locked
from lcsd.fetch.transfer import GUARD, explain

ENTRY = Entry("1.2", "p", "CT", 3, 9, "bucket", "prefix")
GET = 'RequestError: send request failed caused by: Get \\"http://x/b?list-type=2\\": '


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("no object found", "missing_objects"),
        ("NoSuchKey: The specified key does not exist. status code: 404, request id: Bo, host id:", "missing_objects"),
        ("NotFound: Not Found status code: 404, request id: pB, host id:", "missing_objects"),
        # An address that is no S3 server, or another's bucket, says nothing about the series.
        ("SerializationError: failed to unmarshal error message status code: 404", "server_unreachable"),
        ("NoSuchBucket: The specified bucket does not exist status code: 404", "server_unreachable"),
        ("Forbidden: Forbidden status code: 403, request id: uJ, host id:", "access_denied"),
        (GET + "dial tcp 127.0.0.1:9: connect: connection refused", "server_unreachable"),
        (GET + "dial tcp: lookup nohost.invalid: no such host", "server_unreachable"),
        ("SlowDown: please status code: 503, request id: , host id: ", "server_unreachable"),
        ("write ./1.dcm: no space left on device", "disk_full"),
        ("open ./1.dcm: permission denied", "cannot_write"),
        ("unexpected EOF", "server_unreachable"),
    ],
)
def test_messages(said: str, code: str) -> None:
    lines = f'{{"operation":"cp","command":"cp a b","error":"{said}"}}\n'
    error = explain(lines, ENTRY)
    assert error.code == code
    assert "request id" not in error.message
    assert explain(lines + "ERROR something else\n", ENTRY).code == code


def test_no_message_and_the_gravest_of_several() -> None:
    assert explain("", ENTRY).code == "server_unreachable"
    assert "no message" in explain("", ENTRY).message
    both = '{"error":"no object found"}\n{"error":"x status code: 403"}\n'
    assert explain(both, ENTRY).code == "access_denied"


def test_program_behind_the_guard_ends_with_its_parent() -> None:
    code = (
        "import os, subprocess, sys, time;"
        f"p = subprocess.Popen([sys.executable, '-I', '-S', {str(GUARD)!r}, str(os.getpid()),"
        " '/bin/sleep', '60']); time.sleep(0.5); print(p.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = Path("/proc") / parent.stdout.readline().strip()
        assert "sleep" in (child / "cmdline").read_text()
        parent.kill()
    end = time.monotonic() + 10
    while child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
        assert time.monotonic() < end
        time.sleep(0.02)
    orphan = subprocess.run(
        [sys.executable, "-I", "-S", GUARD, "1", "/bin/echo", "never"], capture_output=True, text=True, check=False
    )
    assert orphan.stdout == ""


def test_lock_is_held_once_told_once_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    told: list[str] = []
    waits: list[float] = []

    def give_up(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise TimeoutError

    with locked(path, wait=time.sleep, waiting=lambda: told.append("never")):
        with pytest.raises(TimeoutError), locked(path, wait=give_up, waiting=lambda: told.append("once")):
            pytest.fail("held twice")
        assert path.exists()
    assert told == ["once"]
    assert not path.exists()
    path.write_text("left by a process that was killed")
    with locked(path, wait=give_up, waiting=lambda: told.append("never")):
        assert told == ["once"]


def test_lock_of_a_removed_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    handles = []
    for _ in range(2):
        path.unlink(missing_ok=True)
        handles.append(os.open(path, os.O_RDWR | os.O_CREAT))
    try:
        assert not _taken(handles[0], path)  # another process may hold the new file
        assert _taken(handles[1], path)
        path.unlink()
        assert not _taken(handles[1], path)
    finally:
        for handle in handles:
            os.close(handle)
