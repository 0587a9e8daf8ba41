"""Align two lung masks rigidly, and measure their overlap.

Both masks are averaged to about the working spacing and smoothed. Gauss-Newton steps on the squared difference
(Baker and Matthews, *Lucas-Kanade 20 years on*, IJCV 56, 2004: inverse compositional) align them, from strong
smoothing to weak. Beyond a face of a scan that cuts the lung, the mask is unknown and does not count. Beyond a
face without lung there is no lung, so the lower lung of a deep breath still counts against a shallow breath.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, from_sitk, to_sitk
from lcsd.prealign.common import box, centroid

Array = NDArray[np.float64]

SMOOTHING = ((8.0, 20.0), (4.0, 8.0), (0.0, 4.0))
"""Levels: spacing (mm; 0: the working spacing) and standard deviation of the smoothing, mm. The first level
reaches 2 sigma, more than the error of the centroids if a scan ends early."""

START_SHIFTS_MM = (0.0, -40.0, 40.0)
"""Shifts along the body added to that of the centroids, since a scan that ends early moves its centroid."""

STEPS = 40
"""Most steps per level; 5 to 15 are usual."""

STOP_MM = 0.02
"""Stop after a step that moves every point of the lungs less than this."""

LONGEST_MM = 20.0
"""No step moves a point of the lungs further than this: slopes are local."""

MM2_PER_CM2 = 100.0

BAND = 0.02
"""Only points with at least this share of the steepest slope count: flat regions carry no information."""

CUT_CM2 = 5.0
"""More lung than this on a face of the scan is a cut; less is the tip of a recess or apex."""

DAMPING = 1e-3
"""Added to the diagonal, as a share of its mean, so that rotations that the masks do not determine stay zero."""

LEAST_SHARED = 0.3
"""Least share of the band that both views must contain after a start or step."""


@dataclass(frozen=True)
class Overlap:
    """Alignment of two masks, and their overlap."""

    rigid: RigidTransform  # maps a point of the fixed scan (LPS mm) to the moving scan (LPS mm)
    dice: float  # of the aligned masks in the region where both are known, in [0, 1]
    # Share of a mask in that region, in [0, 1], the lesser of both masks: 1 unless a scan cuts the lung
    shared: float


def border_areas(mask: Image) -> Array:
    """Return the area of lung on each face of a scan, cm2, shape (2, 3): first and last of axes x, y, z."""
    spacing = np.asarray(mask.grid.spacing)
    voxel = np.prod(spacing) / spacing / MM2_PER_CM2
    faces = [[mask.array.take(end, axis=2 - axis).sum() for axis in range(3)] for end in (0, -1)]
    return np.asarray(faces, dtype=np.float64) * voxel


@dataclass(frozen=True)
class _View:
    """Region where a mask is known: its scan, and beyond the faces that cut no lung."""

    grid: Grid
    low: Array
    high: Array

    @classmethod
    def of(cls, mask: Image, grid: Grid) -> "_View":
        cut = border_areas(mask) > CUT_CM2
        last = np.asarray(grid.size) - 0.5
        return cls(grid, np.where(cut[0], -0.5, -np.inf), np.where(cut[1], last, np.inf))

    def contains(self, points: Array) -> NDArray[np.bool_]:
        """Return for each LPS point (N, 3) whether the mask is known there."""
        if np.isinf(self.low).all() and np.isinf(self.high).all():
            return np.ones(len(points), dtype=bool)
        voxels = self.grid.world_to_voxel(points)
        return np.asarray(((voxels >= self.low) & (voxels <= self.high)).all(axis=1))


class _Mask:
    """A mask averaged to about the working spacing, known in the view of its scan."""

    def __init__(self, mask: Image, spacing_mm: float) -> None:
        factors = [max(1, round(spacing_mm / step)) for step in mask.grid.spacing]
        # 255 levels are enough for a share, and averaging bytes is fast.
        full = to_sitk(Image(mask.array.astype(np.uint8) * np.uint8(255), mask.grid))
        small = from_sitk(sitk.BinShrink(full, factors))
        self.share = small.array.astype(np.float32) / np.float32(255)
        self.grid = small.grid
        self.view = _View.of(mask, small.grid)
        self.middle = centroid(mask)
        self.low, self.high = box(mask)

    def at(self, points: Array) -> Array:
        """Return the share of lung at LPS points (N, 3), 0 outside the scan."""
        return _sampled(self.share, self.grid.world_to_voxel(points))

    def smoothed(self, spacing_mm: float, sigma_mm: float) -> "_Level":
        """Return the mask on an axis-aligned grid, smoothed over the known region."""
        margin = 2 * sigma_mm + spacing_mm
        size = np.ceil((self.high - self.low + 2 * margin) / spacing_mm).astype(int) + 1
        grid = Grid.centred(
            (self.low + self.high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=spacing_mm
        )
        points = lattice(grid)
        seen = self.view.contains(points).reshape(grid.shape)
        # Points are sampled after averaging, so a coarse voxel is a mean.
        share = self.at(points).reshape(grid.shape)
        sigma = sigma_mm / spacing_mm
        known = ndimage.gaussian_filter(seen.astype(np.float32), sigma)
        values = ndimage.gaussian_filter(share.astype(np.float32), sigma)
        values = np.where(seen, values / np.maximum(known, 1e-3), 0)
        return _Level(values, seen, grid, points, self.view)


@dataclass(frozen=True)
class _Level:
    """A smoothed mask ``values`` (z, y, x) on ``grid``, known where ``seen``."""

    values: NDArray[np.float32]
    seen: NDArray[np.bool_]
    grid: Grid
    points: Array
    view: _View

    def at(self, points: Array) -> Array:
        """Return the smoothed mask at LPS points (N, 3), 0 outside."""
        return _sampled(self.values, self.grid.world_to_voxel(points))


def lattice(grid: Grid) -> Array:
    """Return the LPS positions of all voxels in the order of the array, mm, shape (N, 3)."""
    z, y, x = np.indices(grid.shape).reshape(3, -1).astype(np.float64)
    world: Array = grid.voxel_to_world(np.stack([x, y, z], axis=1))
    return world


def _sampled(values: NDArray[np.float32], voxels: Array) -> Array:
    return np.asarray(ndimage.map_coordinates(values, voxels[:, ::-1].T, order=1, mode="constant"), np.float64)


def _turn(vector: Array) -> Array:
    """Return the rotation matrix (3, 3) of a rotation vector (rad): Rodrigues' formula."""
    angle = float(np.linalg.norm(vector))
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    if angle < 1e-12:
        return np.asarray(np.eye(3) + cross)
    return np.asarray(np.eye(3) + np.sin(angle) / angle * cross + (1 - np.cos(angle)) / angle**2 * (cross @ cross))


class _Fit:
    """Gauss-Newton steps on one level."""

    def __init__(self, fixed: _Level, moving: _Level, middle: Array) -> None:
        z, y, x = np.gradient(fixed.values, fixed.grid.spacing[0])
        slopes = np.stack([x, y, z], axis=-1)
        steep = np.linalg.norm(slopes, axis=-1)
        band = fixed.seen & (steep > BAND * steep.max())
        self.points = fixed.points[band.ravel()]
        self.wanted = fixed.values[band].astype(np.float64)
        slope = slopes[band].astype(np.float64)
        arm = self.points - middle
        self.reach = float(np.sqrt((arm**2).sum(axis=1).max()))
        self.jacobian = np.concatenate([slope, np.cross(arm, slope)], axis=1)
        self.moving, self.middle = moving, middle

    def difference(self, rigid: RigidTransform) -> tuple[Array, NDArray[np.bool_]]:
        """Return moving minus fixed mask at the points, and whether the moving mask is known there."""
        where = rigid.apply(self.points)
        return self.moving.at(where) - self.wanted, self.moving.view.contains(where)

    def cost(self, rigid: RigidTransform) -> float:
        """Return the mean squared difference; infinite if the scans share too small a region."""
        difference, seen = self.difference(rigid)
        if not seen.size or seen.mean() < LEAST_SHARED:
            return np.inf
        return float((difference[seen] ** 2).mean())

    def step(self, rigid: RigidTransform) -> tuple[RigidTransform, float]:
        """Return the transform after one step, and how far the step moves the lungs, mm."""
        difference, seen = self.difference(rigid)
        jacobian = self.jacobian[seen]
        # The order of einsum's sums does not depend on the number of threads; that of a BLAS does.
        normal = np.einsum("ni,nj->ij", jacobian, jacobian)
        pull = np.einsum("ni,n->i", jacobian, difference[seen])
        scale = np.array([1.0] * 3 + [self.reach**2] * 3)
        normal += np.diag(DAMPING * np.trace(normal[:3, :3]) / 3 * scale)
        change = np.linalg.solve(normal, pull)
        length = float(np.linalg.norm(change[:3]) + self.reach * np.linalg.norm(change[3:]))
        change *= min(1.0, LONGEST_MM / max(length, 1e-12))
        turn = _turn(change[3:])
        warp = RigidTransform(turn, self.middle + change[:3] - turn @ self.middle)
        return rigid.compose(warp.inverse()), length

    def run(self, rigid: RigidTransform) -> RigidTransform:
        """Return the best transform of at most ``STEPS`` steps."""
        best, least = rigid, self.cost(rigid)
        for _ in range(STEPS if np.isfinite(least) else 0):
            rigid, length = self.step(rigid)
            cost = self.cost(rigid)
            if cost < least:
                best, least = rigid, cost
            if length < STOP_MM or not np.isfinite(cost):
                break
        return best


def align_masks(fixed: Image, moving: Image, *, spacing_mm: float) -> Overlap:
    """Align two lung masks rigidly, and return the transform and the overlap.

    Masks are arrays (z, y, x), any non-zero voxel inside, not empty, each on the grid of its whole scan, which shows
    cuts; any orientation and spacing. ``spacing_mm`` is that of the finest level and of the grid for the Dice
    coefficient.

    The starts align the centroids, shifted along the body by ``START_SHIFTS_MM``; the best one after the first level
    continues. Equal input gives equal bits for any number of threads.
    """
    first, second = _Mask(fixed, spacing_mm), _Mask(moving, spacing_mm)
    starts = [RigidTransform(np.eye(3), second.middle - first.middle + [0.0, 0.0, shift]) for shift in START_SHIFTS_MM]
    for level_mm, sigma in SMOOTHING:
        step = max(level_mm, spacing_mm)
        fit = _Fit(first.smoothed(step, sigma), second.smoothed(step, sigma), first.middle)
        starts = [min((fit.run(start) for start in starts), key=fit.cost)]
    return overlap(first, second, starts[0], spacing_mm=spacing_mm)


def overlap(fixed: _Mask, moving: _Mask, rigid: RigidTransform, *, spacing_mm: float) -> Overlap:
    """Return Dice and shared region of aligned masks, on an isotropic grid around both."""
    ends = rigid.inverse().apply(_corners(moving.low, moving.high))
    low = np.minimum(fixed.low, ends.min(axis=0)) - spacing_mm
    high = np.maximum(fixed.high, ends.max(axis=0)) + spacing_mm
    size = np.ceil((high - low) / spacing_mm).astype(int) + 1
    grid = Grid.centred((low + high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=spacing_mm)
    points = lattice(grid)
    there = rigid.apply(points)
    one, two = fixed.at(points) >= 0.5, moving.at(there) >= 0.5
    both = fixed.view.contains(points) & moving.view.contains(there)
    common = 2 * int((one & two).sum())
    total = int((one & both).sum() + (two & both).sum())
    shared = min(float(both[mask].mean()) if mask.any() else 0.0 for mask in (one, two))
    return Overlap(rigid, common / total if total else 0.0, shared)


def _corners(low: Array, high: Array) -> Array:
    return np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
