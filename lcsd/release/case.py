"""The files of one published case, written anew from the content of the build's files.

No file is copied, so headers, comments and parameters of the build are not published.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lcsd.build.jobs import CaseFiles
from lcsd.build.pairs import Pair
from lcsd.build.verdicts import read_registration_verdicts, read_verdicts
from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.files import read_json, write_text
from lcsd.io.images import (
    Image,
    check_same_grid,
    read_image,
    read_mask,
    read_rigid,
    write_image,
    write_mask,
    write_rigid,
)
from lcsd.io.points import Cloud, PointPairs, read_cloud, read_point_pairs, write_cloud, write_point_pairs
from lcsd.io.tables import as_number
from lcsd.landmarks.common_space import check_in_common_space, origins, to_common_space
from lcsd.release.choice import Chosen
from lcsd.release.consistency import check_dense, check_sparse
from lcsd.release.layout import CLOUDS, SCAN_NUMBER, Split, pair_file, parquet_file, scan_file
from lcsd.release.parquet import write_clouds, write_pairs
from lcsd.release.vtp import write_vtp
from lcsd.settings.release import ReleaseSettings

VOXEL_DECIMALS = 4

Add = Callable[[str, tuple[int, ...]], Path]
"""Takes a path inside the release and the numbers that the file states; returns the path for writing."""


@dataclass(frozen=True)
class Written:
    """A published case."""

    name: str
    split: Split
    grid: Grid  # common grid
    labels: int  # largest label in the vessel maps: 1 if all vessels have the same label
    row: dict[str, Any]  # row of ``cases.tsv``
    origins: dict[str, int] = field(default_factory=dict)  # number of landmarks by origin, from the landmark file

    @property
    def has_landmarks(self) -> bool:
        """Whether landmarks of the case are published."""
        return int(self.row["landmarks"]) > 0


def write_case(chosen: Chosen, name: str, add: Add, settings: ReleaseSettings) -> Written:
    """Write all files of a case.

    Raises ``BadInputError`` if a file of the build is missing or broken, the volumes have different grids, the clouds
    do not match the vessel maps, or landmarks are outside the grid.
    """
    vessels = _read_vessels(chosen)
    grid = vessels["fixed"].grid
    _write_volumes(chosen, name, vessels, add, settings)
    row: dict[str, Any] = {"case": name, "split": chosen.split}
    clouds = {
        (scan, kind): cloud for scan in SCAN_NUMBER for kind, cloud in _read_clouds(chosen, scan, vessels[scan]).items()
    }
    for (scan, kind), cloud in clouds.items():
        _write_cloud(cloud, chosen.split, name, scan, kind, add, settings)
        row[f"{scan}_{kind}"] = len(cloud)
    if settings.parquet:
        stated = tuple(map(len, clouds.values()))
        write_clouds(add(parquet_file("clouds", chosen.split, name), stated), name, clouds)
    rigid = read_rigid(chosen.files.rigid)
    write_rigid(add(pair_file("rigid", chosen.split, name, end=".tfm"), ()), rigid)
    pairs = read_point_pairs(chosen.files.correspondences)
    # Names of pairs, if a table has any, are not published.
    bare = PointPairs(pairs.fixed, pairs.moving, weight=pairs.weight)
    _write_pairs("correspondences", "keypoints", chosen.split, name, bare, grid, add, settings)
    row["correspondences"] = len(pairs)
    row["landmarks"] = 0
    found: dict[str, int] = {}
    if chosen.split == "test" and chosen.pair.landmarks is not None:
        published = _landmarks(chosen.pair, rigid, grid)
        _write_pairs("landmarks", "landmarks", chosen.split, name, published, grid, add, settings)
        row["landmarks"] = len(published)
        found = origins(published) or {"unknown": len(published)}
    lengths = np.linalg.norm(pairs.moving - pairs.fixed, axis=1)
    row["displacement_mean_mm"] = round(float(lengths.mean()), 3)
    row["displacement_max_mm"] = round(float(lengths.max()), 3)
    labels = max(int(map_.array.max()) for map_ in vessels.values())
    return Written(name, chosen.split, grid, labels, row | _figures(chosen.files), found)


def _landmarks(pair: Pair, rigid: RigidTransform, grid: Grid) -> PointPairs:
    """Return the landmarks of a case in common space, numbered, with the origin of each."""
    assert pair.landmarks is not None  # noqa: S101 - asked by the caller
    frame = pair.landmarks_frame or "native"
    common, _ = to_common_space(read_point_pairs(pair.landmarks), rigid=rigid, frame=frame)
    check_in_common_space(common, [grid], file=pair.landmarks)
    numbered = tuple(str(number) for number in range(1, len(common) + 1))
    return replace(common, ids=numbered)


def _figures(files: CaseFiles) -> dict[str, Any]:
    """Return figures of the rigid step, and the gates that flagged the case."""
    found = read_json(files.prealign) if files.prealign.exists() else {}
    numbers = {}
    for key in ("dice_centred", "dice_aligned", "rotation_deg"):
        if found.get(key) is None:
            continue
        number = as_number(found[key])
        if number is None:
            raise BadInputError(
                "not a number",
                code="bad_number",
                file=files.prealign,
                field=key,
                expected="a finite number",
                found=repr(found[key]),
            )
        numbers[key] = number
    gates = read_verdicts(files.gates)
    if files.registration_figures.exists():
        gates += read_registration_verdicts(files.registration_figures)
    flagged = sorted({gate.name for gate in gates if gate.flagged})
    return {**numbers, "borderline": " ".join(flagged)}


def _read_vessels(chosen: Chosen) -> dict[str, Image]:
    """Return the vessel maps by scan; both have the same grid."""
    paths = {scan: chosen.files.vessels(scan) for scan in SCAN_NUMBER}
    vessels = {scan: read_mask(path, keep_labels=True, kind="vessels") for scan, path in paths.items()}
    for scan, map_ in vessels.items():
        check_same_grid(map_.grid, vessels["fixed"].grid, file=paths[scan])
    return vessels


def _write_volumes(chosen: Chosen, name: str, vessels: dict[str, Image], add: Add, settings: ReleaseSettings) -> None:
    """Write lungs, vessels and, if the settings ask for them, scans, all on the grid of the vessels."""
    for scan, map_ in vessels.items():
        lungs = read_mask(chosen.files.mask(scan), like=map_.grid)
        for kind, mask in (("labels", map_), ("masks", lungs)):
            write_mask(add(scan_file(kind, chosen.split, name, scan, end=".nii.gz"), ()), mask)
        if settings.images:
            path = chosen.files.image(scan)
            image = read_image(path)
            check_same_grid(image.grid, map_.grid, file=path)
            target = add(scan_file("images", chosen.split, name, scan, end=".nii.gz"), ())
            write_image(target, image, dtype=np.int16)


def _read_clouds(chosen: Chosen, scan: str, vessels: Image) -> dict[str, Cloud]:
    """Return the clouds of a scan by kind, checked against the vessel map and each other."""
    paths = {kind: chosen.files.cloud(scan, word) for kind, word in CLOUDS.items()}
    clouds = {kind: read_cloud(path) for kind, path in paths.items()}
    check_dense(clouds["dense"], vessels, file=paths["dense"])
    check_sparse(clouds["sparse"], clouds["dense"], file=paths["sparse"])
    return clouds


def _write_cloud(
    cloud: Cloud, split: Split, name: str, scan: str, kind: str, add: Add, settings: ReleaseSettings
) -> None:
    """Write a cloud without the build's metadata."""
    meta = {"case": name, "scan": scan, "cloud": kind, "frame": "LPS", "unit": "mm"}
    published = Cloud(cloud.points, cloud.index, cloud.label, cloud.radius, cloud.weight, meta=meta)
    stated = (len(cloud),)
    write_cloud(add(scan_file("clouds", split, name, scan, end=f"_{kind}.npz"), stated), published)
    if settings.viewer:
        found = {"radius": cloud.radius, "label": cloud.label}
        arrays = {key: values for key, values in found.items() if values is not None}
        target = scan_file("viewer", split, name, scan, end=f"_{kind}.vtp")
        write_vtp(add(target, stated), cloud.points.astype(np.float32), arrays)


def _write_pairs(
    kind: str,
    voxel_kind: str,
    split: Split,
    name: str,
    pairs: PointPairs,
    grid: Grid,
    add: Add,
    settings: ReleaseSettings,
) -> None:
    """Write point pairs in LPS mm, as CSV and Parquet, and for Learn2Reg as one table of voxels per scan."""
    write_point_pairs(add(pair_file(kind, split, name, end=".csv"), ()), pairs)
    if settings.parquet:
        write_pairs(add(parquet_file(kind, split, name), (len(pairs),)), name, pairs)
    for scan, points in (("fixed", pairs.fixed), ("moving", pairs.moving)):
        voxels = grid.world_to_voxel(points)
        lines = (",".join(f"{v:.{VOXEL_DECIMALS}f}" for v in row) for row in voxels)
        target = add(scan_file(voxel_kind, split, name, scan, end=".csv"), ())
        write_text(target, "\n".join(lines) + "\n")
