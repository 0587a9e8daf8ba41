"""Import Lung250M-4B: inhale and exhale scans, vessel clouds, keypoints of corrfield and landmarks by experts.

Falta et al., *Lung250M-4B: a combined 3D dataset for CT- and point cloud-based intra-patient lung registration*,
NeurIPS 2023. All positions are voxels of 1 mm of each case's own images, from 0. Parts of the dataset have no images.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np

from lcsd.build.pairs import REQUIRED, Role
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.importers.archives import add_once, check_complete
from lcsd.importers.cloud_table import write_cloud_pair
from lcsd.importers.dirlab import manual
from lcsd.importers.torch_files import numbers_of, read_torch
from lcsd.io.files import write_table
from lcsd.io.images import read_image
from lcsd.io.points import Cloud, PointPairs, write_point_pairs
from lcsd.landmarks.checks import check_frame
from lcsd.landmarks.formats import Grids, read_landmarks
from lcsd.names import SCANS, CloudKind

CLOUD_KINDS: tuple[CloudKind, ...] = get_args(CloudKind)
"""The three clouds of a file, in its order."""

SCAN_OF = {"1": "fixed", "2": "moving"}
"""Inhale is number 1 and fixed, as in the dataset's own programs."""

TEST_FOLDERS = "Ts"
PAIRED = ("image", "mask", "vessels", "cloud", "labels")
"""Kinds of which a case has a file for each scan, or none."""

KINDS = {"images": "image", "masks": "mask", "seg": "vessels", "coordinates": "cloud", "artery_vein": "labels"}
"""Kinds of files by the name of their folder, without Tr or Ts."""

SPACING_MM, SPACING_TOLERANCE = 1.0, 0.01
COLUMNS = (*REQUIRED, "landmarks", "landmarks_frame", *(f"{s}_{k}" for k in ("mask", "vessels") for s in SCANS))

_SCAN = re.compile(r"(?:case_)?(\d{3})_([12])\.(?:nii\.gz|pth)")
_TABLE = re.compile(r"case_(\d{3})\.csv")
_LANDMARKS = re.compile(r"lms_\w+\.pth")


class Part(NamedTuple):
    """Role of a file of a case; ``scan`` is empty for keypoints."""

    kind: str
    scan: str


@dataclass(frozen=True)
class Files:
    """Files of the dataset."""

    cases: Mapping[str, Mapping[Part, Path]]  # by number, as in the file names
    test: frozenset[str]  # numbers of the cases in folders of the test part
    landmarks: Path | None


def wanted(name: str) -> bool:
    """Return whether a file may belong to the dataset, by its name without folders."""
    return any(pattern.fullmatch(name) for pattern in (_SCAN, _TABLE, _LANDMARKS))


def find_files(files: Iterable[Path], only: Sequence[str] = ()) -> Files:
    """Return the files of all cases, or of the numbers ``only``.

    Folders tell the kinds of files: ``imagesTr``, ``masksTs``, ``segTr``, ``cloudsTs/coordinates``, and so on. Raises
    ``BadInputError`` if there is no case (``no_cases``), two files are for one part (``duplicate_file``), or a case
    lacks a file (``incomplete_case``): the other scan of a kind, the coordinates of labels, or images and clouds both.
    """
    cases: dict[str, dict[Part, Path]] = {name: {} for name in only}
    test: set[str] = set()
    landmarks: dict[str, Path] = {}
    for file in files:
        folder = file.parent.name
        if _LANDMARKS.fullmatch(file.name):
            add_once(landmarks, "landmarks", file)
            continue
        table, scan = _TABLE.fullmatch(file.name), _SCAN.fullmatch(file.name)
        kind = KINDS.get(folder.removesuffix("Tr").removesuffix("Ts"))
        found = table if table and folder.startswith("corrfield") else scan if kind else None
        if found is None or (only and found[1] not in only):
            continue
        part = Part("keypoints", "") if found is table else Part(str(kind), SCAN_OF[found[2]])
        add_once(cases.setdefault(found[1], {}), part, file)
        if folder.endswith(TEST_FOLDERS) or file.parent.parent.name.endswith(TEST_FOLDERS):
            test.add(found[1])
    if not cases:
        raise BadInputError(
            "no case of Lung250M-4B found",
            code="no_cases",
            expected="imagesTr/case_001_1.nii.gz, masksTr/..., cloudsTr/coordinates/case_001_1.pth, ...",
        )
    for number, held in cases.items():
        check_complete(f"case_{number}", _missing(held), "add them, or select cases with --cases")
    return Files(dict(sorted(cases.items())), frozenset(test), landmarks.get("landmarks"))


def _missing(held: Mapping[Part, Path]) -> list[str]:
    """Return the names of the files that a case lacks."""
    kinds = {part.kind for part in held}
    if "labels" in kinds:
        kinds.add("cloud")
    if not kinds & {"image", "cloud"}:
        return ["images", "clouds"]
    return [f"{scan} {kind}" for kind in PAIRED if kind in kinds for scan in SCANS if Part(kind, scan) not in held]


def import_lung250m(
    found: Files,
    folder: Path,
    *,
    cloud: CloudKind = "skeleton",
    progress: Callable[[Iterable[str]], Iterable[str]] = lambda numbers: numbers,
) -> list[dict[str, Any]]:
    """Write all cases into a folder; return a row per case.

    Cases with images get a row of ``pairs.tsv`` there. Rows have the columns of both tables that apply, and
    ``spacing`` of the images (None without any), ``points`` (number of landmarks) and ``distance_mm`` (their mean
    distance). Raises ``BadInputError`` for invalid files, and landmarks outside the images (``landmark_outside``,
    ``wrong_frame``).
    """
    landmarks = {} if found.landmarks is None else _read_landmarks(found.landmarks)
    rows = []
    for number in progress(list(found.cases)):
        role: Role = "test" if number in found.test else "train"
        rows.append(_write_case(number, found.cases[number], folder, role, cloud, landmarks.get(int(number))))
    pairs = [{name: row.get(name, "") for name in COLUMNS} for row in rows if "fixed_source" in row]
    if pairs:
        write_table(folder / "pairs.tsv", COLUMNS, pairs)
    return rows


def _read_landmarks(file: Path) -> dict[int, PointPairs]:
    """Return the landmarks by case, in voxels."""
    expected = "a dictionary with a tensor Nx6 (fixed, then moving voxels) for each case number"
    content = read_torch(file, expected)
    if not isinstance(content, dict) or not all(str(key).isdecimal() for key in content):
        raise BadInputError(
            "not landmarks of Lung250M-4B",
            code="bad_torch_file",
            file=file,
            expected=expected,
            found=type(content).__name__,
        )
    tables = {int(str(key)): numbers_of(part, 6, file, expected) for key, part in content.items()}
    return {number: PointPairs(table[:, :3], table[:, 3:]) for number, table in tables.items()}


def _write_case(
    number: str, files: Mapping[Part, Path], folder: Path, role: Role, kind: CloudKind, landmarks: PointPairs | None
) -> dict[str, Any]:
    """Write a case to ``folder/cases/case_NUMBER``; return its row."""
    case = f"case_{number}"
    place = folder / "cases" / case
    place.mkdir(parents=True)
    grids = _grids(files)
    row: dict[str, Any] = {"case": case, "patient_id": case, "role": role, "spacing": None}
    row |= {"fixed_time": "inhale", "moving_time": "exhale"}
    if grids is not None:
        row["spacing"] = grids.fixed.spacing
    names = {"image": "source", "mask": "mask", "vessels": "vessels"}
    for part, file in files.items():
        if part.kind in names:
            name = part.scan if part.kind == "image" else f"{part.scan}_{part.kind}"
            shutil.copyfile(file, place / f"{name}.nii.gz")
            row[f"{part.scan}_{names[part.kind]}"] = f"cases/{case}/{name}.nii.gz"
    space = grids or ScanGrids(*2 * (Grid((2, 2, 2), (SPACING_MM,) * 3, (0.0, 0.0, 0.0)),))
    tables = {} if landmarks is None else {"landmarks": _in_space(landmarks, space, checked=grids is not None, of=case)}
    if Part("keypoints", "") in files:
        file = files[Part("keypoints", "")]
        tables["correspondences"] = read_landmarks([file], "lung250m", grids=Grids(*space)).pairs
    for name, pairs in tables.items():
        write_point_pairs(place / f"{name}.csv", pairs)
        row[name] = f"cases/{case}/{name}.csv"
    if landmarks is not None:
        apart = np.linalg.norm(tables["landmarks"].moving - tables["landmarks"].fixed, axis=1)
        row |= {"landmarks_frame": "native", "points": len(landmarks), "distance_mm": float(apart.mean())}
    if Part("cloud", "fixed") in files:
        clouds = {scan: _read_cloud(files, scan, kind, grid) for scan, grid in zip(SCANS, space, strict=True)}
        row |= write_cloud_pair(folder, case, clouds, role=role, times=("inhale", "exhale"))
    return row


class ScanGrids(NamedTuple):
    """Grids of both scans."""

    fixed: Grid
    moving: Grid


def _grids(files: Mapping[Part, Path]) -> ScanGrids | None:
    """Return the grids of images, masks or vessel maps; None if a case has none of them."""
    kind = next((kind for kind in ("image", "mask", "vessels") if Part(kind, "fixed") in files), None)
    return None if kind is None else ScanGrids(*(read_image(files[Part(kind, scan)]).grid for scan in SCANS))


def _in_space(voxels: PointPairs, space: ScanGrids, *, checked: bool, of: str) -> PointPairs:
    """Return landmarks in LPS mm, as set by hand; those outside a scan are refused if its size is known."""
    found = manual(PointPairs(space.fixed.voxel_to_world(voxels.fixed), space.moving.voxel_to_world(voxels.moving)))
    if checked:
        for scan, points, grid in zip(SCANS, (found.fixed, found.moving), space, strict=True):
            check_frame(points, grid, which=f"{of}, {scan}", file=None)
    return found


def _read_cloud(files: Mapping[Part, Path], scan: str, kind: CloudKind, grid: Grid) -> Cloud:
    """Return one of the three clouds of a scan in LPS mm, with its labels (1, 2: artery and vein) if there are any."""
    place = CLOUD_KINDS.index(kind)
    file = files[Part("cloud", scan)]
    voxels = numbers_of(_entry(file, place), 3, file, f"{kind} cloud: a tensor Nx3")
    label = None
    if Part("labels", scan) in files:
        file = files[Part("labels", scan)]
        values = numbers_of(_entry(file, place), None, file, f"{kind} cloud: a tensor N of labels")
        if len(values) != len(voxels):
            raise BadInputError(
                "labels and coordinates have different lengths",
                code="bad_torch_file",
                file=file,
                expected=len(voxels),
                found=len(values),
                remedy="download both again",
            )
        label = values.astype(np.uint8)
    return Cloud(grid.voxel_to_world(voxels).astype(np.float32), label=label)


def _entry(file: Path, place: int) -> object:
    """Return one entry of a file with three."""
    expected = f"a list of three tensors ({', '.join(CLOUD_KINDS)})"
    content = read_torch(file, expected)
    if not isinstance(content, list | tuple) or len(content) != len(CLOUD_KINDS):
        raise BadInputError(
            "not three clouds of Lung250M-4B",
            code="bad_torch_file",
            file=file,
            expected=expected,
            found=type(content).__name__,
        )
    return content[place]
