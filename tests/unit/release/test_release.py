"""The release of a build: its files, frames, names, and what is left out."""

import gzip
import hashlib
import io
import json
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner

from lcsd.build.provenance import Recorder
from lcsd.cli.main import main
from lcsd.io.files import read_json, write_json, write_table
from lcsd.io.images import read_image, read_rigid
from lcsd.io.points import read_cloud, read_point_pairs, write_point_pairs
from lcsd.release.choice import choose
from lcsd.release.release import write_release
from lcsd.settings.release import ReleaseSettings
from tests.unit.release.made_up import (
    LANDMARKS,
    LIMIT,
    PATIENTS,
    QUICK,
    RIGID,
    SIZE,
    UIDS,
    fail_gate,
    grid_of,
    hashes,
    landmarks_of,
    make_build,
    names_of,
    read_rows,
    vessels_again,
    write_case_files,
)


def test_files_hold_what_the_build_holds(build: tuple[Path, Path], release: Path) -> None:
    results, _ = build
    for case, name in names_of(results).items():
        split = "Ts" if case == "c3" else "Tr"
        folder = results / "cases" / case
        for number, scan in (("0000", "fixed"), ("0001", "moving")):
            for kind, source in (
                ("labels", f"vessels/{scan}.nii.gz"),
                ("images", f"images/{scan}.nii.gz"),
                ("masks", f"images/{scan}_mask.nii.gz"),
            ):
                found = read_image(release / f"{kind}{split}" / f"{name}_{number}.nii.gz")
                expected = read_image(folder / source)
                np.testing.assert_array_equal(found.array, expected.array)
                assert found.grid.same_as(expected.grid)
            for kind, word in (("dense", "dense"), ("sparse", "keypoints")):
                cloud = read_cloud(release / f"clouds{split}" / f"{name}_{number}_{kind}.npz")
                expected_cloud = read_cloud(folder / "clouds" / f"{scan}_{word}.npz")
                np.testing.assert_array_equal(cloud.points, expected_cloud.points)
                np.testing.assert_array_equal(cloud.radius, expected_cloud.radius)
                assert cloud.meta == {"case": name, "scan": scan, "cloud": kind, "frame": "LPS", "unit": "mm"}
        rigid = read_rigid(release / f"rigid{split}" / f"{name}.tfm")
        np.testing.assert_allclose(rigid.translation, RIGID.translation)
        pairs = read_point_pairs(release / f"correspondences{split}" / f"{name}.csv")
        source_pairs = read_point_pairs(folder / "correspondences" / "correspondences.csv")
        np.testing.assert_array_equal(pairs.moving, source_pairs.moving)
        assert pairs.weight is not None


def test_keypoints_are_voxels_of_the_label_volume(build: tuple[Path, Path], release: Path) -> None:
    """Learn2Reg's tables index the array that nibabel reads."""
    name = names_of(build[0])["a1"]
    pairs = read_point_pairs(release / "correspondencesTr" / f"{name}.csv")
    affine = nibabel.load(release / "labelsTr" / f"{name}_0000.nii.gz").affine
    for number, points in (("0000", pairs.fixed), ("0001", pairs.moving)):
        voxels = np.loadtxt(release / "keypointsTr" / f"{name}_{number}.csv", delimiter=",")
        ras = nibabel.affines.apply_affine(affine, voxels)
        np.testing.assert_allclose(ras * (-1, -1, 1), points, atol=1e-3)


def test_landmarks_of_test_cases_are_in_common_space(build: tuple[Path, Path], release: Path) -> None:
    name = names_of(build[0])["c3"]
    found = read_point_pairs(release / "landmarksTs" / f"{name}.csv")
    expected = landmarks_of("c3")
    np.testing.assert_allclose(found.fixed, expected.fixed, atol=1e-3)
    np.testing.assert_allclose(found.moving, expected.moving, atol=1e-3)
    assert found.ids == tuple(str(i) for i in range(1, LANDMARKS + 1))  # not the annotator's
    voxels = np.loadtxt(release / "landmarksTs" / f"{name}_0001.csv", delimiter=",")
    np.testing.assert_allclose(grid_of("c3").voxel_to_world(voxels), expected.moving, atol=1e-3)
    assert not (release / "landmarksTr").exists()


def test_tables_card_and_descriptions(build: tuple[Path, Path], release: Path) -> None:
    names = names_of(build[0])
    rows = {row["case"]: row for row in read_rows(release / "cases.tsv")}
    assert set(rows) == set(names.values())
    row = rows[names["c3"]]
    dense = read_cloud(release / "cloudsTs" / f"{names['c3']}_0001_dense.npz")
    assert (row["split"], row["landmarks"]) == ("test", str(LANDMARKS))
    assert row["moving_dense"] == str(len(dense))
    card = (release / "README.md").read_text()
    counts = [int(r[f"{s}_dense"]) for r in rows.values() for s in ("fixed", "moving")]
    assert f"| dense | 6 | {min(counts):,} | {max(counts):,} |" in card
    assert "2 training, 1 test" in card
    assert "No case was left out." in card
    assert "10.7937/TCIA.HMQ8-J677" in card
    assert "10.1148/rg.230180" in (release / "LICENSE").read_text()
    methods = read_json(release / "methods.json")["settings"]
    # No threads, no path.
    assert methods["vessels"] == {"backend": "objectness", "limits": {"most": LIMIT}}
    data = read_json(release / "dataset.json")
    assert data["tensorImageShape"] == {"0": list(SIZE)}
    assert data["labels"] == {"0": {"0": "background", "1": "vessel"}}
    assert (data["numPairedTraining"], data["numRegistration_test"]) == (2, 1)
    assert data["registration_direction"] == {"fixed": 0, "moving": 1}
    entries = [*data["training"], *data["test"]]
    paths = [path for entry in entries for path in entry.values()]
    pairs = [*data["training_paired_images"], *data["registration_test"]]
    paths += [path for pair in pairs for path in pair.values()]
    assert all((release / path).is_file() for path in paths)
    assert {pair["fixed"][-12:] for pair in pairs} == {"_0000.nii.gz"}
    assert {entry["image"].split("/")[1] for entry in data["training"]} == {"imagesTr"}


def test_croissant_is_valid_and_its_table_can_be_read(release: Path) -> None:
    import mlcroissant as mlc

    dataset = mlc.Dataset(release / "croissant.json")
    assert list(dataset.metadata.ctx.issues.errors) == []
    records = list(dataset.records("cases"))
    rows = read_rows(release / "cases.tsv")
    assert [r["cases/case"].decode() for r in records] == [row["case"] for row in rows]
    assert [r["cases/fixed_dense"] for r in records] == [int(row["fixed_dense"]) for row in rows]
    names = {item.name for item in dataset.metadata.distribution}
    assert {"cases.tsv", "clouds", "images", "landmarks", "viewer"} <= names


def test_viewer_files_are_read_by_vtk_as_vertices(build: tuple[Path, Path], release: Path) -> None:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    name = names_of(build[0])["b2"]
    cloud = read_cloud(release / "cloudsTr" / f"{name}_0000_dense.npz")
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(release / "viewerTr" / f"{name}_0000_dense.vtp"))
    reader.Update()
    content = reader.GetOutput()
    np.testing.assert_array_equal(vtk_to_numpy(content.GetPoints().GetData()), cloud.points)
    assert content.GetNumberOfVerts() == len(cloud)
    assert content.GetCell(3).GetPointId(0) == 3
    radius = vtk_to_numpy(content.GetPointData().GetArray("radius"))
    np.testing.assert_array_equal(radius, cloud.radius)


def test_checksums_are_those_of_sha256sum(release: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=release, check=True)
    listed = [line.split("  ")[1] for line in (release / "SHA256SUMS").read_text().splitlines()]
    assert sorted([*listed, "SHA256SUMS"]) == sorted(hashes(release))


def test_archive_holds_the_folder(release: Path) -> None:
    with zipfile.ZipFile(release.with_name("out.zip")) as archive:
        content = {
            name.removeprefix("lcsd/"): hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()
        }
    assert content == hashes(release)


@pytest.mark.slow
def test_equal_builds_are_equal_bytes(build: tuple[Path, Path], tmp_path: Path) -> None:
    """Another folder, another time, other dates in the provenance."""
    results, manifest = make_build(tmp_path / "again")
    settings = ReleaseSettings(source="nlst")
    write_release(*build, tmp_path / "one", settings)
    write_release(results, manifest, tmp_path / "two", settings)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    zips = [(tmp_path / f"{name}.zip").read_bytes() for name in ("one", "two")]
    assert zips[0] == zips[1]
    # Names stay when it is made again with another seed.
    before = names_of(results)
    write_release(results, manifest, tmp_path / "three", QUICK, seed=9)
    assert names_of(results) == before


def unpacked(name: str, content: bytes) -> list[bytes]:
    """Return all bytes in a file, by readers other than those of the search."""
    found = [name.encode(), content]
    if name.endswith(".gz"):
        image = nibabel.Nifti1Image.from_bytes(gzip.decompress(content))
        found += [bytes(image.header.binaryblock), np.asarray(image.dataobj).tobytes()]
    if name.endswith(".npz"):
        with np.load(io.BytesIO(content)) as archive:
            for key in archive.files:
                array = archive[key]
                found += [key.encode(), str(array).encode() if array.dtype.kind == "U" else array.tobytes()]
    return found


def test_no_identifier_in_any_byte(build: tuple[Path, Path], release: Path) -> None:
    secrets = [*PATIENTS.values(), *UIDS.values(), "scans/", "_2019", "marks/c3", "/opt/secret"]
    secrets += [str(build[0]), str(build[1].parent)]
    for path in sorted(release.rglob("*")):
        if path.is_file():
            for part in unpacked(str(path.relative_to(release)), path.read_bytes()):
                for secret in secrets:
                    assert secret.lower().encode() not in part.lower(), (path, secret)
    with zipfile.ZipFile(release.with_name("out.zip")) as archive:
        members = " ".join(archive.namelist())
    assert not [secret for secret in secrets if secret in members]


def test_cases_are_left_out_and_counted(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2", "c3", "bad"))
    fail_gate(results, "b2", "ratio", "inside")
    write_json(results / "cases" / "bad" / "rejected.json", {"code": "not_hu", "stage": "convert"})
    (results / "cases" / "c3" / "clouds" / "moving_dense.npz").unlink()
    write_json(results / "cases" / "other" / "rejected.json", {"code": "not_3d"})
    done = write_release(results, manifest, tmp_path / "out", QUICK)
    assert (done.train, done.test, done.left_out) == (1, 0, 4)
    rows = {row["reason"]: row["cases"] for row in read_rows(tmp_path / "out" / "left_out.tsv")}
    assert rows == {"gate_inside+gate_ratio": "1", "not_hu": "1", "unfinished": "1", "not_3d": "1"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| not_hu | 1 |" in card


@pytest.mark.slow
@pytest.mark.parametrize(("kept", "train", "flags"), [(False, 1, []), (True, 2, ["", "ratio"])])
def test_flagged_cases_are_published_only_if_the_build_keeps_them(
    tmp_path: Path, kept: bool, train: int, flags: list[str]
) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    gates = [{"name": "ratio", "of": "pair", "value": 0.5, "passed": True, "flagged": True}]
    write_json(results / "cases" / "b2" / "gates.json", {"gates": gates, "keep_flagged": kept})
    done = write_release(results, manifest, tmp_path / "out", QUICK)
    assert (done.train, done.left_out) == (train, 2 - train)
    if kept:
        assert done.gates is None
        assert [row["borderline"] for row in read_rows(tmp_path / "out" / "cases.tsv")] == flags
        return
    assert done.gates is not None
    assert "b2 (ratio)" in done.gates
    assert read_rows(tmp_path / "out" / "left_out.tsv")[0] == {"reason": "flagged_ratio", "cases": "1"}


def test_only_selected_cases_of_the_test_pool_are_published(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path)
    rows = read_rows(manifest)
    for row, role in zip(rows, ("test_pool", "test_pool", "train"), strict=True):
        row |= {"role": role, "landmarks": "", "landmarks_frame": ""}
    write_table(manifest, tuple(rows[0]), rows)
    assert choose(results, manifest).reasons() == {"test_pool_not_judged": 2}
    verdicts = [{"case": "a1", "verdict": "spare"}, {"case": "b2", "verdict": "selected"}]
    write_table(results / "cohort" / "test.tsv", ("case", "verdict"), verdicts)
    choice = choose(results, manifest)
    assert {item.case: item.split for item in choice.chosen} == {"b2": "test", "c3": "train"}
    assert choice.left_out == {"a1": "test_pool_spare"}


def test_names_are_kept_in_a_table_with_blank_lines(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    fail_gate(results, "b2", "inside")
    write_release(results, manifest, tmp_path / "one", QUICK)
    names = results / "cohort" / "names.tsv"
    names.write_text(names.read_text() + "\n\n")
    write_case_files(results, "b2")
    write_release(results, manifest, tmp_path / "two", QUICK)
    assert names_of(results) == {"a1": "lcsd_0001", "b2": "lcsd_0002"}


def test_origins_of_landmarks_are_published_and_counted(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "c3"))
    marks = tmp_path / "marks" / "c3.csv"
    given = read_point_pairs(marks)
    origin = ("manual", "predicted:corrfield") * 3 + ("",)
    write_point_pairs(marks, replace(given, origin=origin))
    out = tmp_path / "out"
    write_release(results, manifest, out, QUICK)
    (published,) = (out / "landmarksTs").glob("lcsd_????.csv")
    assert read_point_pairs(published).origin == origin
    card = (out / "README.md").read_text()
    assert "| 7 on 1 test cases; 3 manual, 3 predicted:corrfield, 1 unknown |" in card


def test_names_of_correspondences_are_not_published(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1",))
    path = results / "cases" / "a1" / "correspondences" / "correspondences.csv"
    pairs = read_point_pairs(path)
    named = replace(pairs, ids=("secret",) * len(pairs), origin=("manual",) * len(pairs))
    write_point_pairs(path, named)
    write_release(results, manifest, tmp_path / "out", QUICK)
    (published,) = (tmp_path / "out" / "correspondencesTr").iterdir()
    found = read_point_pairs(published)
    assert (found.ids, found.origin) == (None, None)
    np.testing.assert_array_equal(found.weight, pairs.weight)


def record_cloud(results: Path, case: str) -> None:
    """Say which vessels a dense cloud was made from, as its command does."""
    folder = results / "cases" / case
    output = folder / "clouds" / "fixed_dense.npz"
    inputs = {"vessels": folder / "vessels" / "fixed.nii.gz"}
    Recorder("cloud", {}, written=[output]).write(output, inputs=inputs)


def test_a_half_rebuilt_case_is_left_out(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("a1", "b2"))
    for case in ("a1", "b2"):
        record_cloud(results, case)
    assert choose(results, manifest).left_out == {}
    vessels_again(results, "b2")
    assert choose(results, manifest).left_out == {"b2": "outdated"}


def test_command_prints_counts_and_records_provenance(tmp_path: Path) -> None:
    results, manifest = make_build(tmp_path, ("b2", "c3"))
    arguments = ["release", str(results), "--manifest", str(manifest), "--threads", "1", "--json"]
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert (printed["train"], printed["test"], printed["left_out"]) == (1, 1, 0)
    assert (results / "release.zip").is_file()
    assert not (results / "release" / "imagesTr").exists()
    data = read_json(results / "release" / "dataset.json")
    assert data["training_paired_images"][0]["fixed"].startswith("./labelsTr/")
    outputs = read_json(results / "release.provenance.json")["outputs"]
    assert outputs["release.zip"] == hashlib.sha256((results / "release.zip").read_bytes()).hexdigest()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "not_empty" in again.stderr
    assert "Traceback" not in again.stderr
