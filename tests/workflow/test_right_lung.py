"""A real lung with a real deformation through the whole workflow, scored at its exact truth."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.io.fields import read_field
from lcsd.io.files import read_json
from lcsd.io.images import read_rigid
from lcsd.io.points import read_point_pairs
from tests.workflow.conftest import ROOT, Workspace, write_manifest

pytestmark = [pytest.mark.workflow, pytest.mark.real_data, pytest.mark.slow, pytest.mark.xdist_group("right_lung")]

CORRFIELD_MEAN_MM = 0.65
DIVROC_MEAN_MM = 0.95


@pytest.fixture(scope="module")
def right_lung(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    source = real_data / "right_lung"
    folder = tmp_path_factory.mktemp("right_lung")
    row = {
        "case": "right_lung",
        "patient_id": "elastix",
        "role": "test",
        "fixed_time": "T0",
        "moving_time": "T1",
        "landmarks_frame": "native",
        "landmarks": str(source / "landmarks.csv"),
    }
    for scan in ("fixed", "moving"):
        row[f"{scan}_source"] = str(source / f"{scan}.nii.gz")
        row[f"{scan}_mask"] = str(source / f"{scan}_mask.nii.gz")
    manifest = write_manifest(folder / "pairs.tsv", [row])
    workspace = Workspace(folder, manifest, ROOT / "tests" / "workflow" / "right_lung.yaml")
    workspace.snakemake()
    return workspace


@pytest.mark.parametrize(
    ("folder", "limit"), [("correspondences", CORRFIELD_MEAN_MM), ("registration", DIVROC_MEAN_MM)]
)
def test_field_error_at_the_truth(
    right_lung: Workspace, real_data: Path, folder: str, limit: float, record_property: Callable[[str, object], None]
) -> None:
    root = right_lung.results / "cases" / "right_lung"
    truth = read_point_pairs(real_data / "right_lung" / "truth.csv")
    moving = read_rigid(root / "images" / "rigid.tfm").inverse().apply(truth.moving)
    field = read_field(root / folder / "field.nii.gz")
    error = np.linalg.norm(truth.fixed + field.at(truth.fixed) - moving, axis=1)
    before = np.linalg.norm(truth.fixed - moving, axis=1)
    record_property("before_mean_mm", round(float(before.mean()), 3))
    for name, value in (("mean", error.mean()), ("median", np.median(error)), ("p95", np.percentile(error, 95))):
        record_property(f"{folder}_{name}_mm", round(float(value), 3))
    assert error.mean() <= limit
    if folder == "correspondences":
        assert np.median(error) <= 0.50
        assert np.percentile(error, 95) <= 1.6


def test_landmarks_agree_with_the_truth_points(right_lung: Workspace) -> None:
    root = right_lung.results / "cases" / "right_lung" / "evaluation"
    figures = read_json(root / "corrfield.json")
    assert figures["count"] == 51
    assert figures["tre_native_mean_mm"] > 30
    assert figures["tre_mean_mm"] <= CORRFIELD_MEAN_MM
