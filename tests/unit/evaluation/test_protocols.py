"""Protocols by name: what each measures, needs and refuses, from the command to the tables."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner, Result
from scipy.ndimage import map_coordinates

from lcsd.cli.main import main
from lcsd.errors import BadInputError
from lcsd.evaluation.evaluate import evaluate_tre
from lcsd.evaluation.learn2reg_figures import LabelMaps, sdlogj
from lcsd.evaluation.lung250m import Lung250mGrids, spline_displacements
from lcsd.evaluation.protocols import Protocol
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, write_image
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.transforms.learn2reg import VoxelDisplacements
from tests.grids import GRIDS

SIZE = (24, 20, 18)
GRID = Grid(SIZE, (1.0, 1.0, 1.0), (-12.0, 4.0, -30.0))
NAMES = ("lung250m", "learn2reg", "dirlab")


def pairs(count: int, seed: int) -> PointPairs:
    rng = np.random.default_rng(seed)
    fixed = GRID.voxel_to_world(rng.uniform(2, np.asarray(SIZE) - 3, size=(count, 3)))
    return PointPairs(fixed, fixed + [1.5, -1.0, 2.0] + 0.3 * np.sin(fixed / 4))


def disp() -> VoxelDisplacements:
    rng = np.random.default_rng(5)
    return VoxelDisplacements(rng.normal(scale=0.2, size=(*SIZE, 3)).astype(np.float32), GRID, GRID)


def test_lung250m_is_the_spline_of_the_keypoints_in_voxels() -> None:
    landmarks, keypoints = pairs(15, 0), pairs(80, 1)
    result = evaluate_tre(
        landmarks, correspondences=keypoints, protocol=Protocol("lung250m", Lung250mGrids(GRID, GRID))
    )
    at = GRID.world_to_voxel(landmarks.fixed)
    motion = spline_displacements(GRID.world_to_voxel(keypoints.fixed), GRID.world_to_voxel(keypoints.moving), at, SIZE)
    expected = np.linalg.norm(at + motion - GRID.world_to_voxel(landmarks.moving), axis=1)
    np.testing.assert_allclose(result.tre, expected, atol=1e-9)
    figures = result.figures()
    assert (figures["protocol"], figures["extrapolation"], figures["sdlogj"]) == ("lung250m", "lung250m", None)
    assert {row["protocol"] for row in result.rows()} == {"lung250m"}
    ours = evaluate_tre(landmarks, correspondences=keypoints)
    assert ours.figures()["protocol"] is None
    assert np.abs(ours.tre - result.tre).max() > 1e-3


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_learn2reg_errors_and_figures_are_those_of_its_program(grid: Grid) -> None:
    rng = np.random.default_rng(6)
    vectors = rng.normal(scale=0.3, size=(*grid.size, 3)).astype(np.float32)
    fixed, moving = (rng.uniform(0, np.asarray(grid.size) - 1, size=(20, 3)) for _ in range(2))
    landmarks = PointPairs(grid.voxel_to_world(fixed), grid.voxel_to_world(moving))
    field = VoxelDisplacements(vectors, grid, grid)
    mask = Image(np.ones(grid.shape, dtype=np.uint8), grid)
    result = evaluate_tre(landmarks, disp=field, mask=mask, protocol=Protocol("learn2reg"))
    shift = np.stack([map_coordinates(vectors[..., c], fixed.T) for c in range(3)], axis=1)
    expected = np.linalg.norm((fixed + shift - moving) * grid.spacing, axis=1)
    np.testing.assert_allclose(result.tre, expected, rtol=1e-6)
    figures = result.figures()
    assert figures["sdlogj"] == pytest.approx(sdlogj(vectors))
    assert (figures["dice"], figures["protocol"]) == (None, "learn2reg")


def test_dirlab_errors_are_between_voxel_centres() -> None:
    moving_grid = Grid((10, 9, 8), (2.0, 2.5, 3.0), (-14.0, 0.0, -32.0))
    rng = np.random.default_rng(7)
    fixed = GRID.voxel_to_world(rng.uniform(4, 14, size=(12, 3)))
    field = DisplacementField(np.full((*GRID.shape, 3), (0.4, 0.3, -0.2), dtype=np.float32), GRID)
    ends = moving_grid.voxel_to_world(np.rint(moving_grid.world_to_voxel(fixed)))
    result = evaluate_tre(PointPairs(fixed, ends), field=field, snap=moving_grid, protocol=Protocol("dirlab"))
    voxels = np.rint(moving_grid.world_to_voxel(fixed + np.float32([0.4, 0.3, -0.2])))
    expected = np.linalg.norm((voxels - moving_grid.world_to_voxel(ends)) * moving_grid.spacing, axis=1)
    np.testing.assert_allclose(result.tre, expected, atol=1e-6)
    assert (result.protocol, result.snapped) == ("dirlab", True)


REFUSED: list[tuple[Protocol, dict[str, Any], str]] = [
    (Protocol("lung250m", Lung250mGrids(GRID, GRID)), {"disp": disp()}, "--correspondences"),
    (Protocol("lung250m"), {"correspondences": pairs(30, 1)}, "--grid"),
    (Protocol("learn2reg"), {"correspondences": pairs(30, 1)}, "--disp"),
    (Protocol("learn2reg"), {"disp": disp(), "snap": GRID}, "no --snap"),
    (Protocol("dirlab"), {"disp": disp()}, "--snap"),
    (
        Protocol("dirlab", labels=LabelMaps(Image(np.ones(GRID.shape), GRID), Image(np.ones(GRID.shape), GRID))),
        {"disp": disp(), "snap": GRID},
        "label maps",
    ),
]


@pytest.mark.parametrize(("protocol", "given", "said"), REFUSED)
def test_protocol_refuses_what_it_does_not_score(protocol: Protocol, given: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInputError, match=r"\[protocol_input\]") as caught:
        evaluate_tre(pairs(10, 0), **given, protocol=protocol)
    assert said in caught.value.message


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_point_pairs(tmp_path / "landmarks.csv", pairs(10, 0))
    write_point_pairs(tmp_path / "keypoints.csv", pairs(60, 1))
    volume = np.zeros(GRID.shape, dtype=np.int16)
    write_image(tmp_path / "fixed.nii.gz", Image(volume, GRID), dtype=np.int16)
    volume[4:12, 4:12, 4:12] = 1
    write_image(tmp_path / "labels.nii.gz", Image(volume, GRID), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(disp().vectors, GRID.affine_ras()), tmp_path / "disp_0001_0001.nii.gz")
    return tmp_path


def run(folder: Path, *options: str) -> Result:
    shown = [str(folder / word) if "." in word else word for word in options]
    return CliRunner().invoke(main, ["evaluate", "--landmarks", str(folder / "landmarks.csv"), *shown])


def test_command_names_the_protocol_in_json_and_table(files: Path) -> None:
    given = {
        "lung250m": ("--correspondences", "keypoints.csv", "--grid", "fixed.nii.gz"),
        "learn2reg": ("--disp", "disp_0001_0001.nii.gz"),
        "dirlab": ("--disp", "disp_0001_0001.nii.gz", "--snap", "fixed.nii.gz"),
    }
    for name, options in given.items():
        result = run(files, "--protocol", name, *options, "--out", f"{name}.json", "--table", f"{name}.csv")
        assert result.exit_code == 0, result.output
        assert json.loads((files / f"{name}.json").read_text())["protocol"] == name
        rows = (files / f"{name}.csv").read_text().splitlines()
        assert rows[0].endswith(",protocol")
        assert all(row.endswith(f",{name}") for row in rows[1:])
    figures = json.loads((files / "learn2reg.json").read_text())
    assert figures["sdlogj"] == pytest.approx(sdlogj(disp().vectors), rel=1e-6)


def test_command_scores_label_maps_in_pairs_only(files: Path) -> None:
    field = ("--disp", "disp_0001_0001.nii.gz", "--fixed-labels", "labels.nii.gz")
    both = (*field, "--moving-labels", "labels.nii.gz")
    result = run(files, "--protocol", "learn2reg", *both, "--json")
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["dice"] > 0.9
    assert figures["hd95_voxels"] is not None
    for options in (("--protocol", "learn2reg", *field), both):
        result = run(files, *options)
        assert result.exit_code == 2
        assert "--fixed-labels, --moving-labels" in result.stderr


def test_grid_of_correspondences_is_for_lung250m_only(files: Path) -> None:
    result = run(files, "--correspondences", "keypoints.csv", "--grid", "fixed.nii.gz")
    assert result.exit_code == 2
    assert "--protocol lung250m" in result.stderr
