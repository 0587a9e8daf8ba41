"""A small build, written with the writers that the stages use."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lcsd.build import rejections
from lcsd.build.pairs import REQUIRED
from lcsd.build.provenance import Recorder
from lcsd.build.verdicts import verdict
from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.files import write_json, write_table
from lcsd.io.images import Image, write_image, write_mask, write_rigid
from lcsd.io.points import Cloud, PointPairs, write_cloud, write_point_pairs
from lcsd.report import pictures
from lcsd.settings.gates import Limits

GRID = Grid((16, 14, 18), (6.0, 6.0, 6.0), (-45.0, -200.0, -90.0))
METHOD_FOLDERS = {"corrfield": "correspondences", "divroc": "registration"}


def lungs() -> np.ndarray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[4:14, 3:11, 2:7] = True
    mask[4:14, 3:11, 9:14] = True
    return mask


def points_in_lungs(count: int, rng: np.random.Generator) -> np.ndarray:
    voxels = np.argwhere(lungs())[:, ::-1]
    chosen = voxels[rng.integers(0, len(voxels), size=count)]
    return GRID.voxel_to_world(chosen + rng.uniform(-0.4, 0.4, size=(count, 3)))


def write_images(folder: Path, rng: np.random.Generator) -> None:
    for scan in ("fixed", "moving"):
        volume = np.where(lungs(), rng.normal(-850, 60, GRID.shape), rng.normal(40, 20, GRID.shape))
        for part in ("scans", "images"):
            write_image(folder / part / f"{scan}.nii.gz", Image(volume, GRID), dtype=np.int16)
        for part in (f"lungs/{scan}", f"images/{scan}_mask", f"vessels/{scan}"):
            write_mask(folder / f"{part}.nii.gz", Image(lungs(), GRID))
        Recorder("convert", {"gap": 1}).write(folder / "scans" / f"{scan}.nii.gz", inputs={})
    write_rigid(folder / "images" / "rigid.tfm", RigidTransform.identity())
    write_json(
        folder / "images" / "prealign.json",
        {
            "dice_centred": 0.81,
            "dice_aligned": 0.9,
            "translation_mm": [3, 0, 4.0],
            "rotation_deg": 1.5,
            "match_residual_mean_mm": 5.5,
        },
    )
    Recorder("prealign", {"size": [16, 14, 18]}).write(folder / "images" / "rigid.tfm", inputs={})


def write_clouds(folder: Path, rng: np.random.Generator, dense: int = 300) -> None:
    for scan in ("fixed", "moving"):
        points = points_in_lungs(dense, rng).astype(np.float32)
        write_cloud(folder / "clouds" / f"{scan}_dense.npz", Cloud(points))
        write_cloud(folder / "clouds" / f"{scan}_keypoints.npz", Cloud(points[: dense // 5]))
        if scan == "fixed":
            write_cloud(folder / "registration" / "points.npz", Cloud(points + np.float32(1.0)))


def write_fields(folder: Path, rng: np.random.Generator) -> None:
    grid = Grid.covering(GRID, 2.0 * max(GRID.spacing))  # as in a build, coarser than the images
    for part in METHOD_FOLDERS.values():
        vectors = np.full((*grid.shape, 3), 1.0, dtype=np.float32)
        write_field(folder / part / "field.nii.gz", DisplacementField(vectors, grid))
        write_json(folder / part / f"{part}.json", {})
        Recorder(part, {"alpha": 2.5}).write(folder / part / "field.nii.gz", inputs={})
    fixed = points_in_lungs(40, rng)
    write_point_pairs(folder / "correspondences" / "correspondences.csv", PointPairs(fixed, fixed + 1.0))


def write_evaluation(folder: Path, rng: np.random.Generator, count: int = 20) -> None:
    fixed = points_in_lungs(count, rng)
    landmarks = PointPairs(fixed, fixed + 3.0 + rng.normal(0, 0.3, size=(count, 3)))
    for method, shift in (("corrfield", 3.0), ("divroc", 2.5)):
        field = DisplacementField(np.full((*GRID.shape, 3), shift, dtype=np.float32), GRID)
        result = evaluate_tre(landmarks, field=field, mask=Image(lungs(), GRID), method=method)
        write_json(folder / "evaluation" / f"{method}.json", result.figures())
        table = folder / "evaluation" / f"{method}_landmarks.csv"
        write_table(table, LANDMARK_COLUMNS, result.rows())


def write_rejection(folder: Path, message: str = "the mask is empty") -> None:
    error = BadInputError(message, code="empty_mask", remedy="look at the scan")
    rejections.reject(folder / "rejected.json", stage="lungs", target=folder / "lungs" / "fixed", error=error)


def gate(name: str, value: float, *, of: str = "fixed", low: float = 0.1) -> dict[str, Any]:
    """A verdict; values below ``low`` fail, those below its double are flagged."""
    return verdict(name, value, Limits(min=low, warn_below=2 * low), of=of)


def write_gates(folder: Path, *gates: dict[str, Any]) -> None:
    content = {"stage": "gates", "figures": {}, "gates": list(gates)}
    write_json(folder / "gates.json", content)


def write_manifest(path: Path, cases: dict[str, str]) -> Path:
    """Write a manifest: case to role; test cases have landmarks."""
    columns = [*REQUIRED, "landmarks", "landmarks_frame"]
    rows = [
        {
            "case": case,
            "patient_id": "",
            "role": role,
            "fixed_source": f"{case}/a",
            "moving_source": f"{case}/b",
            "fixed_time": "",
            "moving_time": "",
            "landmarks": "l.csv" if role == "test" else "",
            "landmarks_frame": "native" if role == "test" else "",
        }
        for case, role in cases.items()
    ]
    write_table(path, columns, rows)
    return path


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a finished case into the build and returns its folder."""

    def make(name: str, *, landmarks: bool = True, seed: int = 0) -> Path:
        rng = np.random.default_rng(seed)
        folder = tmp_path / "results" / "cases" / name
        write_images(folder, rng)
        write_clouds(folder, rng)
        write_fields(folder, rng)
        if landmarks:
            write_evaluation(folder, rng)
        write_gates(folder)
        return folder

    return make


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Saves the time that figures take to be drawn and encoded."""
    monkeypatch.setattr(pictures, "render", lambda _figure, _kind: b"picture")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results"
