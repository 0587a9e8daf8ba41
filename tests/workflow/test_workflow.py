"""The workflow as a user meets it: builds, reruns, own data; faults are in test_reliability."""

import os
from pathlib import Path

import numpy as np
import pytest
import yaml

from lcsd.build.jobs import METHODS
from lcsd.build.recorded import recorded
from lcsd.geometry import Grid
from lcsd.io.fields import read_field
from lcsd.io.files import read_json
from lcsd.io.images import read_image, read_rigid
from lcsd.io.points import read_cloud, read_point_pairs
from lcsd.monitor.verify import verify
from tests.workflow.conftest import TINY, Workspace, rows_of, write_manifest

FIELD_MM = yaml.safe_load(TINY.read_text())["workflow"]["field_mm"]

pytestmark = [pytest.mark.workflow, pytest.mark.xdist_group("workflow")]


def test_build_ends_with_scores_and_a_report(built: Workspace) -> None:
    test_case = rows_of(built.manifest)[-1]["case"]
    root = built.results / "cases" / test_case
    for method, folder in METHODS.items():
        figures = read_json(root / "evaluation" / f"{method}.json")
        assert figures["count"] == 100
        assert figures["tre_mean_mm"] < figures["tre_before_mean_mm"] < figures["tre_native_mean_mm"]
        field = read_field(root / folder / "field.nii.gz")
        common = read_image(root / "images" / "fixed.nii.gz").grid
        assert field.grid.same_as(Grid.covering(common, FIELD_MM))
    page = (built.results / "report" / "index.html").read_text()
    assert all(row["case"] in page for row in rows_of(built.manifest))
    for row in rows_of(built.manifest):
        assert f'href="cases/{row["case"]}.html"' in page
        assert 'id="viewer-data"' in (built.results / f"report/cases/{row['case']}.html").read_text()
    assert built.rejected() == {}
    remembered = recorded(built.results)
    assert remembered is not None
    assert list(remembered.pairs) == [row["case"] for row in rows_of(built.manifest)]
    gates = read_json(root / "gates.json")["gates"]
    assert {gate["name"] for gate in gates} >= {"inside", "ratio"}


def test_snakemake_report_has_page_tables_and_captions(built: Workspace, tmp_path: Path) -> None:
    built.snakemake("--report", str(tmp_path / "out.html"))
    text = (tmp_path / "out.html").read_text()
    for caption in (
        "Longitudinal lung CT pairs",
        "Overview of the build",
        "Points per cloud of this build",
        "Landmark errors (TRE)",
        "Cases that are left out",
    ):
        assert caption in text
    for name in ("index.html", "table1.csv", "tre.csv", "rejected.tsv"):
        assert f"report/{name}" in text


def test_outputs_are_in_the_right_frames(built: Workspace, cohort: Path) -> None:
    """The truth of the phantom, in native frames, must be what the outputs say, of DICOM with given masks, too."""
    case = rows_of(cohort)[0]["case"]
    root = built.results / "cases" / case
    truth = read_point_pairs(cohort.parent / case / "truth" / "points.csv")
    to_common = read_rigid(root / "images" / "rigid.tfm").inverse()
    native = np.linalg.norm(truth.moving - truth.fixed, axis=1).mean()
    before = np.linalg.norm(to_common.apply(truth.moving) - truth.fixed, axis=1).mean()
    for folder in METHODS.values():
        field = read_field(root / folder / "field.nii.gz")
        moved = truth.fixed + field.at(truth.fixed)
        after = np.linalg.norm(to_common.apply(truth.moving) - moved, axis=1).mean()
        assert after < before < native
    # A dense cloud lies in the lungs of the common grid, a sparse one in the dense one.
    dense = read_cloud(root / "clouds" / "fixed_dense.npz")
    sparse = read_cloud(root / "clouds" / "fixed_keypoints.npz")
    assert sparse.index is not None
    np.testing.assert_array_equal(dense.points[sparse.index], sparse.points)
    lungs = read_image(root / "images" / "fixed_mask.nii.gz")
    voxels = np.rint(lungs.grid.world_to_voxel(dense.points.astype(float))).astype(int)
    assert lungs.array[voxels[:, 2], voxels[:, 1], voxels[:, 0]].mean() > 0.95


def test_second_run_has_nothing_to_do(built: Workspace) -> None:
    assert built.planned({"fetch": {"retries": 9}}) == {}
    assert built.planned() == {}
    assert built.said_to_run() == {}


def test_release_of_a_build_is_whole_and_makes_nothing_again(built: Workspace) -> None:
    built.snakemake("release")
    release = verify(built.results / "release")
    assert (release.what, release.differences) == ("release", ())
    assert verify(built.results).differences == ()
    assert built.planned() == {}
    (row, *_) = rows_of(built.manifest)
    names = {entry["case"]: entry["name"] for entry in rows_of(built.results / "cohort/names.tsv")}
    released = built.results / "release" / "labelsTr" / f"{names[row['case']]}_0000.nii.gz"
    vessels = built.results / "cases" / row["case"] / "vessels" / "fixed.nii.gz"
    assert released.read_bytes() == vessels.read_bytes()


def test_a_source_that_goes_away_unmakes_nothing(built: Workspace, cohort: Path) -> None:
    source = cohort.parent / rows_of(cohort)[0]["fixed_source"]
    source.rename(source.with_name("away"))
    try:
        assert built.planned() == {}
    finally:
        source.with_name("away").rename(source)
    assert built.planned() == {}


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        ({"keypoints": {"j": 14}}, {"keypoints", "report"}),
        ({"evaluate": {"tps_smoothing": 0.1}}, {"evaluate", "gates", "report"}),
        ({"gates": {"inside": {"min": 0.5}}}, {"gates", "report"}),
        ({"correspond": {"alpha": 2.0}}, {"correspond", "evaluate", "gates", "report"}),
        ({"workflow": {"registration_cloud": "keypoints"}}, {"register", "evaluate", "gates", "report"}),
        ({"workflow": {"field_mm": 2.0}}, {"correspond", "register", "evaluate", "gates", "report"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_editing_a_setting_reruns_what_depends_on_it(
    built: Workspace, settings: dict[str, dict[str, object]], rules: set[str]
) -> None:
    tiny = yaml.safe_load(TINY.read_text())
    merged = {name: tiny.get(name, {}) | change for name, change in settings.items()}
    planned = built.planned(merged)
    assert set(planned) == rules | {"all", "total"}
    of_cases = rules - {"report"}
    assert built.said_to_run() == {name: planned[name] for name in of_cases}


def test_another_frame_of_landmarks_scores_again(built: Workspace, cohort: Path) -> None:
    times, content = cohort.stat(), cohort.read_text()
    assert "\tnative" in content
    cohort.write_text(content.replace("\tnative", "\tcommon"))
    try:
        assert built.planned()["evaluate"] == built.said_to_run()["evaluate"] == 2
    finally:
        cohort.write_text(content)
        os.utime(cohort, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert built.planned() == {}


def test_one_case_can_be_made_again(built: Workspace) -> None:
    case = rows_of(built.manifest)[0]["case"]
    before = built.hashes(case)
    target = f"results/cases/{case}/clouds/fixed_keypoints.npz"
    (built.folder / target).unlink()
    printed = built.snakemake(target)
    assert f"{case}: sparse clouds" in printed
    assert built.hashes(case) == before


def test_a_case_is_made_again_from_a_stage_on_and_no_other(built: Workspace) -> None:
    built.command()  # the configuration of the build, whatever a test before has written
    case = rows_of(built.manifest)[0]["case"]
    before = built.hashes(case)
    times = {path: path.stat().st_mtime_ns for path in (built.results / "cases").rglob("*.npz")}
    printed = built.case_again(case, "keypoints")
    assert f"--forcerun keypoints -- results/cases/{case}/clouds/fixed_keypoints.npz" in printed
    assert built.hashes(case) == before
    changed = {path for path in times if path.stat().st_mtime_ns != times[path]}
    folder = built.results / "cases" / case / "clouds"
    assert changed == {folder / f"{scan}_keypoints.npz" for scan in ("fixed", "moving")}


def test_given_vessels_are_used(built: Workspace) -> None:
    row = rows_of(built.manifest)[0]
    root = built.results / "cases" / row["case"]
    given = read_image(built.manifest.parent / row["fixed_vessels"])
    used = read_image(root / "vessels" / "fixed.nii.gz")
    volumes = [np.prod(i.grid.spacing) * (i.array > 0).sum() for i in (given, used)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.15)


def test_bad_manifest_and_config_end_with_one_line_and_code_2(cohort: Path, tmp_path: Path) -> None:
    rows = rows_of(cohort)
    for change, expected in (
        ({"case": "$(touch hacked)"}, "line 2, column case"),
        ({"case": "../x"}, "line 2, column case"),
        ({"case": rows[1]["case"]}, "[bad_case]"),
    ):
        manifest = write_manifest(tmp_path / "pairs.tsv", [rows[0] | change, rows[1]])
        printed = Workspace(tmp_path, manifest).snakemake("--dry-run", code=2)
        assert expected in printed
        assert "Traceback" not in printed
    assert not (tmp_path / "hacked").exists()
    workspace = Workspace(tmp_path, cohort)
    printed = workspace.snakemake("--dry-run", code=2, settings={"keypoints": {"sigma": 1}})
    assert "keypoints.sigma: unknown key" in printed
