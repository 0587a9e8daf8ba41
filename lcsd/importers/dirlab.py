"""Import DIR-Lab's COPDgene and 4DCT cases: raw volumes and 300 landmarks each.

A volume is a bare array of int16, little-endian, x fastest. Its size, its voxels and the meaning of its values are on
the dataset's page and in the papers, not in the file.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.build.pairs import REQUIRED
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.importers.archives import add_once, check_complete
from lcsd.io.files import write_table
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.landmarks.checks import check_frame
from lcsd.landmarks.formats import Grids, read_landmarks
from lcsd.names import FirstSlice, Phase


class Geometry(NamedTuple):
    """Voxels along x, y, z, and their size in mm."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]


def _axial(pixels: int, slices: int, pixel_mm: float) -> Geometry:
    return Geometry((pixels, pixels, slices), (pixel_mm, pixel_mm, 2.5))


GEOMETRY: dict[str, Geometry] = {
    "copd1": _axial(512, 121, 0.625),
    "copd2": _axial(512, 102, 0.645),
    "copd3": _axial(512, 126, 0.652),
    "copd4": _axial(512, 126, 0.590),
    "copd5": _axial(512, 131, 0.647),
    "copd6": _axial(512, 119, 0.633),
    "copd7": _axial(512, 112, 0.625),
    "copd8": _axial(512, 115, 0.586),
    "copd9": _axial(512, 116, 0.664),
    "copd10": _axial(512, 135, 0.742),
    "4dct1": _axial(256, 94, 0.97),
    "4dct2": _axial(256, 112, 1.16),
    "4dct3": _axial(256, 104, 1.15),
    "4dct4": _axial(256, 99, 1.13),
    "4dct5": _axial(256, 106, 1.10),
    "4dct6": _axial(512, 128, 0.97),
    "4dct7": _axial(512, 136, 0.97),
    "4dct8": _axial(512, 128, 0.97),
    "4dct9": _axial(512, 128, 0.97),
    "4dct10": _axial(512, 120, 0.97),
}
"""From the dataset's pages (www.dir-lab.com, COPDgene and 4DCT reference data)."""

LANDMARKS = 300  # landmarks of each case

INTERCEPT_HU = -1024.0
"""Added to a stored value to get HU. It is not documented: programs that read the files use it, and
:func:`to_hu` checks it on every volume."""

OUTSIDE_RAW = -1500  # stored values up to this are outside the field of view (-2000 in COPDgene)

FLOOR_HU = -1024
BELOW_AIR_HU, BELOW_AIR_SHARE = -1100.0, 0.02  # only noise may be below this, since nothing is less dense than air
AIR_HU, AIR_SHARE = (-1100.0, -700.0), 0.02  # air and lung fill more of a chest scan than this share

_NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "image": (("copd", r"copd(\d+)_([ie])BHCT\.img"), ("4dct", r"case(\d+)_T(00|50)(?:_s|-ssm)?\.img")),
    "landmarks": (
        ("copd", r"copd(\d+)_300_([ie])BH_xyz_r1\.txt"),
        ("4dct", r"case(\d+)_(?:dirLab)?300_T(00|50)_xyz\.txt"),
    ),
}
_PHASES: dict[str, Phase] = {"i": "inhale", "e": "exhale", "00": "inhale", "50": "exhale"}


class Part(NamedTuple):
    """Role of a file: a case's image or landmarks in one phase."""

    case: str
    phase: Phase
    kind: str


def part_of(name: str) -> Part | None:
    """Return the role of a file by its name, or None if it is not needed."""
    for kind, patterns in _NAMES.items():
        for dataset, pattern in patterns:
            match = re.fullmatch(pattern, name, re.IGNORECASE)
            if match and f"{dataset}{int(match[1])}" in GEOMETRY:
                return Part(f"{dataset}{int(match[1])}", _PHASES[match[2].lower()], kind)
    return None


def find_cases(files: Iterable[Path], only: Sequence[str] = ()) -> dict[str, dict[tuple[Phase, str], Path]]:
    """Return the four files of each case, in the order of the dataset.

    ``only`` names the cases to take; empty takes all. Raises ``BadInputError`` if there is no case (``no_cases``), if
    a part has two files (``duplicate_file``), or if a case lacks one of its files (``incomplete_case``).
    """
    cases: dict[str, dict[tuple[Phase, str], Path]] = {name: {} for name in only}
    for file in files:
        part = part_of(file.name)
        if part is None or (only and part.case not in only):
            continue
        add_once(cases.setdefault(part.case, {}), (part.phase, part.kind), file)
    if not cases:
        raise BadInputError(
            "no DIR-Lab case found",
            code="no_cases",
            expected="copdN_iBHCT.img, copdN_300_iBH_xyz_r1.txt, caseN_T00_s.img, caseN_300_T00_xyz.txt, ...",
        )
    for case, held in cases.items():
        parts = product(("inhale", "exhale"), ("image", "landmarks"))
        missing = [" ".join(part) for part in parts if part not in held]
        check_complete(case, missing, "add them, or select cases with --cases")
    order = list(GEOMETRY)
    return {case: cases[case] for case in sorted(cases, key=order.index)}


def to_hu(raw: NDArray[np.int16], *, intercept: float, file: Path) -> NDArray[np.int16]:
    """Return stored values in HU, at least -1024 (the value outside the field of view).

    Raises ``BadInputError`` (``bad_intensity``) if, with this intercept, too few voxels are air or too many are
    below it.
    """
    inside = raw[raw > OUTSIDE_RAW] + np.float32(intercept)
    below = float((inside < BELOW_AIR_HU).mean()) if inside.size else 1.0
    air = float(((inside > AIR_HU[0]) & (inside < AIR_HU[1])).mean()) if inside.size else 0.0
    if below > BELOW_AIR_SHARE or air < AIR_SHARE:
        raise BadInputError(
            f"with the intercept {intercept:g}, this is not a chest scan in HU",
            code="bad_intensity",
            file=file,
            expected=f"air and lung between {AIR_HU[0]:g} and {AIR_HU[1]:g} HU, nothing below",
            found=f"{air:.1%} there, {below:.1%} below",
            remedy="give the correct --intercept (0 if the file is in HU)",
        )
    hu = np.rint(raw + np.float32(intercept))
    return np.clip(hu, FLOOR_HU, np.iinfo(np.int16).max).astype(np.int16)


def stored_grid(geometry: Geometry, first_slice: FirstSlice) -> Grid:
    """Return the grid of a file's voxels, LPS mm. Our origin is right, front, feet; the file starts at the head."""
    if first_slice == "feet":
        return Grid(geometry.size, geometry.spacing, (0.0, 0.0, 0.0))
    top = (geometry.size[2] - 1) * geometry.spacing[2]
    return Grid(geometry.size, geometry.spacing, (0.0, 0.0, top), (1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))


def read_volume(file: Path, geometry: Geometry, *, intercept: float, first_slice: FirstSlice) -> Image:
    """Return a raw volume in HU, slices from the feet up, axes along LPS.

    Raises ``BadInputError`` if the file has an unexpected size (``bad_size``) or unexpected values (``bad_intensity``).
    """
    expected = 2 * int(np.prod(geometry.size))
    found = file.stat().st_size
    if found != expected:
        raise BadInputError(
            "the volume does not have its published size",
            code="bad_size",
            file=file,
            expected=f"{expected} bytes ({' x '.join(map(str, geometry.size))} of int16)",
            found=f"{found} bytes",
            remedy="download it again",
        )
    raw = np.fromfile(file, dtype="<i2").reshape(geometry.size[::-1])
    hu = to_hu(raw, intercept=intercept, file=file)
    grid = Grid(geometry.size, geometry.spacing, (0.0, 0.0, 0.0))
    return Image(np.ascontiguousarray(hu[::-1] if first_slice == "head" else hu), grid)


@dataclass(frozen=True)
class DirLabOptions:
    """What the files do not document."""

    fixed: Phase = "inhale"  # phase of the fixed scan
    intercept: float = INTERCEPT_HU  # added to stored values to get HU
    first_slice: FirstSlice = "head"  # position of the file's first slice


def import_case(
    case: str, files: Mapping[tuple[Phase, str], Path], folder: Path, options: DirLabOptions
) -> dict[str, Any]:
    """Write a case to ``folder/cases/CASE``; return its row. Raises ``BadInputError`` for invalid files."""
    geometry = GEOMETRY[case]
    phases: dict[str, Phase] = {"fixed": options.fixed, "moving": "exhale" if options.fixed == "inhale" else "inhale"}
    target = folder / "cases" / case
    for role, phase in phases.items():
        volume = read_volume(
            files[phase, "image"], geometry, intercept=options.intercept, first_slice=options.first_slice
        )
        write_image(target / f"{role}.nii.gz", volume, dtype=np.int16)
    grid = stored_grid(geometry, options.first_slice)
    texts = [files[phase, "landmarks"] for phase in phases.values()]
    pairs = read_landmarks(texts, "dirlab", grids=Grids(grid, grid)).pairs
    for text, points in zip(texts, (pairs.fixed, pairs.moving), strict=True):
        check_frame(points, grid, which=text.name, file=text)
    write_point_pairs(target / "landmarks.csv", manual(pairs))
    apart = np.linalg.norm(pairs.moving - pairs.fixed, axis=1)
    row: dict[str, Any] = {
        "case": case,
        "patient_id": case,
        "role": "test",
        "landmarks": f"cases/{case}/landmarks.csv",
        "landmarks_frame": "native",
        "distance_mm": float(apart.mean()),
        "points": len(pairs),
    }
    for role, phase in phases.items():
        row |= {f"{role}_source": f"cases/{case}/{role}.nii.gz", f"{role}_time": phase}
    return row


def manual(pairs: PointPairs) -> PointPairs:
    """Return landmarks numbered from 1, as set by hand."""
    ids = tuple(str(n + 1) for n in range(len(pairs)))
    return PointPairs(pairs.fixed, pairs.moving, ids, origin=("manual",) * len(ids))


def import_dirlab(
    cases: Mapping[str, Mapping[tuple[Phase, str], Path]],
    folder: Path,
    options: DirLabOptions,
    *,
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda names: names,
) -> list[dict[str, Any]]:
    """Write all cases and their ``pairs.tsv`` into a folder; return a row per case.

    Rows have ``distance_mm``, the landmarks' mean distance before registration, and ``points``, their number.
    """
    rows = [import_case(case, cases[case], folder, options) for case in progress(list(cases))]
    columns = (*REQUIRED, "landmarks", "landmarks_frame")
    table = [{name: row[name] for name in columns} for row in rows]
    write_table(folder / "pairs.tsv", columns, table)
    return rows
