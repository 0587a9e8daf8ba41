"""The workflow with TotalSegmentator's own code and small models in the place of its weights."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.provenance import provenance_path
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, resample, write_mask
from lcsd.io.points import read_cloud
from lcsd.lungs.gates import split_lungs
from tests.workflow.conftest import ROOT, Workspace, make_cohort, rows_of, write_manifest

pytestmark = [pytest.mark.workflow, pytest.mark.campaign, pytest.mark.slow, pytest.mark.xdist_group("totalsegmentator")]

WEIGHTS = ROOT / "tests" / "models" / "weights"
SETTINGS: dict[str, object] = {
    "vessels": {"backend": "totalsegmentator", "totalsegmentator": {"weights": str(WEIGHTS)}},
    # One lung: the models' voxels are half as wide as the tiny case's, and each counts.
    "prealign": {"size": [56, 72, 88], "spacing_mm": 3.0},
    "gates": {
        name: {}
        for name in ("mask_missed", "points", "balance", "share", "correspondences", "survival", "disagreement_mm")
    },
}


def value(mask: Image, line: str) -> bool:
    """Return the mask at the fixed point of a line of landmarks."""
    point = np.array([[float(part) for part in line.split(",")[:3]]])
    x, y, z = np.rint(mask.grid.world_to_voxel(point)[0]).astype(int)
    return bool(mask.array[z, y, x])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A build of one tiny case, without hashes that the user may have recorded."""
    folder = tmp_path_factory.mktemp("totalsegmentator")
    manifest = make_cohort(folder / "cohort", cases=1, seed=5)
    (row,) = rows_of(manifest)
    for scan in ("fixed", "moving"):
        whole = read_mask(manifest.parent / row["case"] / "truth" / f"{scan}_lungs.nii.gz")
        row[f"{scan}_mask"] = f"{row['case']}/{scan}_right.nii.gz"
        right = Image(split_lungs(whole)["right"], whole.grid)
        write_mask(manifest.parent / row[f"{scan}_mask"], right)
        if scan == "fixed":
            landmarks = manifest.parent / row["landmarks"]
            lines = landmarks.read_text().splitlines(keepends=True)
            kept = [line for line in lines[1:] if value(right, line)]
            assert len(kept) > 20
            landmarks.write_text("".join([lines[0], *kept]))
    write_manifest(manifest, [row])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CONFIG", "CACHE"):
            patch.setenv(f"XDG_{name}_HOME", str(folder / name))
        workspace = Workspace(folder, manifest)
        workspace.snakemake(settings=SETTINGS)
        yield workspace


def case(built: Workspace) -> Path:
    return built.results / "cases" / rows_of(built.manifest)[0]["case"]


def lcsd(*arguments: str | Path) -> str:
    code = "from lcsd.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments), "--threads", "1"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_build_ends_with_a_report(built: Workspace) -> None:
    root = case(built)
    assert built.rejected() == {}
    assert (built.results / "report" / "index.html").exists()
    for method in ("corrfield", "divroc"):
        figures = read_json(root / "evaluation" / f"{method}.json")
        assert figures["tre_mean_mm"] < figures["tre_before_mean_mm"]
    for scan in ("fixed", "moving"):
        made = read_json(provenance_path(root / "vessels" / f"{scan}.nii.gz"))
        assert any(name.startswith("Dataset258") for name in made["facts"]["backend"]["weights"])
    assert built.planned(SETTINGS) == {}


def test_vessels_are_where_they_are(built: Workspace) -> None:
    """The models know 1.5 mm, the tiny case has 3 mm: much is lost, but nothing is elsewhere."""
    found = read_image(case(built) / "vessels" / "fixed.nii.gz")
    given = built.manifest.parent / case(built).name / "truth" / "fixed_vessels.nii.gz"
    truth = resample(read_image(given), found.grid, nearest=True).array > 0
    mask = found.array > 0
    share = truth[mask].mean()
    assert share > 5 * np.roll(truth, 6, axis=2)[mask].mean()
    assert share > 0.8


def test_one_process_for_many_scans_in_a_build(built: Workspace) -> None:
    """Masks made by a batch between two runs of snakemake are the ones it would have made."""
    root = case(built)
    before = built.hashes(root.name)
    mask = root / "vessels" / "moving.nii.gz"
    mask.unlink()
    provenance_path(mask).unlink()
    table = built.folder / "vessels.tsv"
    image = f"{root}/images/moving"
    table.write_text(
        f"image\tlungs\toutput\trejected\n{image}.nii.gz\t{image}_mask.nii.gz\t{mask}\t{root}/rejected.json\n"
    )
    config = built.folder / "config.yaml"
    printed = lcsd("vessels", "--batch", table, "--config", config, "--json")
    assert len(printed.splitlines()) == 1
    assert built.hashes(root.name) == before
    assert "vessels" not in built.planned(SETTINGS)
    assert lcsd("vessels", "--batch", table, "--config", config, "--json") == ""


def test_arteries_and_veins_are_labels_of_the_cloud(built: Workspace, tmp_path: Path) -> None:
    images = case(built) / "images"
    lcsd(
        "vessels",
        images / "fixed.nii.gz",
        tmp_path / "v.nii.gz",
        "--lungs",
        images / "fixed_mask.nii.gz",
        "--backend",
        "totalsegmentator",
        "--set",
        "totalsegmentator.task=lung_vessels",
        "--set",
        f"totalsegmentator.weights={WEIGHTS}",
    )
    lcsd("cloud", tmp_path / "v.nii.gz", tmp_path / "c.npz")
    cloud = read_cloud(tmp_path / "c.npz")
    assert cloud.label is not None
    assert np.unique(cloud.label).tolist() == [1, 2]
    mask = read_image(tmp_path / "v.nii.gz").array
    assert (cloud.label == 2).sum() == (mask == 2).sum()
