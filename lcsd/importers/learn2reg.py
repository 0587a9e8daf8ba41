"""Import a lung task of the Learn2Reg challenge: the pairs of its ``dataset.json``, with masks, keypoints, landmarks.

Hering et al., IEEE TMI 42 (2023) 697. Keypoints and landmarks are voxels of each image, from 0, one CSV per scan.
"""

import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np

from lcsd.build.pairs import REQUIRED, Role
from lcsd.errors import BadInputError
from lcsd.importers.archives import check_complete
from lcsd.importers.dirlab import manual
from lcsd.io.files import read_json, write_table
from lcsd.io.images import read_image
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.landmarks.checks import check_frame
from lcsd.landmarks.formats import Grids, read_landmarks
from lcsd.names import SCANS, ScoredAt

ROLES: dict[str, Role] = {"registration_test": "test", "registration_val": "test", "training_paired_images": "train"}
"""Lists of pairs in ``dataset.json``. A pair in several has the role of the first."""

KEYPOINT_ORIGIN = "predicted:corrfield"
"""The challenge's keypoints are matches of corrfield."""

TABLES: tuple[ScoredAt, ...] = get_args(ScoredAt)
COLUMNS = (*REQUIRED, "landmarks", "landmarks_frame", "fixed_mask", "moving_mask")

_IMAGE = re.compile(r"(\w+)_(\d{4})_(\d{4})\.nii\.gz")


@dataclass(frozen=True)
class Scan:
    """Files of one scan of a pair; those that ``dataset.json`` does not have are None."""

    image: Path
    mask: Path | None = None
    landmarks: Path | None = None
    keypoints: Path | None = None


@dataclass(frozen=True)
class L2RPair:
    """A pair of the challenge."""

    case: str
    subject: str
    role: Role
    fixed: Scan
    moving: Scan


@dataclass(frozen=True)
class Task:
    """A task of the challenge."""

    pairs: tuple[L2RPair, ...]
    shape: tuple[int, ...] | None  # voxels of every image, if dataset.json says it
    times: tuple[str, str]  # of the fixed and moving scans, as dataset.json calls them


def wanted(name: str) -> bool:
    """Return whether a file may belong to a task, by its name without folders."""
    return name.endswith("dataset.json") or re.fullmatch(r"\w+_\d{4}_\d{4}\.(nii\.gz|csv)", name) is not None


def case_name(fixed: str, moving: str) -> tuple[str, str]:
    """Return the name of a pair's case and of its patient, from the names of both images.

    ``NLST_0001`` for ``NLST_0001_0000.nii.gz`` and ``NLST_0001_0001.nii.gz``; with all four numbers for other pairs.
    Raises ``BadInputError`` (``bad_dataset``) for other names.
    """
    first, second = (_IMAGE.fullmatch(PurePosixPath(name).name) for name in (fixed, moving))
    if first is None or second is None or first[1] != second[1]:
        raise _bad("the names of a pair", "TASK_0001_0000.nii.gz and TASK_0001_0001.nii.gz", f"{fixed} and {moving}")
    patient = f"{first[1]}_{first[2]}"
    if first[2] == second[2] and (first[3], second[3]) == ("0000", "0001"):
        return patient, patient
    return f"{patient}_{first[3]}_{second[2]}_{second[3]}", patient


def find_task(files: Sequence[Path]) -> Task:
    """Return the pairs of the task among files.

    Raises ``BadInputError`` if there is no ``dataset.json`` (``no_cases``) or several (``duplicate_file``), if it names
    no pair or something else than files in its folder (``bad_dataset``), or if files of a case are missing
    (``incomplete_case``, which names them).
    """
    found = [file for file in files if file.name.endswith("dataset.json")]
    if not found:
        raise BadInputError("no task of Learn2Reg found", code="no_cases", expected="TASK_dataset.json")
    if len(found) > 1:
        raise BadInputError(
            "several tasks", code="duplicate_file", file=found[1], found=found[0], remedy="import one task at a time"
        )
    content = read_json(found[0])
    here = {file.relative_to(found[0].parent).as_posix(): file for file in files if _is_below(file, found[0].parent)}
    entries = _entries(content, found[0])
    pairs = [_pair(names, role, entries, here, found[0]) for names, role in _pairs(content, entries, found[0])]
    shift = content.get("img_shift")
    times = tuple(str(shift.get(scan, "")) if isinstance(shift, dict) else "" for scan in SCANS)
    return Task(tuple(pairs), _shape(content, found[0]), (times[0], times[1]))


def _is_below(file: Path, folder: Path) -> bool:
    return folder in file.parents


def _bad(what: str, expected: object, found: object, file: Path | None = None) -> BadInputError:
    return BadInputError(
        f"dataset.json does not say what it should: {what}",
        code="bad_dataset",
        file=file,
        expected=expected,
        found=repr(found)[:120],
        remedy="download the task again",
    )


def _list(content: Mapping[str, Any], name: str, file: Path) -> list[Any]:
    """Return a list of ``dataset.json``; empty if it has none of this name."""
    found = content.get(name, [])
    if not isinstance(found, list):
        raise _bad(name, "a list", found, file)
    return found


def _shape(content: Mapping[str, Any], file: Path) -> tuple[int, ...] | None:
    """Return the number of voxels of every image; None if ``dataset.json`` does not say it."""
    shape = content.get("tensorImageShape")
    if shape is None:
        return None
    found = shape.get("0") if isinstance(shape, dict) else shape
    if not isinstance(found, list) or not all(isinstance(number, int) for number in found):
        raise _bad("tensorImageShape", "three whole numbers", shape, file)
    return tuple(found)


def _inside(name: object, file: Path) -> str:
    """Return the path of a file relative to ``dataset.json``; refuse one that leads out of its folder."""
    path = PurePosixPath(name) if isinstance(name, str) else PurePosixPath("..")
    if path.is_absolute() or ".." in path.parts:
        raise _bad("a file of the task", "a path inside its folder", name, file)
    return path.as_posix()


def _entries(content: Mapping[str, Any], file: Path) -> dict[str, dict[str, str]]:
    """Return what ``dataset.json`` lists for each image, by the image's path."""
    entries = {}
    for part in ("training", "test"):
        for entry in _list(content, part, file):
            if not isinstance(entry, dict) or "image" not in entry:
                raise _bad(part, "entries with an image", entry, file)
            entries[_inside(entry["image"], file)] = {key: _inside(path, file) for key, path in entry.items()}
    return entries


def _pairs(content: Mapping[str, Any], entries: Mapping[str, object], file: Path) -> list[tuple[tuple[str, str], Role]]:
    """Return the images of all pairs, and their roles."""
    roles: dict[tuple[str, str], Role] = {}
    for name, role in ROLES.items():
        for pair in _list(content, name, file):
            if not isinstance(pair, dict) or not {*SCANS} <= pair.keys():
                raise _bad(name, "pairs with fixed and moving", pair, file)
            roles.setdefault((_inside(pair["fixed"], file), _inside(pair["moving"], file)), role)
    if not roles:
        # Older tasks list scans only; both scans of a patient are a pair.
        for first, second in pairwise(sorted(entries)):
            if first.endswith("_0000.nii.gz") and second == first.removesuffix("_0000.nii.gz") + "_0001.nii.gz":
                roles[first, second] = "train"
    if not roles:
        raise _bad("pairs", ", ".join(ROLES), "no pair", file)
    return sorted(roles.items())


def _pair(
    names: tuple[str, str], role: Role, entries: Mapping[str, dict[str, str]], here: Mapping[str, Path], file: Path
) -> L2RPair:
    """Return a pair with its files; refuse it if ``dataset.json`` lists files that are not there."""
    case, patient = case_name(*names)
    missing: list[str] = []
    scans = []
    for name in names:
        entry = entries.get(name, {})
        parts: dict[str, str] = {"image": name}
        for kind, folder in (("mask", "masks"), ("landmarks", "landmarks"), ("keypoints", "keypoints")):
            # Some tasks list tables with the ending of an image, and some do not list their masks.
            path = entry.get(kind, name.replace("images", folder, 1))
            path = path if kind == "mask" else path.removesuffix(".nii.gz").removesuffix(".csv") + ".csv"
            if kind in entry or path in here:
                parts[kind] = path
        missing += [path for path in parts.values() if path not in here]
        scans.append({kind: here[path] for kind, path in parts.items() if path in here})
    check_complete(case, missing, f"add them next to {file.name}")
    for kind in ("mask", *TABLES):
        if (kind in scans[0]) != (kind in scans[1]):
            lone = names[0] if kind in scans[1] else names[1]
            check_complete(case, [f"{kind} of {PurePosixPath(lone).name}"], f"add them next to {file.name}")
    return L2RPair(case, patient, role, Scan(**scans[0]), Scan(**scans[1]))


def import_learn2reg(
    task: Task,
    folder: Path,
    *,
    scored_at: ScoredAt = "landmarks",
    progress: Callable[[Iterable[L2RPair]], Iterable[L2RPair]] = lambda pairs: pairs,
) -> list[dict[str, Any]]:
    """Write all pairs and their ``pairs.tsv`` into a folder; return a row per case.

    ``scored_at`` names the tables that become landmarks of the manifest. Rows also have ``distance_mm``, their mean
    distance before registration, or None. Raises ``BadInputError`` for invalid files, images of another size than
    ``dataset.json`` says (``bad_size``), and points outside an image (``landmark_outside``, ``wrong_frame``).
    """
    rows = [_write_pair(pair, task, folder, scored_at) for pair in progress(task.pairs)]
    write_table(folder / "pairs.tsv", COLUMNS, [{name: row.get(name, "") for name in COLUMNS} for row in rows])
    return rows


def _write_pair(pair: L2RPair, task: Task, folder: Path, scored_at: ScoredAt) -> dict[str, Any]:
    """Write a pair to ``folder/cases/CASE``; return its row."""
    place, within = folder / "cases" / pair.case, f"cases/{pair.case}"
    place.mkdir(parents=True)
    row: dict[str, Any] = {"case": pair.case, "patient_id": pair.subject, "role": pair.role, "distance_mm": None}
    grids = []
    for name, scan, time in zip(SCANS, (pair.fixed, pair.moving), task.times, strict=True):
        grid = read_image(scan.image).grid
        if task.shape is not None and grid.size != task.shape:
            raise BadInputError(
                "the image does not have the size that dataset.json says",
                code="bad_size",
                file=scan.image,
                expected=" x ".join(map(str, task.shape)),
                found=" x ".join(map(str, grid.size)),
                remedy="download it again",
            )
        grids.append(grid)
        shutil.copyfile(scan.image, place / f"{name}.nii.gz")
        row |= {f"{name}_source": f"{within}/{name}.nii.gz", f"{name}_time": time}
        if scan.mask is not None:
            shutil.copyfile(scan.mask, place / f"{name}_mask.nii.gz")
            row[f"{name}_mask"] = f"{within}/{name}_mask.nii.gz"
    for kind in TABLES:
        files = [getattr(scan, kind) for scan in (pair.fixed, pair.moving)]
        if files[0] is None:
            continue
        pairs = _points(files, Grids(*grids), kind)
        write_point_pairs(place / f"{kind}.csv", pairs)
        if kind == scored_at:
            apart = np.linalg.norm(pairs.moving - pairs.fixed, axis=1)
            row |= {
                "landmarks": f"{within}/{kind}.csv",
                "landmarks_frame": "native",
                "distance_mm": float(apart.mean()),
            }
    return row


def _points(files: Sequence[Path], grids: Grids, kind: str) -> PointPairs:
    """Return landmarks or keypoints in LPS mm, with their origin."""
    found = manual(read_landmarks(files, "learn2reg", grids=grids).pairs)
    for file, points, grid in zip(files, (found.fixed, found.moving), grids, strict=True):
        if grid is not None:
            check_frame(points, grid, which=file.name, file=file)
    if kind == "landmarks":
        return found
    return PointPairs(found.fixed, found.moving, found.ids, origin=(KEYPOINT_ORIGIN,) * len(found))
