"""Figures of the Learn2Reg challenge beside the error at landmarks: SDlogJ, Dice and HD95."""

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.transforms.learn2reg import VoxelDisplacements

OFFSET = 3.0
"""The challenge adds this to the determinant, so that the logarithm exists where the field folds."""

LIMITS = (1e-9, 1e9)
"""To which it clips the sum."""

BORDER = 2  # voxels at each side that it leaves out
PERCENT = 95.0
FULL = 255  # pattern of eight voxels that are all inside


@dataclass(frozen=True)
class LabelMaps:
    """Label maps of both images."""

    fixed: Image
    moving: Image


@dataclass(frozen=True)
class Learn2RegFigures:
    """Figures of one case; None if there is no label map, or no label in both of them."""

    sdlogj: float
    dice: float | None  # mean over the labels, 0 to 1
    hd95_voxels: float | None  # mean over the labels, voxels; also None if a label is warped away


def learn2reg_figures(
    disp: VoxelDisplacements, *, mask: Image | None = None, labels: LabelMaps | None = None
) -> Learn2RegFigures:
    """Return the challenge's figures of a field; see docs/evaluation.md.

    ``mask`` (z, y, x) is that of the fixed image. Raises ``BadInputError`` if mask or labels have another grid than
    their image (``grid_mismatch``), if labels are not whole numbers (``bad_labels``), and for a field of fewer than
    five voxels along an axis (``small_grid``).
    """
    inside = None if mask is None else _on_grid(mask, disp.fixed, "--mask")
    dice_mean: float | None = None
    hd95: float | None = None
    if labels is not None:
        fixed = _labels(labels.fixed, disp.fixed, "--fixed-labels")
        moving = _labels(labels.moving, disp.moving, "--moving-labels")
        found = [*_scores(fixed, moving, warped(moving, disp.vectors))]
        if found:
            overlap, apart = (float(np.mean(column)) for column in zip(*found, strict=True))
            dice_mean, hd95 = overlap, apart if np.isfinite(apart) else None
    return Learn2RegFigures(sdlogj(disp.vectors, None if inside is None else inside != 0), dice_mean, hd95)


def _on_grid(image: Image, grid: Grid, name: str) -> NDArray[np.generic]:
    """Return an array in the order x, y, z; refuse another number of voxels than that of the grid."""
    if image.grid.size != grid.size:
        raise BadInputError(
            "the image has another grid than the field",
            code="grid_mismatch",
            field=name,
            expected=" x ".join(map(str, grid.size)),
            found=" x ".join(map(str, image.grid.size)),
            remedy="resample it to the grid of its scan (lcsd warp --reference)",
        )
    return image.array.transpose(2, 1, 0)


def _labels(image: Image, grid: Grid, name: str) -> NDArray[np.int64]:
    array = _on_grid(image, grid, name)
    whole = array.astype(np.int64)
    if (whole != array).any() or (whole < 0).any():
        raise BadInputError(
            "a label map holds whole numbers from 0",
            code="bad_labels",
            field=name,
            found=f"values from {array.min():g} to {array.max():g}, some of them not whole or negative",
            remedy="resample label maps with nearest neighbours",
        )
    return whole


def sdlogj(vectors: NDArray[np.floating], inside: NDArray[np.bool_] | None = None) -> float:
    """Return the standard deviation of ``log(clip(det J + 3, 1e-9, 1e9))`` of voxel displacements (X, Y, Z, 3).

    Central differences in voxels; two voxels at each border are left out. ``inside`` (X, Y, Z) limits the voxels. The
    population standard deviation. Raises ``BadInputError`` for fewer than five voxels along an axis (``small_grid``)
    or no voxel inside (``empty_mask``).
    """
    size = vectors.shape[:3]
    if min(size) <= 2 * BORDER:
        raise BadInputError(
            "the field is too small for SDlogJ",
            code="small_grid",
            expected=f">= {2 * BORDER + 1} voxels along each axis",
            found=" x ".join(map(str, size)),
        )
    parts = []
    # A slab of one row at a time: nine derivatives of a whole field would take a gigabyte.
    for x in range(BORDER, size[0] - BORDER):
        slab = vectors[x - 1 : x + 2, 1:-1, 1:-1].astype(np.float64)
        rows = [
            (slab[2] - slab[0])[1:-1, 1:-1],
            (slab[1, 2:] - slab[1, :-2])[:, 1:-1],
            slab[1][1:-1, 2:] - slab[1][1:-1, :-2],
        ]
        determinant = np.linalg.det(np.stack(rows, axis=-2) / 2 + np.eye(3))
        values = np.log(np.clip(determinant + OFFSET, *LIMITS))
        keep = slice(BORDER, -BORDER)
        parts.append(values.ravel() if inside is None else values[inside[x, keep, keep]])
    values = np.concatenate(parts)
    if not len(values):
        raise BadInputError("no voxel of the mask is in the field", code="empty_mask", field="--mask")
    return float(values.std())


def warped(moving: NDArray[np.int64], vectors: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the moving labels at ``v + d(v)`` of each fixed voxel, by nearest neighbours; 0 outside."""
    from scipy.ndimage import map_coordinates

    result = np.empty(vectors.shape[:3], dtype=np.int64)
    y, z = np.meshgrid(*(np.arange(n) for n in vectors.shape[1:3]), indexing="ij")
    for x in range(len(result)):
        places = np.stack([np.full_like(y, x), y, z]) + vectors[x].astype(np.float64).transpose(2, 0, 1)
        result[x] = map_coordinates(moving, places, order=0)
    return result


def _scores(
    fixed: NDArray[np.int64], moving: NDArray[np.int64], moved: NDArray[np.int64]
) -> Iterable[tuple[float, float]]:
    """Yield Dice and HD95 of each label that both maps have."""
    for label in np.intersect1d(fixed[fixed > 0], moving[moving > 0]):
        yield dice(fixed == label, moved == label), robust_hausdorff(fixed == label, moved == label)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return ``2 |A and B| / (|A| + |B|)`` of two sets of voxels, not both empty."""
    return float(2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second)))


@functools.cache
def pattern_areas() -> NDArray[np.float64]:
    """Return the area of the surface in a cube of eight voxels, in squared voxels, by pattern, shape (256,).

    Bit ``4 i + 2 j + k`` of a pattern is voxel (i, j, k). Triangles of marching cubes (Lorensen and Cline, Computer
    Graphics 21 (1987) 163), of the pattern or its complement, whichever has fewer voxels inside; corners of voxels
    are 1 apart.
    """
    from vtkmodules.util.numpy_support import numpy_to_vtk, vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkMarchingCubes

    areas = np.zeros(FULL + 1)
    for pattern in range(1, FULL):
        shown = pattern if pattern.bit_count() <= 4 else FULL - pattern
        values = np.zeros((2, 2, 2))
        for i, j, k in itertools.product((0, 1), repeat=3):
            values[i, j, k] = shown >> (4 * i + 2 * j + k) & 1
        image = vtkImageData()
        image.SetDimensions(2, 2, 2)
        image.GetPointData().SetScalars(numpy_to_vtk(values.ravel(order="F"), deep=1))
        surface = vtkMarchingCubes()
        surface.SetInputData(image)
        surface.SetValue(0, 0.5)
        surface.Update()
        points = vtk_to_numpy(surface.GetOutput().GetPoints().GetData()).astype(np.float64)
        corners = points[vtk_to_numpy(surface.GetOutput().GetPolys().GetConnectivityArray()).reshape(-1, 3)]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        areas[pattern] = np.linalg.norm(cross, axis=1).sum() / 2
    return areas


def _patterns(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return the pattern of the eight voxels around each corner of voxels, shape (X + 1, Y + 1, Z + 1)."""
    padded = np.pad(inside, 1)
    counts = tuple(n - 1 for n in padded.shape)
    found = np.zeros(counts, dtype=np.uint8)
    for i, j, k in itertools.product((0, 1), repeat=3):
        part = padded[i : i + counts[0], j : j + counts[1], k : k + counts[2]]
        found |= part.astype(np.uint8) << (4 * i + 2 * j + k)
    return found


def robust_hausdorff(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """Return the 95 % Hausdorff distance of two sets of voxels, in voxels; infinite if one is empty.

    Surface elements are the corners of voxels around which some but not all of eight voxels are inside. Each counts
    with the area of its surface (:func:`pattern_areas`). Of the distances of all elements to the nearest element of
    the other set, sorted, the one at which 95 % of the area is reached; the larger of both directions.
    """
    from scipy.ndimage import distance_transform_edt

    if not (first.any() and second.any()):
        return float("inf")
    patterns = [_patterns(part) for part in (first, second)]
    borders = [(part != 0) & (part != FULL) for part in patterns]
    # Distances need only the box around both surfaces.
    where = np.argwhere(borders[0] | borders[1])
    box = tuple(slice(low, high + 1) for low, high in zip(where.min(axis=0), where.max(axis=0), strict=True))
    patterns, borders = [part[box] for part in patterns], [part[box] for part in borders]
    found = []
    for one, other in ((0, 1), (1, 0)):
        apart = distance_transform_edt(~borders[other])[borders[one]]
        areas = pattern_areas()[patterns[one][borders[one]]]
        # As in the challenge, equal distances are sorted by area.
        order = np.lexsort((areas, apart))
        reached = np.cumsum(areas[order]) / areas.sum()
        place = min(int(np.searchsorted(reached, PERCENT / 100)), len(apart) - 1)
        found.append(float(apart[order][place]))
    return max(found)
