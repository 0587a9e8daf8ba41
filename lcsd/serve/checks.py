"""What was read from an upload, and what the checks say about it, in words; before anything runs."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from lcsd.clouds.formats import CloudFile, read_cloud_file
from lcsd.divroc.register import check_pair
from lcsd.errors import LcsdError
from lcsd.landmarks.formats import read_stated
from lcsd.names import SCANS, CloudFrame, Unit
from lcsd.readings.overlap import check_overlap

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


def check_clouds(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return what both clouds and the landmarks of a job hold, and a verdict on each, JSON-serialisable.

    A verdict has ``about``, ``good``, ``text`` and, unless it is good, ``error`` with the parts of the error.
    """
    verdicts: list[dict[str, Any]] = []
    read: dict[str, CloudFile] = {}

    def judge(about: str, good: str, check: Callable[[], Any]) -> None:
        try:
            check()
        except LcsdError as error:
            verdicts.append({"about": about, "good": False, "text": error.message, "error": error.to_dict()})
        else:
            verdicts.append({"about": about, "good": True, "text": good, "error": None})

    def read_one(scan: str) -> None:
        read[scan] = cloud_of(job, scan)

    for scan in SCANS:
        judge(scan, f"The {NAMES[scan]} can be read.", functools.partial(read_one, scan))
    if len(read) == len(SCANS):
        fixed, moving = (read[scan].cloud for scan in SCANS)
        judge("pair", "Both clouds have the size of a chest and lie in one frame.", lambda: check_pair(fixed, moving))
        if verdicts[-1]["good"]:
            moving_file = Path(job["files"]["moving"])
            judge(
                "pair",
                "No other reading (RAS for LPS, exchanged columns) fits better.",
                lambda: check_overlap(fixed.points, moving.points, file=moving_file),
            )
    given = [Path(job["files"][name]) for name in ("landmarks", "moving_landmarks") if name in job["files"]]
    pairs: list[int] = []
    if given:
        judge("landmarks", "The landmarks can be read.", lambda: pairs.append(len(read_stated(given).pairs.fixed)))
    return {
        "read": {scan: _facts(source) for scan, source in read.items()},
        "landmarks": pairs[0] if pairs else None,
        "verdicts": verdicts,
        "good": all(verdict["good"] for verdict in verdicts),
    }
