"""Machines on which users of comparable tools could not start: containers without a home or a name."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from lcsd.cli.main import main
from lcsd.numerics import kernel_cache
from tests.unit.made_up_cases import make_build

ROOT = Path(__file__).resolve().parents[2]

NO_FOLDER = "/dev/null"
"""A home that nobody can write, not even root."""


@pytest.mark.slow
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """nipreps/fmriprep 1777 and PennLINC/aslprep 391: a cache below the home of a read-only image."""
    make_build(tmp_path)
    bare = {"HOME": NO_FOLDER, "PATH": os.defpath, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "TMPDIR": str(tmp_path)}
    command = [str(Path(sys.executable).parent / "lcsd"), "run", "--manifest", "pairs.tsv", "--dry-run"]
    run = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "This was a dry-run" in run.stdout + run.stderr


def test_a_cache_that_can_be_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel_cache.HOME_VARIABLE, str(tmp_path / "cache"))
    kernel_cache.prepare_user_cache()
    assert os.environ[kernel_cache.HOME_VARIABLE] == str(tmp_path / "cache")


@pytest.mark.parametrize("error", [KeyError, OSError])
def test_a_user_without_a_name(error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deep-MI/FastSurfer 286 and ComparativeGenomicsToolkit/cactus 677: a container's user is a number only."""

    def nameless() -> str:
        raise error("getpwuid(): uid not found: 4242")

    seen = []
    make_build(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(getpass, "getuser", nameless)
    monkeypatch.setattr(os, "execv", lambda *_: seen.append(os.environ.get("LOGNAME")))
    monkeypatch.setenv("LOGNAME", "")
    CliRunner().invoke(main, ["run", "--manifest", "pairs.tsv"])
    assert seen == [str(os.getuid())]
