"""Lung250M-4B and Learn2Reg: small folders in their layouts, with known positions, and what is missing or hostile."""

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from lcsd.build.pairs import read_pairs
from lcsd.io.files import sha256
from lcsd.io.images import read_image
from lcsd.io.points import read_cloud, read_point_pairs
from tests.unit.importers.calls import refused, rows_of, run

SIZE = (12, 10, 9)
MM = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS axes
MM[:3, 3] = 40.0, 30.0, -20.0
VOXELS = np.array([[1.0, 2.0, 3.0], [8.5, 7.25, 6.0], [4.0, 4.0, 4.0]])
SHIFT = np.array([1.0, 0.5, -1.0])


def image(path: Path, *, affine: np.ndarray = MM, value: int = -800) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.full(SIZE, value, dtype=np.int16), affine), path)


def save(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def clouds(seed: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(0, 16, size=(count, 3)) / 2) for count in (5, 9, 14)]


@pytest.fixture
def lung250m(tmp_path: Path) -> Path:
    """Case 001 with images and clouds, case 104 of the test part without images."""
    source = tmp_path / "Lung250M-4B"
    for number in ("1", "2"):
        image(source / "imagesTr" / f"case_001_{number}.nii.gz")
        image(source / "masksTr" / f"001_{number}.nii.gz", value=1)
        image(source / "segTr" / f"case_001_{number}.nii.gz", value=2)
        for part, case in (("Tr", "001"), ("Ts", "104")):
            cloud = clouds(int(number))
            save(source / f"clouds{part}" / "coordinates" / f"case_{case}_{number}.pth", cloud)
            labels = [torch.full((len(points),), row + 1.0) for row, points in enumerate(cloud)]
            save(source / f"clouds{part}" / "artery_vein" / f"case_{case}_{number}.pth", labels)
            save(source / f"clouds{part}" / "distance" / f"case_{case}_{number}.pth", [np.ones(3)] * 3)
    (source / "corrfieldTr").mkdir()
    np.savetxt(source / "corrfieldTr" / "case_001.csv", np.hstack([VOXELS, VOXELS + SHIFT]), "%.3f", delimiter=",")
    pairs = torch.from_numpy(np.hstack([VOXELS, VOXELS + SHIFT]))
    save(source / "evaluation" / "lms_validation.pth", {"1": pairs, "104": pairs[:2], "113": pairs})
    # Metadata of another system, and predictions of a method, are not files of the dataset.
    (source / "imagesTr" / "._case_001_1.nii.gz").write_bytes(b"\0")
    (source / "predict_vxmpp").mkdir()
    (source / "predict_vxmpp" / "case_001.csv").write_text("1,2,3,4,5,6\n")
    return source


def lps(voxels: np.ndarray) -> np.ndarray:
    return voxels + np.array([-40.0, -30.0, -20.0])


def test_lung250m_becomes_a_manifest_and_clouds_in_one_space(lung250m: Path) -> None:
    out = lung250m.parent / "out"
    result = run("lung250m", lung250m, out, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert (figures["cases"], figures["with_images"], figures["with_landmarks"]) == (2, 1, 2)
    assert figures["case_001_mean_distance_mm"] == pytest.approx(1.5)
    (pair,) = read_pairs(out / "pairs.tsv")
    assert (pair.case, pair.role, pair.fixed_time, pair.landmarks_frame) == ("case_001", "train", "inhale", "native")
    assert pair.landmarks is not None
    landmarks = read_point_pairs(pair.landmarks)
    np.testing.assert_allclose(landmarks.fixed, lps(VOXELS), atol=1e-4)
    np.testing.assert_allclose(landmarks.moving, lps(VOXELS + SHIFT), atol=1e-4)
    assert landmarks.origin == ("manual",) * 3
    for name in (pair.fixed_source, pair.moving_source):
        np.testing.assert_allclose(read_image(Path(name)).grid.origin, [-40.0, -30.0, -20.0])
    assert (pair.fixed_mask, pair.fixed_vessels) == (
        str(out / "cases/case_001/fixed_mask.nii.gz"),
        out / "cases/case_001/fixed_vessels.nii.gz",
    )
    rows = rows_of(out / "clouds.tsv")
    assert [(row["case"], row["role"], row["moving_time"]) for row in rows] == [
        ("case_001", "train", "exhale"),
        ("case_104", "test", "exhale"),
    ]
    cloud = read_cloud(out / rows[0]["moving_cloud"])
    np.testing.assert_allclose(cloud.points, lps(clouds(2)[1].numpy()), atol=1e-4)
    assert cloud.label is not None
    assert set(cloud.label) == {2}
    matches = read_point_pairs(out / rows[0]["correspondences"])
    np.testing.assert_allclose(matches.moving - matches.fixed, np.tile(SHIFT, (3, 1)), atol=1e-3)
    # Without an image, voxels are mm.
    np.testing.assert_allclose(read_cloud(out / rows[1]["fixed_cloud"]).points, clouds(1)[1].numpy())
    assert len(read_point_pairs(out / rows[1]["landmarks"])) == 2
    assert "1 cases have no image" in result.stderr


def test_zip_and_folder_of_lung250m_give_the_same_bytes(lung250m: Path) -> None:
    packed = lung250m.parent / "all.zip"
    with zipfile.ZipFile(packed, "w") as content:
        for path in lung250m.rglob("*.*"):
            content.write(path, path.relative_to(lung250m.parent))
    a, b = lung250m.parent / "a", lung250m.parent / "b"
    assert run("lung250m", lung250m, a, "--cloud", "8k").exit_code == 0
    result = run("lung250m", packed, b, "--cloud", "8k")
    assert result.exit_code == 0, result.output
    names = sorted(p.relative_to(a) for p in a.rglob("*.*") if "provenance" not in p.name)
    assert len(names) == 2 + 6 + 2 * 2 + 3  # tables, volumes, clouds, landmarks of two cases and keypoints
    assert [sha256(a / name) for name in names] == [sha256(b / name) for name in names]
    assert len(read_cloud(b / "cases" / "case_104" / "fixed.npz")) == 5


def test_cases_of_lung250m_can_be_chosen_and_other_voxels_are_said(lung250m: Path) -> None:
    out = lung250m.parent / "out"
    assert run("lung250m", lung250m, out, "--cases", "104").exit_code == 0
    assert [row["case"] for row in rows_of(out / "clouds.tsv")] == ["case_104"]
    assert not (out / "pairs.tsv").exists()
    refused("unknown_case", run("lung250m", lung250m, out.with_name("no"), "--cases", "4"), out.with_name("no"))
    error = run("lung250m", lung250m, out.with_name("no"), "--cases", "055")
    assert "case_055" in refused("incomplete_case", error, out.with_name("no"))
    for number in "12":
        image(lung250m / "imagesTr" / f"case_001_{number}.nii.gz", affine=MM @ np.diag([2.0, 1.0, 1.0, 1.0]))
    result = run("lung250m", lung250m, out.with_name("other"))
    assert "warning: case_001 has voxels of 2 x 1 x 1 mm" in result.stderr


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("imagesTr/case_001_2.nii.gz", "moving image"),
        ("masksTr/001_1.nii.gz", "fixed mask"),
        ("cloudsTs/coordinates/case_104_1.pth", "fixed cloud"),
        ("cloudsTs/artery_vein/case_104_2.pth", "moving labels"),
    ],
)
def test_missing_files_of_lung250m_are_named(lung250m: Path, gone: str, said: str) -> None:
    (lung250m / gone).unlink()
    out = lung250m.parent / "out"
    assert f"no {said}" in refused("incomplete_case", run("lung250m", lung250m, out), out)


def test_folder_without_cases_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for dataset in ("lung250m", "learn2reg"):
        refused("no_cases", run(dataset, tmp_path / "empty", tmp_path / "out"), tmp_path / "out")


class Hostile:
    """A pickle that would make a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["cloudsTr/coordinates/case_001_1.pth", "evaluation/lms_validation.pth"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_with_code_is_refused_and_the_code_does_not_run(lung250m: Path, name: str, *, zipped: bool) -> None:
    out, mark = lung250m.parent / "out", lung250m.parent / "mark"
    content = [Hostile(mark)] * 3
    if zipped:
        torch.save(content, lung250m / name)
    else:
        (lung250m / name).write_bytes(pickle.dumps(content, protocol=2))
    assert "found pickled code" in refused("bad_torch_file", run("lung250m", lung250m, out), out)
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        torch.ones(4, 3),
        [torch.ones(4, 3)] * 2,
        [torch.ones(4, 3), torch.ones(4, 2), torch.ones(4, 3)],
        [torch.ones(4, 3), torch.full((4, 3), torch.nan), torch.ones(4, 3)],
        [torch.ones(4, 3), torch.ones(0, 3), torch.ones(4, 3)],
        [torch.ones(4, 3), "x", torch.ones(4, 3)],
        {"points": torch.ones(4, 3)},
    ],
)
def test_other_contents_of_pth_are_refused(lung250m: Path, content: object) -> None:
    save(lung250m / "cloudsTr" / "coordinates" / "case_001_1.pth", content)
    out = lung250m.parent / "out"
    refused("bad_torch_file", run("lung250m", lung250m, out), out)


def test_landmarks_and_labels_that_do_not_fit_are_refused(lung250m: Path) -> None:
    out = lung250m.parent / "out"
    save(lung250m / "cloudsTr" / "artery_vein" / "case_001_1.pth", [torch.ones(3)] * 3)
    assert "different lengths" in refused("bad_torch_file", run("lung250m", lung250m, out), out)
    save(lung250m / "evaluation" / "lms_validation.pth", {"1": torch.full((2, 6), 50.0)})
    assert "case_001, fixed" in refused("landmark_outside", run("lung250m", lung250m, out), out)
    save(lung250m / "evaluation" / "lms_validation.pth", {"one": torch.ones(2, 6)})
    refused("bad_torch_file", run("lung250m", lung250m, out), out)


def task(folder: Path, name: str, *, subjects: int = 3, listed: bool = True) -> Path:
    """A task like NLST: pairs listed, keypoints and masks for all, landmarks for the last, which is for validation."""
    entries, pairs = [], []
    for subject in range(1, subjects + 1):
        stems = [f"{name}_{subject:04d}_{scan:04d}" for scan in (0, 1)]
        for scan, stem in enumerate(stems):
            image(folder / "imagesTr" / f"{stem}.nii.gz")
            image(folder / "masksTr" / f"{stem}.nii.gz", value=1)
            entries.append({"image": f"./imagesTr/{stem}.nii.gz", "mask": f"./masksTr/{stem}.nii.gz"})
            kinds = ["keypoints", *(["landmarks"] if subject == subjects else [])]
            for kind in kinds:
                (folder / f"{kind}Tr").mkdir(exist_ok=True)
                np.savetxt(folder / f"{kind}Tr" / f"{stem}.csv", VOXELS + scan * SHIFT, "%.3f", delimiter=",")
                # Some tasks list their tables with the ending of an image.
                entries[-1][kind] = f"./{kind}Tr/{stem}.{'csv' if scan else 'nii.gz'}"
        pairs.append({s: f"./imagesTr/{stem}.nii.gz" for s, stem in zip(("fixed", "moving"), stems, strict=True)})
    content: dict[str, Any] = {"name": name, "training": entries, "test": []}
    if listed:
        content |= {"tensorImageShape": {"0": list(SIZE)}, "img_shift": {"fixed": "exhale", "moving": "inhale"}}
        content |= {"training_paired_images": pairs, "registration_val": pairs[-1:]}
    (folder / f"{name}_dataset.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize(("name", "listed"), [("NLST", True), ("LungCT_CT", False)])
def test_task_becomes_a_manifest(tmp_path: Path, name: str, *, listed: bool) -> None:
    source, out = task(tmp_path / name, name, listed=listed), tmp_path / "out"
    result = run("learn2reg", source, out, "--json")
    assert result.exit_code == 0, result.output
    pairs = read_pairs(out / "pairs.tsv")
    assert [pair.case for pair in pairs] == [f"{name}_000{n}" for n in (1, 2, 3)]
    assert [pair.role for pair in pairs] == ["train", "train", "test" if listed else "train"]
    assert {pair.fixed_time for pair in pairs} == {"exhale" if listed else ""}
    assert [pair.landmarks is not None for pair in pairs] == [False, False, True]
    assert pairs[2].landmarks is not None
    landmarks = read_point_pairs(pairs[2].landmarks)
    np.testing.assert_allclose(landmarks.fixed, lps(VOXELS), atol=1e-4)
    np.testing.assert_allclose(landmarks.moving, lps(VOXELS + SHIFT), atol=1e-4)
    assert json.loads(result.stdout)["mean_distance_mm"] == pytest.approx(1.5)
    for pair in pairs:
        assert pair.moving_mask is not None
        assert read_image(Path(pair.moving_mask)).array.min() == 1
        assert read_image(Path(pair.fixed_source)).grid.size == SIZE


def test_task_can_be_scored_at_keypoints_which_name_their_origin(tmp_path: Path) -> None:
    source, out = task(tmp_path / "NLST", "NLST"), tmp_path / "out"
    assert run("learn2reg", source, out, "--score-at", "keypoints").exit_code == 0
    for pair in read_pairs(out / "pairs.tsv"):
        assert pair.landmarks is not None
        assert pair.landmarks.name == "keypoints.csv"
        assert set(read_point_pairs(pair.landmarks).origin or ()) == {"predicted:corrfield"}


def test_other_pairs_than_first_and_second_scan_keep_all_numbers(tmp_path: Path) -> None:
    source, out = task(tmp_path / "T", "Thorax"), tmp_path / "out"
    content = json.loads((source / "Thorax_dataset.json").read_text())
    turned = [{"fixed": pair["moving"], "moving": pair["fixed"]} for pair in content["training_paired_images"]]
    content |= {"training_paired_images": turned[:2], "registration_val": []}
    (source / "Thorax_dataset.json").write_text(json.dumps(content))
    assert run("learn2reg", source, out).exit_code == 0
    assert [p.case for p in read_pairs(out / "pairs.tsv")] == [
        "Thorax_0001_0001_0001_0000",
        "Thorax_0002_0001_0002_0000",
    ]


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("imagesTr/NLST_0002_0001.nii.gz", "no imagesTr/NLST_0002_0001.nii.gz"),
        ("masksTr/NLST_0001_0000.nii.gz", "no masksTr/NLST_0001_0000.nii.gz"),
        ("keypointsTr/NLST_0003_0000.csv", "no keypointsTr/NLST_0003_0000.csv"),
    ],
)
def test_missing_files_of_a_task_are_named(tmp_path: Path, gone: str, said: str) -> None:
    source, out = task(tmp_path / "NLST", "NLST"), tmp_path / "out"
    (source / gone).unlink()
    assert said in refused("incomplete_case", run("learn2reg", source, out), out)


def test_unlisted_table_of_one_scan_is_named(tmp_path: Path) -> None:
    source, out = task(tmp_path / "NLST", "NLST"), tmp_path / "out"
    (source / "landmarksTr" / "NLST_0001_0001.csv").write_text("1,2,3\n")
    assert "landmarks of NLST_0001_0000.nii.gz" in refused("incomplete_case", run("learn2reg", source, out), out)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"training_paired_images": [{"fixed": "../a/NLST_0001_0000.nii.gz", "moving": "b"}]}, "bad_dataset"),
        ({"training_paired_images": [{"fixed": "./imagesTr/NLST_0001_0000.nii.gz"}]}, "bad_dataset"),
        ({"training_paired_images": [{"fixed": "./a.nii.gz", "moving": "./b.nii.gz"}]}, "bad_dataset"),
        ({"training": ["x"]}, "bad_dataset"),
        ({"training_paired_images": [], "registration_val": [], "training": []}, "bad_dataset"),
        ({"training_paired_images": 5}, "bad_dataset"),
        ({"tensorImageShape": {"0": "x"}}, "bad_dataset"),
        ({"tensorImageShape": {"0": [224, 192, 224]}}, "bad_size"),
    ],
)
def test_broken_dataset_json_is_refused(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    source, out = task(tmp_path / "NLST", "NLST"), tmp_path / "out"
    path = source / "NLST_dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    refused(code, run("learn2reg", source, out), out)


def test_points_outside_and_two_tasks_are_refused(tmp_path: Path) -> None:
    source, out = task(tmp_path / "NLST", "NLST"), tmp_path / "out"
    (source / "keypointsTr" / "NLST_0001_0000.csv").write_text("1,2,3\n1,2,300\n1,2,3\n")
    assert "NLST_0001_0000.csv" in refused("landmark_outside", run("learn2reg", source, out), out)
    (source / "OASIS_dataset.json").write_text("{}")
    refused("duplicate_file", run("learn2reg", source, out), out)


@pytest.mark.parametrize("dataset", ["lung250m", "learn2reg"])
def test_a_folder_without_a_case_is_named(dataset: str, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    done = run(dataset, tmp_path / "other", tmp_path / "out")
    assert str(tmp_path / "other") in refused("no_cases", done, tmp_path / "out")
