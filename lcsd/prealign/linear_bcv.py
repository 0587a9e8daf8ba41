"""The external program ``linearBCV`` of deedsBCV (MIT licence): find it, run it, read its matrix.

Call: ``linearBCV -F fixed.nii.gz -M moving.nii.gz -R 1 -O PREFIX``; it writes
``PREFIX_matrix.txt``. ``-R 1`` asks for a rigid fit; early versions accept the option but fit an affine transform.

Notes
-----
The conventions were read from the source code and confirmed by running the compiled program on images with a known
shift and rotation, also with flipped voxel axes:

* The file has four lines of four numbers, the transposed homogeneous matrix: line r holds the
  factors of the r-th *input* coordinate and the last line is the translation, so that a row
  vector is mapped by ``[i' j' k' 1] = [i j k 1] @ file``.
* Coordinates are voxel indices ``(i, j, k)`` from 0 in the file's order of axes (i runs fastest),
  hence x, y, z of :class:`lcsd.geometry.Grid`. The program's own ``y`` is i and its ``x`` is j,
  but the matrix is in the order i, j, k. Header, spacing, origin and orientation are ignored.
* The matrix maps *fixed* voxels to *moving* voxels: the program warps the moving image by reading
  it at the mapped place of each fixed voxel.
* Voxels are taken as HU and 1024 is added; blocks whose mean stays below 5 are background.

Sources: github.com/mattiaspaul/deedsBCV, ``linearBCV.cpp``, ``affineLTS1.h``, ``QRsolve.h``,
``applyBCV.cpp``.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError, WorkError
from lcsd.io.images import Image, write_image

SETTING = "prealign.linear_bcv"
LIMIT_SETTING = "prealign.linear_bcv_limit_s"

FALLBACK = "or set prealign.method to blocks, which needs no program"

LAST_COLUMN = (0.0, 0.0, 0.0, 1.0)
"""Last column of a transposed homogeneous matrix; otherwise the translation is here."""

LAST_COLUMN_TOLERANCE = 1e-3
"""The program computes in float32 and prints six digits."""

TAIL_BYTES = 4096
"""Bytes read from the end of the output of the program, to find its last line."""

MESSAGE_CHARACTERS = 200
"""Part of the last line of the program that an error repeats."""

SHOWN_LINES = 8
"""Number of lines of a malformed file whose lengths an error lists."""


def find_program(name: str) -> Path:
    """Return the absolute path of a program, or raise ``BadInputError`` (``missing_program``)."""
    found = shutil.which(Path(name).expanduser())
    if found is None:
        raise BadInputError(
            "the program linearBCV of deedsBCV was not found",
            code="missing_program",
            field=SETTING,
            expected="its name on the PATH, or a path",
            found=name,
            remedy="compile it from github.com/mattiaspaul/deedsBCV (MIT licence) and put it on the PATH "
            f"or set its path, {FALLBACK}",
        )
    return Path(found).absolute()


def run_linear_bcv(
    program: Path, fixed: Image, moving: Image, *, limit_s: float, threads: int | None = None
) -> NDArray[np.float64]:
    """Return the matrix of the program (4, 4), float64; its linear part may not be a rotation.

    It maps ``(i, j, k, 1)`` of the fixed image to voxel indices of the moving image, axes x, y, z. Both are HU, (z, y,
    x), on one grid; the program ignores the header. ``threads`` sets OMP_NUM_THREADS; None: as the environment says.

    Raises ``WorkError`` if the program cannot start or fails (``program_failed``), or takes longer than ``limit_s``
    (``time_limit``); for its file, as :func:`read_matrix`.
    """
    with tempfile.TemporaryDirectory(prefix="lcsd-linear-bcv-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        files = folder / "fixed.nii.gz", folder / "moving.nii.gz"
        for path, image in zip(files, (fixed, moving), strict=True):
            write_image(path, image, dtype=np.int16)
        prefix = folder / "result"
        command = [str(program), "-F", str(files[0]), "-M", str(files[1]), "-R", "1", "-O", str(prefix)]
        _run(command, folder=folder, limit_s=limit_s, threads=threads)
        return read_matrix(folder / f"{prefix.name}_matrix.txt", program=program)


def _run(command: list[str], *, folder: Path, limit_s: float, threads: int | None) -> None:
    """Run the program in ``folder``; raise ``WorkError`` if it fails."""
    # Threads that spin while they wait would slow down other jobs on the same cores.
    variables = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    if threads is not None:
        variables["OMP_NUM_THREADS"] = str(threads)
    with (folder / "stdout").open("w+b") as out, (folder / "stderr").open("w+b") as err:
        try:
            # In a new session, so that a wrapper script and its children can be killed together.
            process = subprocess.Popen(
                command,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=variables,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkError(
                "the program cannot start",
                code="program_failed",
                file=command[0],
                found=error.strerror,
                remedy=f"check the setting {SETTING}, {FALLBACK}",
            ) from error
        try:
            code = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise WorkError(
                "the program took too long",
                code="time_limit",
                file=command[0],
                expected=f"at most {limit_s:g} s",
                remedy=f"raise {LIMIT_SETTING} or give the job more threads, {FALLBACK}",
            ) from error
        finally:
            _end(process)
        if code != 0:
            # linearBCV reports errors on standard output.
            reported = _last_line(err) or _last_line(out) or "it printed nothing"
            how = f"exit code {code}" if code > 0 else f"killed by {_signal_name(-code)}"
            raise WorkError(
                "the program failed",
                code="program_failed",
                file=command[0],
                expected="exit code 0",
                found=f"{how}: {reported}",
                remedy=f"run it yourself on two images, {FALLBACK}",
            )


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the program and its children if it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _last_line(stream: IO[bytes]) -> str:
    """Return the last line that is not blank, shortened, or an empty text."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(size - TAIL_BYTES, 0))
    lines = stream.read().decode("utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:MESSAGE_CHARACTERS]


def read_matrix(path: Path, *, program: Path) -> NDArray[np.float64]:
    """Return the matrix (4, 4) in ``PREFIX_matrix.txt``, transposed so that it maps column vectors of voxels.

    Errors name ``program``, because the folder of the file is temporary. Raises ``WorkError`` if there is no file
    (``no_matrix``), the matrix is malformed (``bad_matrix``), or values are NaN or infinite (``non_finite``).
    """
    remedy = f"check that {SETTING} is linearBCV of deedsBCV, {FALLBACK}"
    where: dict[str, Any] = {"file": program, "field": path.name, "remedy": remedy}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise WorkError("the program succeeded but wrote no matrix", code="no_matrix", **where) from error
    written = _four_by_four(text, where)
    if not np.isfinite(written).all():
        raise WorkError(
            "the matrix of the program has NaN or infinite values",
            code="non_finite",
            expected="finite values",
            found=f"{int((~np.isfinite(written)).sum())} bad values",
            **where,
        )
    if np.abs(written[:, 3] - LAST_COLUMN).max() > LAST_COLUMN_TOLERANCE:
        expected = "0 0 0 1 in the last column, the translation in the last line"
        raise _malformed(expected, " ".join(f"{value:g}" for value in written[:, 3]), where)
    return np.asarray(written.T)


def _four_by_four(text: str, where: dict[str, Any]) -> NDArray[np.float64]:
    """Return four lines of four numbers as an array, or raise ``WorkError``."""
    rows = [line.split() for line in text.splitlines() if line.strip()]
    counts = ", ".join(str(len(row)) for row in rows[:SHOWN_LINES])
    found = f"{len(rows)} lines of {counts} words" if rows else "an empty file"
    if [len(row) for row in rows] == [4] * 4:
        try:
            return np.array([[float(value) for value in row] for row in rows])
        except ValueError as error:
            found = str(error)[:MESSAGE_CHARACTERS]
    raise _malformed("four lines of four numbers", found, where)


def _malformed(expected: str, found: str, where: dict[str, Any]) -> WorkError:
    text = "the matrix of the program is malformed"
    return WorkError(text, code="bad_matrix", expected=expected, found=found, **where)
