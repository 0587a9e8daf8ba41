"""The call of linearBCV: arguments, matrix, one line for each failure, no leftovers."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.prealign.linear_bcv import find_program, run_linear_bcv
from tests.processes import LIMITS_S, gone
from tests.unit.prealign.standin import printing, write_program

GRID = Grid((6, 5, 4), (2.0, 2.0, 2.0), (10.0, -20.0, 30.0))
VOLUME = Image(np.arange(120, dtype=np.float32).reshape(GRID.shape) - 500.4, GRID)
MATRIX = "0.5  1  -2  0\n3  0.25  -1e-05  0\n-0  2  1  0\n+7.5  -40.25  4  1\n"
"""Format of the program: two blanks between numbers, the translation in the last line."""


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp dir"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run(program: Path, *, limit_s: float = 60, threads: int | None = None) -> np.ndarray:
    return run_linear_bcv(program, VOLUME, VOLUME, limit_s=limit_s, threads=threads)


def failure(program: Path, *, limit_s: float = 60) -> WorkError:
    with pytest.raises(WorkError) as caught:
        run(program, limit_s=limit_s)
    error = caught.value
    assert "\n" not in error.message
    assert error.file == str(program)
    assert error.remedy
    assert "blocks" in error.remedy
    return error


def test_matrix_is_transposed_back_and_nothing_is_left(tmp_path: Path, own_temporary_folder: Path) -> None:
    program = write_program(tmp_path / "linearBCV", printing(MATRIX))
    expected = [[0.5, 3, 0, 7.5], [1, 0.25, 2, -40.25], [-2, -1e-5, 1, 4], [0, 0, 0, 1]]
    assert run(program) == pytest.approx(np.array(expected), abs=1e-15)
    assert list(own_temporary_folder.iterdir()) == []


def test_images_are_the_voxels_in_the_files_order_of_axes(tmp_path: Path) -> None:
    body = (
        "data = np.asanyarray(fixed.dataobj)\n"
        "assert data.shape == (6, 5, 4) and data[1, 0, 0] - data[0, 0, 0] == 1\n"
        "assert data[0, 0, 1] - data[0, 0, 0] == 30 and data[0, 0, 0] == -500\n"
    )
    run(write_program(tmp_path / "linearBCV", body + printing(MATRIX)))


@pytest.mark.slow
def test_threads_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    for threads, seen in ((3, "3"), (None, "7")):
        body = f"assert os.environ['OMP_NUM_THREADS'] == '{seen}'\n"
        run(write_program(tmp_path / "linearBCV", body + printing(MATRIX)), threads=threads)


def test_program_is_found_on_the_path_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write_program(tmp_path / "linearBCV", "")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert find_program("linearBCV") == program
    assert find_program(str(program)) == program
    monkeypatch.chdir(tmp_path)
    assert find_program("./linearBCV") == program
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_program("~/linearBCV") == program


@pytest.mark.parametrize("kind", ["absent", "not_executable", "folder"])
def test_missing_program_says_setting_path_and_source(tmp_path: Path, kind: str) -> None:
    name = tmp_path / "linearBCV"
    if kind == "not_executable":
        name.write_text("x")
    if kind == "folder":
        name.mkdir()
    with pytest.raises(BadInputError) as caught:
        find_program(str(name))
    assert caught.value.code == "missing_program"
    message = caught.value.message
    for part in ("prealign.linear_bcv", "PATH", "mattiaspaul/deedsBCV", "MIT", str(name), "blocks"):
        assert part in message
    assert "\n" not in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("print('more'); sys.exit('first\\nIllegal thing \\n\\n')", "exit code 1: Illegal thing"),
        ("print('Inconsistent image sizes'); sys.exit(255)", "exit code 255: Inconsistent image"),
        ("sys.exit(3)", "exit code 3: it printed nothing"),
        ("os.kill(os.getpid(), 4)", "killed by SIGILL: it printed nothing"),
        ("sys.exit('x' * 9999)", "exit code 1: " + "x" * 200),
        ("sys.stderr.buffer.write(b'\\xff\\xfe'); sys.exit(1)", "exit code 1: \ufffd\ufffd"),
    ],
)
def test_failed_program(tmp_path: Path, body: str, found: str) -> None:
    error = failure(write_program(tmp_path / "linearBCV", body))
    assert error.code == "program_failed"
    assert error.found
    assert error.found.startswith(found)
    assert len(error.message) < 800


def test_file_that_is_no_program(tmp_path: Path) -> None:
    program = tmp_path / "linearBCV"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    assert failure(program).code == "program_failed"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code", "part"),
    [
        (None, "no_matrix", "wrote no matrix"),
        ("", "bad_matrix", "an empty file"),
        ("1 0 0 0\n0 1 0 0\n0 0 1 0\n", "bad_matrix", "3 lines of 4, 4, 4 words"),
        ("1 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "bad_matrix", "4 lines of 3, 4, 4, 4 words"),
        ("1 0 0 0\n0 1 0 0\n0 0 one 0\n0 0 0 1\n", "bad_matrix", "one"),
        ("1 0 0 7\n0 1 0 8\n0 0 1 9\n0 0 0 1\n", "bad_matrix", "7 8 9 1"),
        ("1 0 0 0\n0 -nan 0 0\n0 0 1 0\n0 inf 0 1\n", "non_finite", "2 bad values"),
    ],
)
def test_matrix_that_cannot_be_used(
    tmp_path: Path, own_temporary_folder: Path, text: str | None, code: str, part: str
) -> None:
    body = "" if text is None else printing(text)
    error = failure(write_program(tmp_path / "linearBCV", body))
    assert error.code == code
    assert part in error.message
    assert error.field == "result_matrix.txt"
    assert list(own_temporary_folder.iterdir()) == []


@pytest.mark.slow
def test_time_limit_ends_the_program_and_what_it_started(tmp_path: Path, own_temporary_folder: Path) -> None:
    program, pid = tmp_path / "linearBCV", tmp_path / "pid"
    program.write_text(f"#!/bin/sh\nsleep 600 &\necho $! > '{pid}.new'\nmv '{pid}.new' '{pid}'\nwait\n")
    program.chmod(0o755)
    for limit_s in LIMITS_S:
        error = failure(program, limit_s=limit_s)
        assert error.code == "time_limit"
        assert error.remedy
        assert "linear_bcv_limit_s" in error.remedy
        assert list(own_temporary_folder.iterdir()) == []
        if pid.exists():
            break
    assert gone(int(pid.read_text()))


@pytest.mark.slow
def test_an_interrupted_job_ends_the_program(tmp_path: Path, own_temporary_folder: Path) -> None:
    """A scheduler stops a job by SIGTERM; the command exits."""
    pid = tmp_path / "pid"
    program = write_program(
        tmp_path / "linearBCV", f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    code = (
        "import tempfile, numpy as np\n"
        "from pathlib import Path\n"
        "from lcsd.cli.failures import ended_by_signal\n"
        "from tests.unit.prealign.test_linear_bcv import VOLUME\n"
        "from lcsd.prealign.linear_bcv import run_linear_bcv\n"
        f"tempfile.tempdir = {str(own_temporary_folder)!r}\n"
        "with ended_by_signal():\n"
        f"    run_linear_bcv(Path({str(program)!r}), VOLUME, VOLUME, limit_s=60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", code])
    for _ in range(300):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=30) == 143
    assert list(own_temporary_folder.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
