"""A whole chest CT and itself, moved by the motion of real lungs, through every stage with voxels of 3 mm."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.real_pairs import write_pair
from lcsd.io.fields import read_field
from lcsd.io.files import read_json
from lcsd.io.images import read_rigid
from lcsd.io.points import read_point_pairs
from tests.workflow.conftest import ROOT, Workspace, write_manifest

pytestmark = [pytest.mark.workflow, pytest.mark.real_data, pytest.mark.slow, pytest.mark.xdist_group("semi_real")]

VOXEL_MM = 3.0
NAME = "a_109_x1"


@pytest.fixture(scope="module")
def semi_real(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("semi_real")
    manifest = write_manifest(folder / "pairs.tsv", [write_pair(folder, NAME, real_data, coarse_mm=VOXEL_MM)])
    workspace = Workspace(folder, manifest, ROOT / "tests" / "workflow" / "semi_real.yaml")
    workspace.snakemake()
    return workspace


def test_no_gate_fails(semi_real: Workspace) -> None:
    gates = read_json(semi_real.results / "cases" / NAME / "gates.json")["gates"]
    assert {gate["of"] for gate in gates} >= {"fixed", "moving", "pair"}
    assert [gate["name"] for gate in gates if not gate["passed"] or gate["flagged"]] == []


@pytest.mark.parametrize(("stage", "limit"), [("correspondences", 2.5), ("registration", 4.5)])
def test_field_error_at_the_truth(
    semi_real: Workspace, stage: str, limit: float, record_property: Callable[[str, object], None]
) -> None:
    """Measured 1.93 and 3.43 mm; the rigid step leaves 9.7 mm of 13.7."""
    root = semi_real.results / "cases" / NAME
    truth = read_point_pairs(semi_real.results.parent / NAME / "truth.csv")
    moving = read_rigid(root / "images" / "rigid.tfm").inverse().apply(truth.moving)
    error = np.linalg.norm(truth.fixed + read_field(root / stage / "field.nii.gz").at(truth.fixed) - moving, axis=1)
    record_property(f"{stage}_mean_mm", round(float(error.mean()), 3))
    assert np.linalg.norm(truth.moving - truth.fixed, axis=1).mean() > 5
    assert error.mean() <= limit
