"""Import PVT1010: lung vessel trees at inhale and exhale as VTK clouds; ten have DIR-Lab's landmarks.

Shen et al., *Accurate point cloud registration with robust optimal transport*, NeurIPS 2021. The points are in
millimetres in the space of the high-resolution scans, which are not part of the dataset. The first ten cases are
DIR-Lab's COPDgene cases, whose 300 landmarks are voxels of scans with every fourth slice.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.clouds.formats import read_cloud_file
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, flip_lps_ras
from lcsd.importers.archives import add_once
from lcsd.importers.cloud_table import write_cloud_pair
from lcsd.importers.dirlab import manual, part_of
from lcsd.io.points import Cloud, PointPairs
from lcsd.landmarks.formats import Given, Grids, read_landmarks
from lcsd.names import SCANS, CloudFrame, Phase
from lcsd.readings.numbering import outside_error

PHASES: dict[str, Phase] = {"INSP": "inhale", "EXP": "exhale"}
SLICE_MM, SLICES_APART = 0.625, 4
Z_BIAS = 2  # high-resolution slices from the start of a landmark's slice to its middle


MARGIN_MM = 20.0  # landmarks may lie this far outside the box around the vessels


class Scan(NamedTuple):
    """High-resolution scan: pixel size in mm, origin in LPS mm, number of slices."""

    pixel: float
    origin: tuple[float, float, float]
    slices: int


def _scans(pixel: float, inhale: tuple[Any, int], exhale: tuple[Any, int]) -> dict[Phase, Scan]:
    return {"inhale": Scan(pixel, *inhale), "exhale": Scan(pixel, *exhale)}


CT_SCANS: dict[int, dict[Phase, Scan]] = {
    1: _scans(0.625, ((-148.0, -145.0, -310.625), 482), ((-148.0, -145.0, -305.0), 473)),
    2: _scans(0.644531, ((-176.9, -165.0, -254.625), 406), ((-177.0, -165.0, -237.125), 378)),
    3: _scans(0.652344, ((-149.4, -167.0, -343.125), 502), ((-149.4, -167.0, -319.375), 464)),
    4: _scans(0.589844, ((-124.1, -151.0, -308.25), 501), ((-124.1, -151.0, -283.25), 461)),
    5: _scans(0.646484, ((-145.9, -175.9, -353.875), 522), ((-145.9, -175.9, -353.875), 522)),
    6: _scans(0.632812, ((-158.4, -162.0, -299.625), 474), ((-158.4, -162.0, -291.5), 461)),
    7: _scans(0.625, ((-150.7, -160.0, -301.375), 446), ((-151.0, -160.0, -284.25), 407)),
    8: _scans(0.585938, ((-142.3, -147.4, -313.625), 458), ((-142.3, -147.4, -294.625), 426)),
    9: _scans(0.664062, ((-156.1, -170.0, -310.25), 461), ((-156.1, -170.0, -259.625), 380)),
    10: _scans(0.742188, ((-189.0, -176.0, -355.0), 535), ((-189.0, -176.0, -346.25), 539)),
}
"""From the programs of the authors of PVT1010 (github.com/uncbiag/shapmagn) and of LCSD500
(github.com/mattiaspaul/ChasingClouds)."""


def landmark_grid(scan: Scan) -> Grid:
    """Return the grid whose voxel indices are the numbers of a DIR-Lab text, LPS mm.

    The authors' mapping: ``x = origin + spacing i``, the same for ``y``, and ``z = origin +
    0.625 (slices - 4 k + 2)``, since DIR-Lab counts every fourth slice from the head.
    """
    x, y, z = scan.origin
    return Grid(
        (512, 512, scan.slices // SLICES_APART),
        (scan.pixel, scan.pixel, SLICE_MM * SLICES_APART),
        (x, y, z + SLICE_MM * (scan.slices + Z_BIAS)),
        (1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0),
    )


def wanted(name: str) -> bool:
    """Return whether a file is a cloud of the dataset or a landmark text of DIR-Lab's COPDgene."""
    part = part_of(name)
    marks = part is not None and part.kind == "landmarks" and part.case.startswith("copd")
    return marks or _cloud_of(name) is not None


def _cloud_of(name: str) -> tuple[int, Phase] | None:
    match = re.fullmatch(r"copd_(\d{6})_(INSP|EXP)\.vtk", name)
    return None if match is None else (int(match[1]), PHASES[match[2]])


def find_pairs(files: Iterable[Path]) -> dict[int, dict[tuple[Phase, str], Path]]:
    """Return the clouds, and landmarks if any, of each pair by its number.

    Raises ``BadInputError`` if there is no pair (``no_cases``), if a cloud lacks the other phase
    (``incomplete_case``), or if a part has two files (``duplicate_file``).
    """
    found: dict[int, dict[tuple[Phase, str], Path]] = {}
    marks: dict[int, dict[tuple[Phase, str], Path]] = {}
    for file in files:
        cloud, part = _cloud_of(file.name), part_of(file.name)
        if cloud is not None:
            held, key = found.setdefault(cloud[0], {}), (cloud[1], "cloud")
        elif part is not None:
            number = int(part.case.removeprefix("copd"))
            held, key = marks.setdefault(number, {}), (part.phase, "landmarks")
        else:
            continue
        add_once(held, key, file)
    if not found:
        raise BadInputError(
            "no pair of clouds found", code="no_cases", expected="copd_000001_INSP.vtk and copd_000001_EXP.vtk, ..."
        )
    for number, held in found.items():
        if len(held) < 2:
            raise BadInputError(
                "a cloud of a pair is missing",
                code="incomplete_case",
                field=f"copd_{number:06d}",
                found=next(iter(held.values())).name,
            )
        held.update(marks.get(number, {}))
    return dict(sorted(found.items()))


def lone_texts(pairs: Mapping[int, Mapping[tuple[Phase, str], Path]]) -> list[Path]:
    """Return landmark texts without the text of the other phase."""
    texts = [[f for (_, kind), f in held.items() if kind == "landmarks"] for held in pairs.values()]
    return [found[0] for found in texts if len(found) == 1]


def import_pvt1010(
    pairs: Mapping[int, Mapping[tuple[Phase, str], Path]],
    folder: Path,
    *,
    fixed: Phase,
    frame: CloudFrame,
    progress: Callable[[Iterable[int]], Iterable[int]] = lambda numbers: numbers,
) -> list[dict[str, Any]]:
    """Write all pairs into a folder; return the rows of its table.

    Raises ``BadInputError`` if clouds or landmarks are invalid, or if landmarks are outside the clouds
    (``wrong_frame`` if the other frame of the clouds explains it, otherwise ``landmark_outside``).
    """
    phases: tuple[Phase, Phase] = (fixed, "exhale" if fixed == "inhale" else "inhale")
    rows = []
    for number in progress(list(pairs)):
        files = pairs[number]
        clouds = {
            name: Cloud(read_cloud_file(files[phase, "cloud"], frame=frame).cloud.points)
            for name, phase in zip(SCANS, phases, strict=True)
        }
        rows.append(
            write_cloud_pair(
                folder,
                f"copd_{number:06d}",
                clouds,
                role="test" if number in CT_SCANS else "train",
                times=phases,
                landmarks=_landmarks(number, files, phases, clouds),
            )
        )
    return rows


def _landmarks(
    number: int, files: Mapping[tuple[Phase, str], Path], phases: tuple[Phase, Phase], clouds: Mapping[str, Cloud]
) -> PointPairs | None:
    if number not in CT_SCANS or any((phase, "landmarks") not in files for phase in phases):
        return None
    grids = Grids(*(landmark_grid(CT_SCANS[number][phase]) for phase in phases))
    texts = [files[phase, "landmarks"] for phase in phases]
    found = read_landmarks(texts, "dirlab", grids=grids, given=Given(base=0)).pairs
    _check_near(found.fixed, clouds["fixed"], file=texts[0])
    _check_near(found.moving, clouds["moving"], file=texts[1])
    return manual(found)


def _check_near(points: NDArray[np.float64], cloud: Cloud, *, file: Path) -> None:
    """Raise ``BadInputError`` unless landmarks lie in the cloud's box, with a margin."""
    low, high = cloud.points.min(axis=0) - MARGIN_MM, cloud.points.max(axis=0) + MARGIN_MM

    def outside(of: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.flatnonzero(~((of >= low) & (of <= high)).all(axis=1))

    rows = outside(points)
    if not len(rows):
        return
    turned = not len(outside(flip_lps_ras(points)))
    raise outside_error(
        points,
        rows,
        (low, high),
        code="wrong_frame" if turned else "landmark_outside",
        which=file.name,
        field=f"point {rows[0] + 1}",
        file=file,
        remedy="all would lie inside with x and y of the cloud negated: give the other --frame"
        if turned
        else "check that clouds and landmarks belong to one case",
    )
