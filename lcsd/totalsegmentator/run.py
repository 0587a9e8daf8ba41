"""Run TotalSegmentator on scans: prepare a private job, watch it, and check its results."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lcsd
from lcsd.errors import BadInputError, LcsdError, WorkError
from lcsd.io.files import read_json, write_json
from lcsd.io.images import Image, read_image, write_image
from lcsd.numerics.device import Compute
from lcsd.settings.totalsegmentator import TotalSegmentatorSettings
from lcsd.totalsegmentator.failures import error_of, out_of_memory
from lcsd.totalsegmentator.hashes import check_hashes
from lcsd.totalsegmentator.models import INSTALL_KNOWN, PLANS, Task, check_meaning, package_versions
from lcsd.totalsegmentator.weights import HOME_VARIABLE, WEIGHTS_VARIABLE, check_weights, link_weights, weights_folder

WORKERS = 1  # threads that resample a scan, and processes that write a result: one each

HOME_CONFIG = {
    "totalseg_id": "totalseg_lcsd",
    "send_usage_stats": False,
    "prediction_counter": 0,
    "statistics_disclaimer_shown": True,
}
"""The package's config.json; without one, the package writes its own, which sends statistics."""

CHILD = (sys.executable, "-m", "lcsd.totalsegmentator.child")

FOREIGN_VARIABLES = re.compile(r"(TOTALSEG|nnUNet)_")  # variables of the user's other work, which must not affect a job

EMPTY_CROP = "Crop is empty"
CROPPED = re.compile(r"cropping from \([^)]*\) to \(([^)]*)\)")
"""What the package prints about the crop; it is not in the result."""

LOG_TAIL_LINES = 15

JOB_PREFIX = "lcsd_ts_"

POLL_S = 0.05  # interval between two looks for the result


@dataclass(frozen=True)
class Segmentation:
    """TotalSegmentator's result for one scan."""

    labels: Image  # label volume, uint8, on the scan's grid
    facts: dict[str, Any]  # versions, models with their hashes, and the crop, for the provenance
    seconds: float  # wall seconds of the run


def environment(job: Path, threads: int) -> dict[str, str]:
    """Return the environment of the process, which shares nothing with other jobs."""
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


class Session:
    """TotalSegmentator, made by :func:`session`; its process loads each model once, and starts anew after a failure."""

    def __init__(self, job: Path, task: Task, facts: Mapping[str, Any], *, limit_s: float) -> None:
        self._job, self._task, self._facts, self._limit_s = job, task, facts, limit_s
        self._device: str = facts["device"]
        self._threads: int = facts["threads"]
        self._process: subprocess.Popen[bytes] | None = None

    def segment(
        self, scan: Image, *, min_crop_mm: tuple[float, float, float], file: Path | None = None
    ) -> Segmentation:
        """Return the labels of a scan.

        ``scan`` is in HU, with any orientation; errors name ``file``. ``min_crop_mm`` is the smallest crop along
        the scan's x, y and z axes that can contain the lungs, mm. Raises ``BadInputError`` (``empty_crop``: no lung
        in the scan, ``flat_crop``, ``empty_result``, ``no_cuda``) or ``WorkError``: broken weights, an unexpected
        version of the package, out of memory or time, a result on another grid or with unknown labels.
        """
        start = time.monotonic()
        with tempfile.TemporaryDirectory(dir=self._job, ignore_cleanup_errors=True) as name:
            place = Path(name)
            write_image(place / "scan.nii.gz", scan, dtype=np.int16)
            try:
                facts, log = self._ask(place)
            except BaseException:
                self.end()
                raise
            crop = checked_crop(log, scan, min_crop_mm, file=file)
            labels = checked_labels(place / "labels.nii.gz", scan, self._task, file=file)
        facts |= {**self.known_facts, "crop_voxels": crop}
        return Segmentation(labels, facts, time.monotonic() - start)

    @property
    def known_facts(self) -> dict[str, Any]:
        """Facts for the provenance that are the same for every scan: options, versions, hashes."""
        weights = {"weights": self._facts["hashes"]}
        return {"options": self._facts["options"], **package_versions(), **weights}

    def _ask(self, place: Path) -> tuple[dict[str, Any], str]:
        """Request the segmentation of the scan in a folder; return facts, and the log of this scan.

        Raises the error that the process reported; ``out_of_memory`` if the system killed it; ``time_limit``;
        ``totalsegmentator_failed`` if it ended without a report.
        """
        if self._process is not None and self._process.poll() is not None:
            self.end()  # it ended after the last scan, not because of this one
        process = self._process or self._start()
        log = self._job / "log.txt"
        before = log.stat().st_size
        status = place / "status.json"
        names = {"input": "scan.nii.gz", "output": "labels.nii.gz", "status": status.name}
        request = json.dumps({key: str(place / name) for key, name in names.items()})
        assert process.stdin is not None  # noqa: S101 - it was started with a pipe
        with contextlib.suppress(BrokenPipeError):  # it has ended; its exit code is read below
            process.stdin.write(request.encode() + b"\n")
            process.stdin.flush()
        end = time.monotonic() + self._limit_s
        while process.poll() is None and not status.exists():
            if time.monotonic() > end:
                raise WorkError(
                    "TotalSegmentator did not finish in time",
                    code="time_limit",
                    expected=f"at most {self._limit_s:g} s (setting limit_s)",
                    remedy="raise the limit, or check whether the machine is busy",
                )
            time.sleep(POLL_S)
        with log.open("rb") as handle:
            handle.seek(before)
            text = handle.read().decode(errors="replace")
        said = read_json(status) if status.exists() else {}
        if "facts" in said:
            return said["facts"], text
        sys.stderr.write("\n".join([*text.splitlines()[-LOG_TAIL_LINES:], ""]))
        if "error" in said:
            raise error_of(said["error"])
        if process.returncode == -signal.SIGKILL:
            raise out_of_memory(self._device, "the system killed it")
        raise WorkError(
            "TotalSegmentator ended without a result",
            code="totalsegmentator_failed",
            found=f"exit code {process.returncode}",
            remedy="see the lines above",
        )

    def _start(self) -> subprocess.Popen[bytes]:
        with (self._job / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                [*CHILD, str(self._job / "job.json")],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._job,
                env=environment(self._job, self._threads),
                start_new_session=True,
            )
        return self._process

    def end(self) -> None:
        """End the process and its children, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.contextmanager
def session(task: Task, settings: TotalSegmentatorSettings, *, on: Compute) -> Iterator[Session]:
    """Yield TotalSegmentator in a separate process, after checking package and weights.

    Afterwards the process, its workers and its files are removed, also after an error. ``on`` is the device,
    and the CPU threads of torch. Raises ``WorkError`` if weights are missing, broken or changed, or if the
    package has an unexpected version.
    """
    check_meaning(task)
    folder = weights_folder(settings.weights)
    models = task.models(robust_crop=settings.robust_crop)
    check_weights(folder, models)
    on.progress("checking the weights")
    hashes = check_hashes(folder, models, settings.hashes)
    options = task.options(robust_crop=settings.robust_crop, resampling_order=settings.resampling_order)
    options |= {"nr_thr_resamp": WORKERS, "nr_thr_saving": WORKERS}
    numbers = [model.dataset for model in models]
    on.progress(f"{task.task} on {on.device} with datasets {', '.join(map(str, numbers))}")
    with tempfile.TemporaryDirectory(prefix=JOB_PREFIX, ignore_cleanup_errors=True) as name:
        job = Path(name)
        write_json(job / "home" / "config.json", HOME_CONFIG)
        link_weights(folder, models, job / "weights")
        content: dict[str, Any] = {
            "folder": str(job),
            "weights": str(job / "weights"),
            "models": numbers,
            "options": options,
            "device": on.device,
            "threads": on.threads,
        }
        write_json(job / "job.json", content)
        ready = Session(job, task, {**content, "hashes": hashes}, limit_s=settings.limit_s)
        try:
            yield ready
        finally:
            ready.end()


def checked_crop(log: str, scan: Image, min_mm: tuple[float, float, float], *, file: Path | None) -> list[int] | None:
    """Return the voxels of the crop along the scan's axes x, y, z.

    Raises ``BadInputError`` if the crop is empty or too small (the package continues in both cases; after an
    empty crop it writes zeros), ``WorkError`` if the package does not print the crop.
    """
    remedy = "check the units and the region of the scan, or try robust_crop: true"
    if EMPTY_CROP in log:
        raise BadInputError(
            "TotalSegmentator found no lung to crop to",
            code="empty_crop",
            file=file,
            expected="at least one lobe",
            found="none",
            remedy=remedy,
        )
    crops = CROPPED.findall(log)
    if not crops:
        raise WorkError(
            "TotalSegmentator did not print how it cropped the scan", code="unknown_version", remedy=INSTALL_KNOWN
        )
    size = [int(part) for part in crops[-1].split(",")]
    extent = np.multiply(size, scan.grid.spacing)
    whole = np.multiply(scan.grid.size, scan.grid.spacing)
    if (extent < np.minimum(min_mm, whole) - 1e-6).any():
        raise BadInputError(
            "TotalSegmentator cropped the scan to less than the lungs",
            code="flat_crop",
            file=file,
            expected=f"at least {_mm(np.minimum(min_mm, whole))}",
            found=_mm(extent),
            remedy=remedy,
        )
    return size


def _mm(extent: Any) -> str:
    return " x ".join(f"{v:.0f}" for v in extent) + " mm"


def checked_labels(path: Path, scan: Image, task: Task, *, file: Path | None) -> Image:
    """Return the checked label volume. Raises ``WorkError``, or ``BadInputError`` (``empty_result``) without labels."""
    try:
        found = read_image(path)
    except LcsdError as error:
        raise WorkError(
            f"TotalSegmentator's result cannot be read ({error.what})", code="no_result", remedy="see the log above"
        ) from error
    if not found.grid.same_as(scan.grid):
        raise WorkError(
            "TotalSegmentator's result is not on the scan's grid",
            code="result_elsewhere",
            file=file,
            expected=scan.grid,
            found=found.grid,
            remedy=INSTALL_KNOWN,
        )
    values = np.unique(found.array)
    foreign = [int(v) for v in values if v != 0 and int(v) not in task.labels]
    if foreign:
        raise WorkError(
            "TotalSegmentator's result has labels that do not belong to the task",
            code="unexpected_labels",
            file=file,
            expected=", ".join(f"{k} ({v})" for k, v in task.labels.items()),
            found=foreign,
            remedy=f"check the weights of dataset {task.model.dataset} ({PLANS})",
        )
    if not found.array.any():
        raise BadInputError(
            "TotalSegmentator segmented nothing",
            code="empty_result",
            file=file,
            expected=", ".join(task.labels.values()),
            found="0 voxels",
            remedy="check the units and the region of the scan",
        )
    return Image(found.array.astype(np.uint8), found.grid)
