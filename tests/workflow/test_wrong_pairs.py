"""Pairs that are none, in a build: reversed slices, two people. Only the good pair reaches the release."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.cli.release import command
from tests.workflow.conftest import ROOT, Workspace, rows_of, write_manifest

# In the group of the other builds, whose cohort it uses.
pytestmark = [pytest.mark.workflow, pytest.mark.slow, pytest.mark.xdist_group("workflow")]

SETTINGS = ROOT / "tests" / "workflow" / "wrong_pairs.yaml"


def reversed_slices(source: Path, target: Path) -> str:
    """Write a scan with its slices in reverse order under the same header."""
    image = nibabel.load(source)
    array = np.ascontiguousarray(np.asanyarray(image.dataobj)[:, :, ::-1])
    nibabel.save(nibabel.Nifti1Image(array, image.affine, image.header), target)
    return str(target)


@pytest.fixture(scope="module")
def wrong_pairs(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A good pair, one with reversed slices (TotalSegmentator 229) and one of two people (Loris-MRI 405), built."""
    folder = tmp_path_factory.mktemp("wrong_pairs")
    other, row = rows_of(cohort)
    shared = {key: row[key] for key in ("patient_id", "fixed_time", "moving_time")}
    shared |= {key: str(cohort.parent / row[key]) for key in ("fixed_source", "moving_source")}
    turned = reversed_slices(cohort.parent / row["moving_source"], folder / "reversed.nii.gz")
    rows = [
        {"case": "good", "role": "train", **shared},
        {"case": "reversed", "role": "train", **shared, "moving_source": turned},
        {"case": "two_people", "role": "train", **shared, "moving_source": str(cohort.parent / other["moving_source"])},
    ]
    workspace = Workspace(folder, write_manifest(folder / "pairs.tsv", rows), SETTINGS)
    workspace.snakemake(code=1)
    return workspace


def test_each_wrong_pair_is_named(wrong_pairs: Workspace) -> None:
    rows = wrong_pairs.rejected()
    assert {case: (row["stage"], row["code"]) for case, row in rows.items()} == {
        "reversed": ("lungs", "anatomy_mismatch"),
        "two_people": ("gates", "gate_matched"),
    }
    assert "the slices are in reverse order" in rows["reversed"]["message"]


def test_the_release_holds_the_good_pair_only(wrong_pairs: Workspace) -> None:
    done = CliRunner().invoke(command, [str(wrong_pairs.results), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["train"], found["test"], found["left_out"]) == (1, 0, 2)
    names = {row["case"] for row in rows_of(wrong_pairs.results / "cohort" / "names.tsv")}
    assert names == {"good"}
