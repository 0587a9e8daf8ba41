"""Run TotalSegmentator on a scan: prepares a private job, watches it, verifies what it made."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lcsd
from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.files import read_json, write_json
from lcsd.images import Image, read_image, write_image
from lcsd.settings.totalsegmentator import TotalSegmentatorSettings
from lcsd.totalsegmentator.failures import error_of, out_of_memory
from lcsd.totalsegmentator.hashes import check_hashes
from lcsd.totalsegmentator.models import PLANS, Model, Task, check_meaning, package_versions
from lcsd.totalsegmentator.weights import (
    HOME_VARIABLE,
    WEIGHTS_VARIABLE,
    check_weights,
    link_weights,
    weights_folder,
)

WORKERS = 1
"""Processes that prepare a scan and that write a result; a job has one of each."""

HOME_CONFIG = {
    "totalseg_id": "totalseg_lcsd",
    "send_usage_stats": False,
    "prediction_counter": 0,
    "statistics_disclaimer_shown": True,
}
"""The package's config.json; without it the package makes one that sends usage statistics."""

CHILD = (sys.executable, "-m", "lcsd.totalsegmentator.child")

FOREIGN_VARIABLES = re.compile(r"(TOTALSEG|nnUNet)_")
"""Variables that a user has set for other work must not decide what a job does."""

EMPTY_CROP = "Crop is empty"
CROPPED = re.compile(r"cropping from \([^)]*\) to \(([^)]*)\)")
"""What the package prints about the crop; the result itself does not say it."""

LOG_TAIL_LINES = 15

JOB_PREFIX = "lcsd_ts_"

SOCKET_NAME = "pymp-01234567/listener-01234567"
LONGEST_SOCKET_PATH = 107
"""nnU-Net's workers talk through a socket in the job's folder; Linux takes no longer path."""


@dataclass(frozen=True)
class Segmentation:
    """What TotalSegmentator made of a scan.

    Parameters
    ----------
    labels
        Label volume, uint8, on the scan's grid.
    facts
        Versions, models with their hashes, and the crop, for the provenance.
    seconds
        Wall seconds of the run.
    """

    labels: Image
    facts: dict[str, Any]
    seconds: float


def segment(
    scan: Image,
    task: Task,
    settings: TotalSegmentatorSettings,
    *,
    least_crop_mm: tuple[float, float, float],
    device: str = "cpu",
    threads: int = 1,
    file: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Segmentation:
    """Return the labels of a scan by TotalSegmentator, in a process of its own.

    Parameters
    ----------
    scan
        CT in HU, any orientation.
    task
        One of :data:`lcsd.totalsegmentator.models.TASKS`.
    least_crop_mm
        A crop smaller than this along the scan's x, y or z axis is not a pair of lungs, mm.
    device
        ``cpu`` or ``cuda``; there is no silent change from one to the other.
    threads
        CPU threads of torch and of the workers.
    file
        Name of the scan in errors.
    progress
        Called with a line of text at each step.

    Raises
    ------
    BadInputError
        ``empty_crop`` (no lung in the scan), ``flat_crop``, ``empty_result``; ``no_cuda``.
    WorkError
        Weights that are missing, broken or changed; a package of another meaning; memory, time;
        a result on another grid or with labels that the task does not have.
    """
    tell = progress or (lambda _: None)
    check_meaning(task)
    folder = weights_folder(settings.weights)
    models = task.models(robust_crop=settings.robust_crop)
    check_weights(folder, models)
    tell("checking the weights")
    hashes = check_hashes(folder, models, settings.hashes)
    options = task.options(
        robust_crop=settings.robust_crop, resampling_order=settings.resampling_order
    )
    options |= {"nr_thr_resamp": WORKERS, "nr_thr_saving": WORKERS}
    tell(f"{task.task} on {device} with datasets {', '.join(str(m.dataset) for m in models)}")
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=JOB_PREFIX, ignore_cleanup_errors=True) as name:
        job = checked_folder(Path(name))
        write_image(job / "scan.nii.gz", scan, dtype=np.int16)
        prepare(job, folder, models, options, device=device, threads=threads)
        log = launch(job, device=device, threads=threads, limit_s=settings.limit_s)
        facts = read_json(job / "status.json")["facts"]
        crop = checked_crop(log, scan, least_crop_mm, file=file)
        labels = checked_labels(job / "labels.nii.gz", scan, task, file=file)
    facts |= {**package_versions(), "options": options, "crop_voxels": crop, "weights": hashes}
    return Segmentation(labels, facts, time.monotonic() - start)


def checked_folder(job: Path) -> Path:
    """Return the folder of a job; raise ``WorkError`` if the workers cannot talk there."""
    length = len(os.fsencode(job / SOCKET_NAME))
    if length > LONGEST_SOCKET_PATH:
        raise WorkError(
            "the path of the folder for temporary files is too long for sockets",
            code="tmpdir_too_long", file=job.parent, field="TMPDIR",
            expected=f"at most {LONGEST_SOCKET_PATH - length + len(str(job.parent))} characters",
            found=len(str(job.parent)), remedy="set TMPDIR to a shorter path",
        )  # fmt: skip
    return job


def prepare(
    job: Path,
    folder: Path,
    models: tuple[Model, ...],
    options: Mapping[str, Any],
    *,
    device: str,
    threads: int,
) -> None:
    """Write what the process needs: its home, links to the weights, and the job file."""
    write_json(job / "home" / "config.json", HOME_CONFIG)
    link_weights(folder, models, job / "weights")
    content = {
        "input": str(job / "scan.nii.gz"),
        "output": str(job / "labels.nii.gz"),
        "status": str(job / "status.json"),
        "weights": str(job / "weights"),
        "models": [m.dataset for m in models],
        "options": dict(options),
        "device": device,
        "threads": threads,
    }
    write_json(job / "job.json", content)


def environment(job: Path, threads: int) -> dict[str, str]:
    """Return the environment of the process: nothing of it is shared with another job."""
    kept = {k: v for k, v in os.environ.items() if not FOREIGN_VARIABLES.match(k)}
    path = [str(Path(lcsd.__file__).parents[1]), *kept.get("PYTHONPATH", "").split(os.pathsep)]
    return {
        **kept,
        HOME_VARIABLE: str(job / "home"),
        WEIGHTS_VARIABLE: str(job / "weights"),
        "nnUNet_def_n_proc": str(threads),
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TMPDIR": str(job),
        "PYTHONPATH": os.pathsep.join(part for part in path if part),
        "PYTHONUNBUFFERED": "1",
    }


@contextlib.contextmanager
def _started(job: Path, threads: int) -> Iterator[subprocess.Popen[bytes]]:
    """Yield the running process; whatever happens, it and its workers are gone afterwards."""
    with (job / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [*CHILD, str(job / "job.json")],
            stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
            cwd=job, env=environment(job, threads), start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def launch(job: Path, *, device: str, threads: int, limit_s: float) -> str:
    """Run the process of a prepared job; return its log.

    Raises
    ------
    LcsdError
        What the process reported; ``out_of_memory`` if the system killed it;
        ``time_limit``; ``totalsegmentator_failed`` if it ended without a word.
    """
    with _started(job, threads) as process:
        try:
            code = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired as error:
            raise WorkError(
                "TotalSegmentator did not end in time", code="time_limit",
                expected=f"at most {limit_s:g} s (setting limit_s)",
                remedy="raise the limit, or look whether the machine is busy",
            ) from error  # fmt: skip
    log = (job / "log.txt").read_text(encoding="utf-8", errors="replace")
    status = read_json(job / "status.json") if (job / "status.json").exists() else {}
    if "facts" in status:
        return log
    sys.stderr.write("\n".join([*log.splitlines()[-LOG_TAIL_LINES:], ""]))
    if "error" in status:
        raise error_of(status["error"])
    if code == -signal.SIGKILL:
        raise out_of_memory(device, "the system killed it")
    raise WorkError(
        "TotalSegmentator ended without a result", code="totalsegmentator_failed",
        found=f"exit code {code}", remedy="see the lines above",
    )  # fmt: skip


def checked_crop(
    log: str, scan: Image, least_mm: tuple[float, float, float], *, file: Path | None
) -> list[int] | None:
    """Return the voxels of the crop along the scan's axes x, y, z.

    Raises
    ------
    BadInputError
        If the crop is empty or flat. The package goes on in both cases, and in the first it
        writes zeros.
    WorkError
        If the package does not say what it did.
    """
    remedy = "check units and region of the scan, or try robust_crop: true"
    if EMPTY_CROP in log:
        raise BadInputError(
            "TotalSegmentator found no lung to crop to", code="empty_crop", file=file,
            expected="at least one lobe", found="none", remedy=remedy,
        )  # fmt: skip
    crops = CROPPED.findall(log)
    if not crops:
        raise WorkError(
            "TotalSegmentator did not say how it cropped the scan", code="unknown_version",
            remedy="install the version of constraints.txt",
        )  # fmt: skip
    size = [int(part) for part in crops[-1].split(",")]
    extent = np.multiply(size, scan.grid.spacing)
    whole = np.multiply(scan.grid.size, scan.grid.spacing)
    if (extent < np.minimum(least_mm, whole) - 1e-6).any():
        raise BadInputError(
            "TotalSegmentator cropped the scan to less than the lungs", code="flat_crop", file=file,
            expected=f"at least {_mm(np.minimum(least_mm, whole))}", found=_mm(extent),
            remedy=remedy,
        )  # fmt: skip
    return size


def _mm(extent: Any) -> str:
    return " x ".join(f"{v:.0f}" for v in extent) + " mm"


def checked_labels(path: Path, scan: Image, task: Task, *, file: Path | None) -> Image:
    """Return the label volume after checking its place and its labels.

    Raises
    ------
    WorkError
        ``no_result``, ``result_elsewhere`` (another grid or affine), ``unexpected_labels``.
    BadInputError
        ``empty_result`` if no voxel was segmented.
    """
    try:
        found = read_image(path)
    except LcsdError as error:
        raise WorkError(
            f"TotalSegmentator's result cannot be read ({error.what})", code="no_result",
            remedy="see the log above",
        ) from error  # fmt: skip
    if not found.grid.same_as(scan.grid):
        raise WorkError(
            "TotalSegmentator's result is not on the scan's grid", code="result_elsewhere",
            file=file, expected=scan.grid, found=found.grid,
            remedy="install the version of constraints.txt",
        )  # fmt: skip
    values = np.unique(found.array)
    foreign = [int(v) for v in values if v != 0 and int(v) not in task.labels]
    if foreign:
        raise WorkError(
            "TotalSegmentator's result has labels that the task does not have",
            code="unexpected_labels", file=file,
            expected=", ".join(f"{k} ({v})" for k, v in task.labels.items()), found=foreign,
            remedy=f"check the weights of dataset {task.model.dataset} ({PLANS})",
        )  # fmt: skip
    if not found.array.any():
        raise BadInputError(
            "TotalSegmentator segmented nothing", code="empty_result", file=file,
            expected=", ".join(task.labels.values()), found="0 voxels",
            remedy="look at the scan: its units, its region",
        )  # fmt: skip
    return Image(found.array.astype(np.uint8), found.grid)
