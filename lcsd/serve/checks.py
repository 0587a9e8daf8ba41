"""What was read from an upload, and what the checks say about it, in words; before anything runs."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from lcsd.clouds.formats import CloudFile, read_cloud_file
from lcsd.divroc.checks import check_pair
from lcsd.errors import LcsdError
from lcsd.io.images import read_mask
from lcsd.landmarks.formats import read_stated
from lcsd.names import SCANS, CloudFrame, Unit
from lcsd.readings.overlap import check_overlap
from lcsd.serve.stages import Work
from lcsd.serve.volumes import convert_scan

NAMES = {"fixed": "baseline", "moving": "follow-up"}


def cloud_of(job: Mapping[str, Any], scan: str) -> CloudFile:
    """Return a cloud of a job; the follow-up has the frame and unit of the baseline if it has none of its own."""
    own = {key: job.get(key) for key in ("frame", "unit")}
    if scan == "moving":
        own = {key: job.get(f"moving_{key}") or value for key, value in own.items()}
    frame, unit = cast("CloudFrame | None", own["frame"]), cast("Unit | None", own["unit"])
    return read_cloud_file(Path(job["files"][scan]), frame=frame, unit=unit)


def _facts(source: CloudFile) -> dict[str, Any]:
    points = source.cloud.points
    labels = source.cloud.label
    return {
        "points": len(points),
        "box_mm": [[round(float(v), 1) for v in corner] for corner in (points.min(axis=0), points.max(axis=0))],
        "frame": source.frame,
        "unit": source.unit,
        "labels": [] if labels is None else sorted({int(label) for label in labels})[:20],
        "radius": source.cloud.radius is not None,
        "format": source.suffix,
    }


class _Verdicts:
    """What the checks say, one after the other."""

    def __init__(self) -> None:
        self.all: list[dict[str, Any]] = []

    def judge(self, about: str, good: str, check: Callable[[], object]) -> bool:
        """Add the verdict of a check, ``good`` in words, and return whether it is good."""
        problem: LcsdError | None = None
        try:
            check()
        except LcsdError as error:
            problem = error
        text = good if problem is None else problem.message
        error_parts = None if problem is None else problem.to_dict()
        self.all.append({"about": about, "good": problem is None, "text": text, "error": error_parts})
        return problem is None


def check_upload(job: Mapping[str, Any], work: Work) -> dict[str, Any]:
    """Return what the scans and the landmarks of a job hold, and a verdict on each, JSON-serialisable.

    A verdict has ``about``, ``good``, ``text`` and, unless it is good, ``error`` with the parts of the error.
    """
    verdicts = _Verdicts()
    read = _volumes(job, work, verdicts) if job.get("volumes") else _clouds(job, verdicts)
    given = [Path(job["files"][name]) for name in ("landmarks", "moving_landmarks") if name in job["files"]]
    pairs: list[int] = []
    if given:
        verdicts.judge("landmarks", "The landmarks can be read.", lambda: pairs.append(len(read_stated(given).pairs)))
    return {
        "read": read,
        "landmarks": pairs[0] if pairs else None,
        "verdicts": verdicts.all,
        "good": all(verdict["good"] for verdict in verdicts.all),
    }


def _clouds(job: Mapping[str, Any], verdicts: _Verdicts) -> dict[str, Any]:
    """Judge both clouds and return what was read."""
    read: dict[str, CloudFile] = {}

    def read_one(scan: str) -> None:
        read[scan] = cloud_of(job, scan)

    for scan in SCANS:
        verdicts.judge(scan, f"The {NAMES[scan]} can be read.", functools.partial(read_one, scan))
    if len(read) == len(SCANS):
        fixed, moving = (read[scan].cloud for scan in SCANS)
        text = "Both clouds have the size of a chest and lie in one frame."
        if verdicts.judge("pair", text, lambda: check_pair(fixed, moving)):
            moving_file = Path(job["files"]["moving"])
            verdicts.judge(
                "pair",
                "No other reading (RAS for LPS, exchanged columns) fits better.",
                lambda: check_overlap(fixed.points, moving.points, file=moving_file),
            )
    return {scan: _facts(source) for scan, source in read.items()}


def _volumes(job: Mapping[str, Any], work: Work, verdicts: _Verdicts) -> dict[str, Any]:
    """Judge both scans as ``lcsd convert`` does, and return what was read."""
    read: dict[str, Any] = {}

    def convert(scan: str) -> None:
        read[scan] = convert_scan(job, scan, work)

    for scan in SCANS:
        text = f"The {NAMES[scan]} is a chest CT in HU with even slices."
        verdicts.judge(scan, text, functools.partial(convert, scan))
        if f"{scan}_mask" in job["files"]:
            mask = Path(job["files"][f"{scan}_mask"])
            verdicts.judge(scan, f"The mask of the {NAMES[scan]} can be read.", functools.partial(read_mask, mask))
    return read
