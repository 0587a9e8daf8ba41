"""Moved clouds: residuals by brute force, which file says the motion, what is missing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.build.inventory import Inventory
from lcsd.io.fields import DisplacementField, write_field
from lcsd.io.points import Cloud, read_cloud, write_cloud
from lcsd.report.registered import registered_clouds
from tests.unit.report.conftest import GRID

MakeCase = Callable[..., Path]


def nearest(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None] - others[None], axis=-1).min(axis=1)


def test_residuals_are_distances_to_the_nearest_moving_point(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    inventory = Inventory(results)
    motion = registered_clouds(inventory.cases(None)[0], inventory)
    assert motion is not None
    assert list(motion.after) == ["divroc", "corrfield"]
    fixed = read_cloud(folder / "clouds" / "fixed_dense.npz").points
    moving = read_cloud(folder / "clouds" / "moving_dense.npz").points
    np.testing.assert_allclose(motion.before, nearest(fixed, moving), atol=1e-4)
    for moved in motion.after.values():
        # Both the written points and the field move by (1, 1, 1).
        np.testing.assert_allclose(moved.points, fixed + 1.0, atol=1e-4)
        np.testing.assert_allclose(moved.residual, nearest(fixed + 1.0, moving), atol=1e-3)


def test_field_says_the_motion_where_the_sparse_cloud_was_registered(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    sparse = read_cloud(folder / "clouds" / "fixed_keypoints.npz")
    write_cloud(folder / "registration" / "points.npz", sparse)
    vectors = np.full((*GRID.shape, 3), (0.0, 0.0, 4.0), dtype=np.float32)
    write_field(folder / "registration" / "field.nii.gz", DisplacementField(vectors, GRID))
    inventory = Inventory(results)
    motion = registered_clouds(inventory.cases(None)[0], inventory)
    assert motion is not None
    shift = motion.after["divroc"].points - motion.fixed
    np.testing.assert_allclose(shift, np.broadcast_to([0.0, 0.0, 4.0], shift.shape), atol=1e-4)
    assert inventory.problems == []


def test_points_of_another_cloud_are_named(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    write_cloud(folder / "registration" / "points.npz", Cloud(np.ones((7, 3), np.float32)))
    inventory = Inventory(results)
    motion = registered_clouds(inventory.cases(None)[0], inventory)
    assert motion is not None
    assert list(motion.after) == ["corrfield"]
    assert "another cloud" in inventory.problems[0].message


@pytest.mark.parametrize("scan", ["fixed", "moving"])
def test_without_a_cloud_there_is_no_motion(make_case: MakeCase, results: Path, scan: str) -> None:
    (make_case("a") / "clouds" / f"{scan}_dense.npz").unlink()
    inventory = Inventory(results)
    assert registered_clouds(inventory.cases(None)[0], inventory) is None
    assert inventory.problems == []


def test_field_with_nan_is_named_and_left_out(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    vectors = np.full((*GRID.shape, 3), np.nan, dtype=np.float32)
    write_field(folder / "correspondences" / "field.nii.gz", DisplacementField(vectors, GRID))
    inventory = Inventory(results)
    motion = registered_clouds(inventory.cases(None)[0], inventory)
    assert motion is not None
    assert list(motion.after) == ["divroc"]
    assert inventory.problems[0].file == "cases/a/correspondences/field.nii.gz"


def test_expected_errors_are_those_of_the_points_or_of_the_nearest_keypoints(
    make_case: MakeCase, results: Path
) -> None:
    folder = make_case("a")
    dense, sparse = (read_cloud(folder / "clouds" / f"fixed_{kind}.npz").points for kind in ("dense", "keypoints"))
    for registered in (dense, sparse):
        errors = np.linspace(0, 9, len(registered), dtype=np.float32)
        write_cloud(folder / "registration" / "points.npz", Cloud(registered + 1, expected_error_mm=errors))
        inventory = Inventory(results)
        motion = registered_clouds(inventory.cases(None)[0], inventory)
        rows = np.linalg.norm(dense[:, None] - registered[None], axis=-1).argmin(axis=1)
        np.testing.assert_allclose(motion.after["divroc"].expected, errors[rows])
        assert motion.after["corrfield"].expected is None
        assert inventory.problems == []


def test_methods_differ_by_the_distance_of_their_places(make_case: MakeCase, results: Path) -> None:
    folder = make_case("a")
    vectors = np.full((*GRID.shape, 3), (1.0, 1.0, 4.0), dtype=np.float32)
    write_field(folder / "correspondences" / "field.nii.gz", DisplacementField(vectors, GRID))
    inventory = Inventory(results)
    np.testing.assert_allclose(registered_clouds(inventory.cases(None)[0], inventory).apart(), 3.0, atol=1e-4)
    (folder / "correspondences" / "field.nii.gz").unlink()
    inventory = Inventory(results)
    assert registered_clouds(inventory.cases(None)[0], inventory).apart() is None
