"""A finished build that never ran: provenance files with chosen seconds."""

from pathlib import Path
from typing import Any

from lcsd.build.provenance import OWN_DIGEST, own_digest
from lcsd.estimate.measures import TWO_SCANS
from lcsd.io.files import write_json

STAGES = {
    "convert": 2.0,
    "lungs": 8.0,
    "prealign": 8.0,
    "vessels": 4.0,
    "gates": 2.0,
    "cloud": 2.5,
    "keypoints": 1.5,
    "correspond": 16.0,
    "register": 10.0,
}
FOLDERS = {
    "convert": "scans",
    "lungs": "lungs",
    "prealign": "images",
    "vessels": "vessels",
    "gates": "vessels",
    "cloud": "clouds",
    "keypoints": "clouds",
    "correspond": "correspondences",
    "register": "registration",
}
THREADS = {"correspond": 2, "register": 2}
START_S = 2


def record(path: Path, stage: str, **more: Any) -> None:
    """Write a provenance file."""
    content = {
        "stage": stage,
        "output": "a.nii.gz",
        "wall_s": STAGES.get(stage, 3.0),
        "peak_memory_gib": 0.5,
        "settings": {"threads": THREADS.get(stage, 1)},
        "date": "2026-11-22T00:00:00+00:00",
        **more,
    }
    write_json(path, content | {OWN_DIGEST: own_digest(content)})


def write_case(results: Path, case: str, *, factor: float = 1.0, landmarks: bool = False, **more: Any) -> Path:
    """Write the provenance of a whole case, all seconds times ``factor``, and return its folder."""
    folder = results / "cases" / case
    for stage, seconds in STAGES.items():
        found = {"wall_s": seconds * factor, "cpu_s": seconds * factor / 2, **more}
        if stage in TWO_SCANS:
            name = {"cloud": "_dense", "keypoints": "_keypoints"}.get(stage, "")
            for scan, end in (("fixed", 10.0), ("moving", 10.0 + START_S + seconds * factor)):
                date = f"2026-11-22T00:{int(end) // 60:02}:{end % 60:09.6f}+00:00"
                path = folder / FOLDERS[stage] / f"{scan}{name}.provenance.json"
                record(path, stage, **{"date": date, **found})
        else:
            record(folder / FOLDERS[stage] / f"{stage}.provenance.json", stage, **found)
    for method in ("corrfield", "divroc") if landmarks else ():
        found = {"wall_s": 3.0 * factor, "cpu_s": 1.5 * factor, **more}
        record(folder / "evaluation" / f"{method}.provenance.json", "evaluate", **found)
    (folder / "registration" / "field.nii.gz").write_bytes(b"0" * 1000)
    return folder
