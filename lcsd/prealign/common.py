"""Shared by the methods of rigid alignment: their result, grids, resampling, extents of the lung."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.errors import WorkError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, resample
from lcsd.numerics import morphology
from lcsd.settings.prealign import PrealignSettings

OUTSIDE_HU = -1024.0
"""Value where the scan has no voxel: air."""

WINDOW_HU = (-1000.0, 100.0)
"""Contrast of vessels to parenchyma; metal, bone and calcium must not outweigh it."""

ANTIALIAS = 0.42
"""Gaussian sigma per voxel of the result: its full width at half maximum is one voxel."""


@dataclass(frozen=True)
class Matches:
    """Points of the fixed scan and their matches in the moving scan, (N, 3), LPS mm, each in the space of its scan.

    ``score`` (N,) is the normalised cross-correlation of the blocks around them; ``tried`` points were searched.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]
    score: NDArray[np.float64]
    tried: int

    def require(self, least: int) -> None:
        """Raise ``WorkError`` (``too_few_matches``) if there are fewer than ``least``."""
        if len(self.fixed) < least:
            raise WorkError(
                "too few parts of the two lungs match",
                code="too_few_matches",
                expected=f"at least {least} matches",
                found=f"{len(self.fixed)} of {self.tried}",
                remedy="check that both scans show the same patient, and the lung masks",
            )

    def figures(self, rigid: RigidTransform) -> dict[str, Any]:
        """Return counts, mean score and mean distance in mm after the rigid transform."""
        residual = np.linalg.norm(rigid.apply(self.fixed) - self.moving, axis=1)
        return {
            "matches_tried": self.tried,
            "matches_kept": len(self.fixed),
            "match_score_mean": round(float(self.score.mean()), 4),
            "match_residual_mean_mm": round(float(residual.mean()), 4),
        }


@dataclass(frozen=True)
class Alignment:
    """A transform that maps fixed LPS mm to moving LPS mm, and the method's own figures for ``prealign.json``."""

    rigid: RigidTransform
    figures: dict[str, Any] = field(default_factory=dict)


def common_grid(fixed_mask: Image, settings: PrealignSettings) -> Grid:
    """Return the common grid: axis-aligned, centred on the box around the fixed lungs.

    The centre of the box, unlike the centroid, gives both sides of the lungs the same margin.
    """
    low, high = box(fixed_mask)
    return Grid.centred((low + high) / 2, size=settings.size, spacing_mm=settings.spacing_mm)


def box_grid(mask: Image, *, spacing_mm: float, margin_voxels: int) -> Grid:
    """Return an isotropic, axis-aligned grid around a mask, with a margin on each side."""
    low, high = box(mask)
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1 + 2 * margin_voxels
    return Grid.centred((low + high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=spacing_mm)


def resample_hu(scan: Image, grid: Grid, *, transform: RigidTransform | None = None) -> Image:
    """Return a scan in HU on another grid, by linear interpolation after smoothing for coarser grids.

    ``transform`` maps a point of ``grid`` to the space of ``scan``; identity by default.
    """
    transform = transform or RigidTransform.identity()
    part = _crop(scan, transform.apply(grid.corners()))
    target, source = min(grid.spacing), np.asarray(scan.grid.spacing[::-1])
    sigma = ANTIALIAS * np.sqrt(np.maximum((target / source) ** 2 - 1, 0))
    smooth = ndimage.gaussian_filter(part.array.astype(np.float32), sigma, mode="nearest")
    return resample(Image(smooth, part.grid), grid, transform=transform, outside=OUTSIDE_HU)


def _crop(scan: Image, points: NDArray[np.float64]) -> Image:
    """Return the part of the scan around LPS points, because smoothing the rest would waste time."""
    margin = np.ceil(10.0 / np.asarray(scan.grid.spacing))
    voxels = scan.grid.world_to_voxel(points)
    size = np.asarray(scan.grid.size)
    low = np.clip(np.floor(voxels.min(axis=0) - margin), 0, size - 2).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + margin), low + 1, size - 1).astype(int)
    x, y, z = (slice(a, b + 1) for a, b in zip(low, high, strict=True))
    return Image(scan.array[z, y, x], scan.grid.part(low, high - low + 1))


def world_points(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Return LPS mm of all voxels of a mask (z, y, x), shape (N, 3)."""
    return grid.voxel_to_world(np.argwhere(mask)[:, ::-1].astype(np.float64))


def row_ends(mask: Image) -> NDArray[np.float64]:
    """Return LPS mm of the first and last voxel of each row; they include the extremes of the mask.

    A convex region with both ends of a row contains the row.
    """
    place = morphology.box(mask.array, 0.0, morphology.VOXELS)
    lung = mask.array[place]
    inner = lung.copy()
    inner[:, :, 1:-1] = lung[:, :, :-2] & lung[:, :, 2:]
    inner[:, :, [0, -1]] = False
    first = np.array([part.start for part in place])
    return mask.grid.voxel_to_world((np.argwhere(lung & ~inner) + first)[:, ::-1].astype(np.float64))


def centroid(mask: Image) -> NDArray[np.float64]:
    """Return the mean position of a mask's voxels, LPS mm, shape (3,)."""
    place = morphology.box(mask.array, 0.0, morphology.VOXELS)
    lung = mask.array[place]
    middle = []
    for axis in range(2, -1, -1):
        count = lung.sum(axis=tuple(other for other in range(3) if other != axis))
        middle.append(float(np.arange(place[axis].start, place[axis].stop) @ count) / float(count.sum()))
    return np.asarray(mask.grid.voxel_to_world(np.array(middle)))


def box(mask: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and largest LPS mm of a mask's voxel centres along each axis."""
    ends = row_ends(mask)
    return ends.min(axis=0), ends.max(axis=0)
