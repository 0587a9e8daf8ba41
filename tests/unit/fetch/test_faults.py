"""The network, the server, the disk and the process fail; afterwards the same command completes.

After every fault nothing has a final name, and what was whole is not downloaded again.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.s3 import BUCKET, series_prefix
from tests.unit.fetch.conftest import FILES, UIDS, Site

PATIENCE_S = 90.0


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def gets_once(site: Site, *ok: str) -> None:
    """Assert that no object that was whole has been downloaded twice."""
    assert {key: n for key, n in site.server.gets().items() if key in ok and n > 1} == {}


def whole(site: Site) -> list[str]:
    """Return the keys whose files in the download folder are the bucket's."""
    found = []
    for path in site.part().iterdir():
        key = f"{series_prefix(UIDS[0])}/{path.name}"
        if site.server.objects.get(f"{BUCKET}/{key}") == path.read_bytes():
            found.append(key)
    return found


def still_running(folder: Path) -> list[str]:
    """Return the programs that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == folder:
                found.append((process / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        ("deny", "access_denied", 1),
        ("fail", "server_unreachable", 1),
        ("absent", "missing_objects", 2),
        ("drop", "server_unreachable", 1),
        ("cut", "server_unreachable", 1),
    ],
)
def test_one_object_that_does_not_come(site: Site, fault: str, code: str, status: int) -> None:
    site.server.fault = lambda _, key: fault if key == site.key(4) else None
    result = site.run(UIDS[0])
    assert result.exit_code == status
    assert f"[{code}]" in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) < 10
    site.check_nothing_final()
    others = [site.key(number) for number in range(1, FILES + 1) if number != 4]
    assert sorted(whole(site)) == others
    site.server.fault = None
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    gets_once(site, *others)


@pytest.mark.slow
def test_a_fault_that_passes_is_outlived_in_one_run(site: Site) -> None:
    faults = {site.key(2): ["cut"] * 2, site.key(3): ["fail"] * 2, site.key(4): ["drop"] * 2}

    def fault(method: str, key: str) -> str | None:
        return faults[key].pop() if method == "GET" and faults.get(key) else None

    site.server.fault = fault
    result = site.run(UIDS[0], retries=3)
    assert result.exit_code == 0, result.output
    site.check_complete(UIDS[0])
    gets_once(site, site.key(1), site.key(5), site.key(6))


def test_the_bucket_denies_the_listing(site: Site) -> None:
    site.server.fault = lambda *_: "deny"
    started = time.monotonic()
    result = site.run(UIDS[0], retries=5, backoff_s=50)
    assert result.exit_code == 1
    assert "[access_denied]" in result.stderr
    assert time.monotonic() - started < 20  # another attempt would not help


@pytest.mark.slow
def test_nobody_answers(site: Site) -> None:
    site.server.stop()
    started = time.monotonic()
    result = site.run(*UIDS)
    assert result.exit_code == 1
    assert result.stderr.count("[server_unreachable]") == 4  # two attempts of each
    assert "connection refused" in result.stderr
    assert time.monotonic() - started < 30  # s5cmd alone would try for 50 s
    site.check_nothing_final()
    result = site.run(UIDS[0], endpoint_url="http://nobody.invalid")
    assert result.exit_code == 1
    assert "[server_unreachable]" in result.stderr


@pytest.mark.slow
def test_server_dies_halfway_and_comes_back(site: Site) -> None:
    served = threading.Semaphore(3)

    def fault(method: str, key: str) -> str | None:
        if method == "GET" and key and not served.acquire(blocking=False):
            site.server.dead.set()
            return "drop"
        return None

    site.server.fault = fault
    result = site.run(UIDS[0], workers=1)
    site.server.stop()
    assert result.exit_code == 1
    assert "[server_unreachable]" in result.stderr
    site.check_nothing_final()
    there = whole(site)
    assert 1 <= len(there) <= 3  # a reply may be under way as the server dies
    assert site.run(UIDS[0]).exit_code == 1
    site.server.fault = None
    site.server.start()
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    gets_once(site, *there)


@pytest.mark.slow
def test_a_silent_server_is_given_up(site: Site) -> None:
    site.server.fault = lambda method, key: "stall" if method == "GET" and key == site.key(4) else None
    started = time.monotonic()
    result = site.run(UIDS[0], stall_s=0.8)
    assert result.exit_code == 1
    assert "[server_stalled]" in result.stderr
    assert 1.6 < time.monotonic() - started < 20
    assert still_running(site.part()) == []
    site.check_nothing_final()
    site.server.fault = None
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    gets_once(site, *(site.key(n) for n in (1, 2, 3, 5, 6)))


def start_and_hold(site: Site, number: int) -> "subprocess.Popen[str]":
    """Start a fetch that stays in the middle of an object, with all before it done."""
    site.server.fault = lambda method, key: "stall" if method == "GET" and key == site.key(number) else None
    process = site.start(UIDS[0], workers=1)
    assert site.server.stalled.acquire(timeout=PATIENCE_S)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ended_halfway_then_resumed(site: Site, number: signal.Signals) -> None:
    process = start_and_hold(site, 4)
    try:
        assert still_running(site.part())
        process.send_signal(number)
        _, complaints = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 1}[number]
    assert "Traceback" not in complaints
    until(lambda: still_running(site.part()) == [])
    site.check_nothing_final()
    there = whole(site)
    assert there
    site.server.fault = None
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
    gets_once(site, *there)


@pytest.mark.slow
def test_two_processes_fetch_one_series(site: Site) -> None:
    first = start_and_hold(site, 4)
    second = site.start(UIDS[0], "--json")
    assert second.stderr is not None
    try:
        lines = [second.stderr.readline()]
        while "waiting for another process" not in lines[-1]:
            assert lines[-1], lines
            lines.append(second.stderr.readline())
        assert first.poll() is None
        site.server.fault = None
        site.server.release.set()
        results = [process.communicate(timeout=PATIENCE_S) for process in (first, second)]
    finally:
        first.kill()
        second.kill()
    assert (first.returncode, second.returncode) == (0, 0), results
    assert '"present": 1' in results[1][0]
    site.check_complete(UIDS[0])
    assert sum(site.server.gets().values()) <= FILES + 1  # the object that was held, once more


@pytest.mark.slow
def test_the_disk_fills_up_halfway(site: Site) -> None:
    """In a namespace of its own: a disk of 256 KiB, of which the check beforehand knows nothing."""
    site.out.mkdir()
    code = (
        "import shutil; from lcsd.fetch import plan; from lcsd.cli.main import main;"
        "plan.check_space = lambda *_: None;"
        "import lcsd.fetch.fetch as f; f.check_space = plan.check_space; main()"
    )
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
    probe = ["unshare", "-rm", "sh", "-c", mount, str(site.out)]
    if subprocess.run([*probe, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no right to mount a small disk here")
    done = subprocess.run(
        [*probe, sys.executable, "-c", code, *site.arguments(UIDS[0])],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": "/tmp"},  # noqa: S108
    )
    assert done.returncode == 1
    assert "[disk_full]" in done.stderr
    assert "Traceback" not in done.stderr
    assert site.run(UIDS[0]).exit_code == 0
    site.check_complete(UIDS[0])
