"""corrfield on the lower half of a real lung: changes that must not change the motion.

The error of the whole lung is tested with the workflow, in test_right_lung.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lcsd.corrfield.correspond import find_correspondences
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image, read_image, read_mask, resample
from lcsd.io.points import read_point_pairs
from lcsd.numerics.morphology import VOXELS, box
from lcsd.prealign.prealign import prealign

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.xdist_group("invariance")]

Points = NDArray[np.float64]
BORDER = 20
"""Voxels from the border of the images that a shift or another scanner may change."""

FROM_CUT = 10
"""Voxels from the plane where the lung is cut, beyond which its motion is known."""


@dataclass(frozen=True)
class Scene:
    """A prealigned pair cut to the lower half of the lung, its motion, and points of known motion."""

    fixed: Image
    moving: Image
    mask: Image
    field: DisplacementField
    places: Points
    targets: Points

    def errors(self, field: DisplacementField) -> Points:
        return np.linalg.norm(self.places + field.at(self.places) - self.targets, axis=1)


def cut(image: Image, part: tuple[slice, ...]) -> Image:
    array = np.ascontiguousarray(image.array[part])
    corner = np.array([[float(axis.start) for axis in part[::-1]]])
    x, y, z = image.grid.voxel_to_world(corner)[0]
    depth, height, width = array.shape
    return Image(array, replace(image.grid, size=(width, height, depth), origin=(x, y, z)))


@pytest.fixture(scope="module")
def scene(real_data: Path) -> Scene:
    folder = real_data / "right_lung"
    images = [read_image(folder / f"{scan}.nii.gz") for scan in ("fixed", "moving")]
    masks = [
        read_mask(folder / f"{scan}_mask.nii.gz", like=image.grid)
        for scan, image in zip(("fixed", "moving"), images, strict=True)
    ]
    found = prealign(*images, fixed_mask=masks[0], moving_mask=masks[1])
    rows, *across = box(found.fixed_mask.array, 10, VOXELS)
    part = (slice(rows.start, (rows.start + rows.stop) // 2), *across)
    fixed, moving, mask = (cut(i, part) for i in (found.fixed, found.moving, found.fixed_mask))
    field = find_correspondences(fixed, moving, mask).field
    pairs = read_point_pairs(folder / "truth.csv")
    kept = fixed.grid.world_to_voxel(pairs.fixed)[:, 2] < fixed.grid.size[2] - FROM_CUT
    return Scene(fixed, moving, mask, field, pairs.fixed[kept], found.rigid.inverse().apply(pairs.moving[kept]))


def difference(scene: Scene, field: DisplacementField, places: Points) -> Points:
    return np.linalg.norm(scene.field.at(places) - field.at(places), axis=1)


def test_error_at_the_truth(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    errors = scene.errors(scene.field)
    figures = float(errors.mean()), float(np.median(errors)), float(np.percentile(errors, 95))
    record_property("mean_median_p95_mm", tuple(round(figure, 3) for figure in figures))
    assert figures[0] <= 0.65
    assert figures[1] <= 0.50
    assert figures[2] <= 1.6


def test_a_shift_of_both_images(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    """The same content, shifted by five voxels in arrays of the same size."""
    shift = 5

    def padded(image: Image, before: int, mode: str) -> Image:
        widths = ((before, shift - before),) * 3
        array = np.pad(image.array, widths, mode=mode)  # type: ignore[call-overload]
        depth, height, width = array.shape
        x, y, z = image.grid.voxel_to_world(np.full((1, 3), -float(before)))[0]
        grid = replace(image.grid, size=(width, height, depth), origin=(x, y, z))
        return Image(array, grid)

    one, two = (
        find_correspondences(
            padded(scene.fixed, before, "reflect"),
            padded(scene.moving, before, "reflect"),
            padded(scene.mask, before, "constant"),
        ).field
        for before in (0, shift)
    )
    voxels = scene.fixed.grid.world_to_voxel(scene.places)
    inner = ((voxels > BORDER) & (voxels < np.array(scene.fixed.grid.size) - BORDER)).all(axis=1)
    places = scene.places[inner]
    apart = np.linalg.norm(one.at(places) - two.at(places), axis=1)
    p95 = float(np.percentile(apart, 95))
    record_property("shift_p95_mm", round(p95, 4))
    assert inner.sum() > 1000
    assert p95 <= 0.1


@pytest.mark.parametrize("axis", [0, 2])
def test_a_flipped_axis(scene: Scene, axis: int, record_property: Callable[[str, object], None]) -> None:
    """Arrays stored in reverse order along z or x, with the matching grid."""

    def flipped(image: Image) -> Image:
        grid, world_axis = image.grid, 2 - axis
        last = np.zeros((1, 3))
        last[0, world_axis] = grid.size[world_axis] - 1
        x, y, z = grid.voxel_to_world(last)[0]
        direction = np.array(grid.direction).reshape(3, 3).copy()
        direction[:, world_axis] *= -1
        turned = Grid(grid.size, grid.spacing, (x, y, z), tuple(direction.ravel()))
        return Image(np.ascontiguousarray(np.flip(image.array, axis)), turned)

    field = find_correspondences(*map(flipped, (scene.fixed, scene.moving, scene.mask))).field
    mean = float(difference(scene, field, scene.places).mean())
    record_property(f"flip_{axis}_mean_mm", round(mean, 4))
    assert mean <= 0.3


def test_another_scanner_spacing(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    """Both scans resampled as from a scanner with 1.1 x 1.1 x 1.8 mm voxels."""
    grid = scene.fixed.grid
    spacing = (1.1, 1.1, 1.8)
    size = tuple(int(e / s) for e, s in zip(np.multiply(grid.size, grid.spacing), spacing, strict=True))
    other = Grid(size, spacing, grid.origin, grid.direction)  # type: ignore[arg-type]

    def rescanned(image: Image) -> Image:
        return resample(resample(image, other), grid)

    field = find_correspondences(rescanned(scene.fixed), rescanned(scene.moving), scene.mask).field
    mean = float(difference(scene, field, scene.places).mean())
    record_property("spacing_mean_mm", round(mean, 4))
    assert mean <= 0.5


def test_identical_images_do_not_move(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    field = find_correspondences(scene.fixed, scene.fixed, scene.mask).field
    length = np.linalg.norm(field.at(scene.places), axis=1)
    record_property("identical_median_max_mm", (float(np.median(length)), float(length.max())))
    assert np.median(length) <= 0.05
    assert length.max() <= 0.5


def test_intensity_scale_and_offset_of_one_image(scene: Scene, record_property: Callable[[str, object], None]) -> None:
    changed = Image((0.8 * scene.moving.array + 120).astype(np.float32), scene.moving.grid)
    field = find_correspondences(scene.fixed, changed, scene.mask).field
    ratio = float(scene.errors(field).mean() / scene.errors(scene.field).mean())
    record_property("intensity_error_ratio", round(ratio, 4))
    assert ratio < 1.1
