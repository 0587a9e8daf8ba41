"""CT volumes of a job: the commands that turn them into clouds of vessels."""

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.importers.archives import extract
from lcsd.io.images import read_image
from lcsd.names import SCANS
from lcsd.serve.offers import UNPACKED_GIB
from lcsd.serve.stages import Work
from lcsd.settings.imports import ImportSettings

ARCHIVE_FILES = 5000
"""Most files in an archive; a chest has up to 2000 slices."""

FIELD_MM = "3"
"""Spacing of the field over the common grid, as in a build."""


def scan_of(scan: str) -> str:
    """Return the path of a checked volume."""
    return f"scans/{scan}.nii.gz"


def convert_scan(job: Mapping[str, Any], scan: str, work: Work) -> dict[str, Any]:
    """Check a scan of the upload, write it as a volume in HU, and return what it holds.

    Raises ``LcsdError`` as ``lcsd convert``, and as :func:`lcsd.importers.archives.extract`.
    """
    source = Path(job["files"][scan])
    if source.suffix == ".zip":
        folder = Path(scan)
        shutil.rmtree(folder, ignore_errors=True)
        limits = ImportSettings(max_files=ARCHIVE_FILES, max_gib=UNPACKED_GIB)
        extract(source, folder, wanted=lambda _: True, limits=limits)
        source = folder
    work.run("convert", str(source), scan_of(scan))
    grid = read_image(Path(scan_of(scan))).grid
    ends = ([0.0, size - 1.0] for size in grid.size)
    corners = grid.voxel_to_world(np.array([*itertools.product(*ends)]))
    return {
        "voxels": list(grid.size),
        "spacing_mm": [round(float(step), 3) for step in grid.spacing],
        "box_mm": [[round(float(v), 1) for v in corner] for corner in (corners.min(axis=0), corners.max(axis=0))],
        "frame": "lps",
        "unit": "mm",
        "format": "." + job["files"][scan].partition(".")[2],
    }


def clouds_from_scans(job: Mapping[str, Any], work: Work) -> tuple[str, str]:
    """Run the stages from both scans to their clouds of vessels; return the paths of the clouds.

    Masks of the lungs in the upload replace their segmentation. Raises ``LcsdError`` as the commands do.
    """
    work.stage("checking the scans", 0.1)
    for scan in SCANS:
        convert_scan(job, scan, work)
    work.stage("finding the lungs", 0.2)
    for scan in SCANS:
        given = job["files"].get(f"{scan}_mask")
        work.run("lungs", scan_of(scan), f"lungs/{scan}.nii.gz", *(() if given is None else ("--given", given)))
    work.stage("aligning the scans", 0.35)
    masks = (word for scan in SCANS for word in (f"--{scan}-mask", f"lungs/{scan}.nii.gz"))
    work.run("prealign", *map(scan_of, SCANS), *masks, "--out-dir", "images")
    work.stage("finding the vessels", 0.5)
    for scan in SCANS:
        vessels = f"vessels/{scan}.nii.gz"
        work.run("vessels", f"images/{scan}.nii.gz", vessels, "--lungs", f"images/{scan}_mask.nii.gz")
        work.run("cloud", vessels, f"clouds/{scan}.npz")
    return "clouds/fixed.npz", "clouds/moving.npz"
