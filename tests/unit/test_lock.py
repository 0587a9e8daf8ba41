"""The list of hashes agrees with the pinned versions, and pip keeps to it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
APART = {"torch", "torchvision"}
"""Packages of which a machine may have its own build, with other bytes."""

LOCKED = re.findall(r"--python-version (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"))[0]
"""Python of the lock."""

ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>\S+)(?P<hashes>(?: --hash=\S+)+)$")
PROBE = "click"
"""A small package without dependencies, for a try of pip."""


def lock() -> list[str]:
    """Return the entries of the lock, each as one line."""
    return (ROOT / "requirements.lock").read_text().replace(" \\\n    ", " ").splitlines()


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_lock_and_constraints_agree() -> None:
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if "==" in line and not line.startswith("#"):
            wanted = Requirement(line)
            # The lock is for one Python; other lines are for others.
            if wanted.marker is None or wanted.marker.evaluate({"python_version": LOCKED}):
                pinned[plain(wanted.name)] = str(wanted.specifier).removeprefix("==")
    locked = {}
    for line in lock():
        entry = ENTRY.match(line)
        assert entry, line
        hashes = entry["hashes"].split()
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", text) for text in hashes), line
        locked[plain(entry["name"])] = entry["version"]
    assert pinned.keys() - locked.keys() == APART
    assert locked == {name: pinned[name] for name in locked}, "run: make lock"


def install(folder: Path, requirement: str) -> "subprocess.CompletedProcess[str]":
    (folder / "requirements.txt").write_text(requirement + "\n")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--require-hashes",
            "--retries",
            "0",
            "--timeout",
            "5",
            "--target",
            str(folder / "made"),
            "--requirement",
            str(folder / "requirements.txt"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_pip_installs_by_hash_and_refuses_other_bytes(tmp_path: Path) -> None:
    (entry,) = (line for line in lock() if line.startswith(f"{PROBE}=="))
    other = re.sub(r"sha256:\w{8}", "sha256:00000000", entry)
    good = install(tmp_path, entry)
    if good.returncode != 0 and "HASHES" not in good.stderr:
        pytest.skip("no package index can be reached")
    assert good.returncode == 0, good.stderr
    assert (tmp_path / "made" / PROBE).is_dir()
    bad = install(tmp_path, other)
    assert bad.returncode != 0
    assert "DO NOT MATCH THE HASHES" in bad.stderr
