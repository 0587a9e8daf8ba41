"""corrfield from two images to correspondences and a dense displacement field."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.corrfield.check import check_images
from lcsd.corrfield.cost import cost_volumes
from lcsd.corrfield.foerstner import find_keypoints
from lcsd.corrfield.inference import Tree, spanning_tree, tree_marginals
from lcsd.corrfield.mind import mind_ssc
from lcsd.corrfield.motion import Motion, patch_means
from lcsd.corrfield.outliers import agrees_with_neighbours
from lcsd.corrfield.refine import refine
from lcsd.files import PointPairs
from lcsd.geometry import Grid
from lcsd.images import DisplacementField, Image
from lcsd.settings.correspond import CorrespondSettings

Array = NDArray[Any]

MARGIN_VOXELS = 4
"""Beyond the reach of search and patch: what smoothing at the border of the box can touch."""


@dataclass(frozen=True)
class CorrfieldResult:
    """Correspondences between a fixed and a moving image.

    Parameters
    ----------
    pairs
        Correspondences in LPS mm; ``weight`` is their forward-backward consistency in (0, 1].
    field
        Dense displacement field on the fixed grid, LPS mm.
    statistics
        Counts and consistency per stage, JSON-serialisable.
    seconds
        Wall seconds per step.
    """

    pairs: PointPairs
    field: DisplacementField
    statistics: dict[str, Any]
    seconds: dict[str, float]


class _Clock:
    """Adds up the wall seconds of the steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the wall seconds of the block to a step."""
        start = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start


@dataclass(frozen=True)
class _Matches:
    """Displacements of keypoints in voxels (z, y, x), and their inconsistency in voxels."""

    displacement: Array
    forward: Array
    backward: Array


def _soft_minimum(marginals: Array, *, gamma: float, step: int) -> Array:
    """Return the mean displacement under softmax(-gamma * marginal), shape (K, 3), voxels."""
    count, width = marginals.shape[0], marginals.shape[1]
    axis = step * (np.arange(width) - width // 2).astype(np.float64)
    result = np.empty((count, 3))
    for point in range(count):
        weights = np.exp(-gamma * (marginals[point] - marginals[point].min()))
        weights /= weights.sum(dtype=np.float64)
        result[point] = [
            weights.sum(axis=others, dtype=np.float64) @ axis for others in ((1, 2), (0, 2), (0, 1))
        ]
    return result


def _match(
    fixed: Array, moving: Array, points: Array, tree: Tree, stage: int,
    settings: CorrespondSettings, clock: _Clock,
) -> _Matches:  # fmt: skip
    """Match keypoints forwards and, from where they land, backwards; average both marginals."""
    radius, step = settings.search_radius[stage], settings.quantisation[stage]
    shape = (len(points), *(2 * radius + 1,) * 3)

    def marginals(source: Array, target: Array, at: Array) -> Array:
        cost = np.empty(shape, np.float32)
        patch = settings.patch_radius[stage]
        with clock.step("cost"):
            cost_volumes(source, target, at, radius, step, patch, settings.alpha, cost)
        with clock.step("inference"):
            return tree_marginals(cost, tree)

    def soft(values: Array) -> Array:
        return _soft_minimum(values, gamma=settings.gamma, step=step)

    both = marginals(fixed, moving, points)
    forward = soft(both)
    back = marginals(moving, fixed, points + forward)
    backward = soft(back)
    # A way back of -d is evidence for a way there of d.
    both += back[:, ::-1, ::-1, ::-1]
    both *= 0.5
    return _Matches(soft(both), forward, backward)


def _box(mask: Array, settings: CorrespondSettings) -> tuple[slice, ...]:
    """Return the part of the image that matching around the mask can touch."""
    where = [np.flatnonzero(mask.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    reach = max(
        radius * step + patch
        for radius, step, patch in zip(
            settings.search_radius, settings.quantisation, settings.patch_radius, strict=True
        )
    )
    margin = reach + MARGIN_VOXELS
    return tuple(
        slice(max(int(w[0]) - margin, 0), min(int(w[-1]) + margin + 1, n))
        for w, n in zip(where, mask.shape, strict=True)
    )


def find_correspondences(
    fixed: Image,
    moving: Image,
    fixed_mask: Image,
    *,
    settings: CorrespondSettings | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> CorrfieldResult:
    """Return correspondences and a dense displacement field between two images.

    Parameters
    ----------
    fixed, moving
        CT in HU on the same grid (any orientation), arrays (z, y, x).
    fixed_mask
        Where keypoints may lie (lung), on the same grid.
    settings
        Parameters of corrfield; the published ones if None. Lengths are in voxels.
    progress
        Called with the name of each stage.

    Returns
    -------
    CorrfieldResult
        Pairs and field in LPS mm: a fixed point x lies in the moving image at ``x + u(x)``.

    Raises
    ------
    BadInputError
        Different grids, values that are not finite, a constant image, an empty mask, a search
        radius larger than the image, or no distinctive keypoint.

    Notes
    -----
    Heinrich, Handels, Simpson, MICCAI 2015. Each stage works on the moving image warped by the
    stages before, and its motion v is composed with theirs: ``u(x) = v(x) + u'(x + v(x))``. Then
    the dense motion is refined continuously, and the correspondences take it over.
    """
    settings = settings or CorrespondSettings()
    check_images(fixed, moving, fixed_mask, settings)
    clock, box = _Clock(), _box(fixed_mask.array, settings)
    image = fixed.array[box].astype(np.float32)
    other = moving.array[box].astype(np.float32)
    mask = fixed_mask.array[box] != 0
    corner = np.array([part.start for part in box])
    motion = Motion.identity(image.shape)
    with clock.step("mind"):
        features = mind_ssc(image, step=settings.mind_step, sigma=settings.mind_sigma)
    statistics: dict[str, Any] = {}
    for stage in range(len(settings.search_radius)):
        progress(f"stage {stage + 1} of {len(settings.search_radius)}")
        with clock.step("keypoints"):
            points = find_keypoints(
                image, mask, sigma=settings.sigma, cube=settings.cube[stage],
                threshold=settings.keypoint_threshold,
            ).astype(np.float64)  # fmt: skip
        with clock.step("warp"):
            warped = motion.warp(other)
        with clock.step("mind"):
            there = mind_ssc(warped, step=settings.mind_step, sigma=settings.mind_sigma)
        means = patch_means(image, points, settings.patch_radius[stage])
        tree = spanning_tree(points, means, neighbours=settings.neighbours, beta=settings.beta)
        found = _match(features, there, points, tree, stage, settings, clock)
        apart = fixed.grid.voxel_vectors_to_world((found.forward + found.backward)[:, ::-1])
        inconsistency = np.linalg.norm(apart, axis=1)
        kept = _trusted(points, found.displacement, inconsistency, fixed.grid, settings)
        statistics[f"stage_{stage + 1}"] = _figures(inconsistency, kept)
        points, step_motion, inconsistency = (
            points[kept], found.displacement[kept], inconsistency[kept]
        )  # fmt: skip
        total = step_motion + motion.at(points + step_motion)
        with clock.step("spline"):
            motion = motion.composed(
                points, step_motion, grid=fixed.grid, corner=corner,
                rigid=settings.transform[stage] == "r", smoothing=settings.tps_lambda,
                step=settings.tps_grid_step,
            )  # fmt: skip
    if settings.refine and settings.transform[-1] == "n":
        progress("refinement")
        motion = _refined(motion, features, other, mask, settings, clock)
        total = motion.at(points)
    where = (points + corner)[:, ::-1]
    pairs = PointPairs(
        fixed=fixed.grid.voxel_to_world(where),
        moving=fixed.grid.voxel_to_world(where + total[:, ::-1]),
        weight=np.exp(-((inconsistency / settings.consistency_mm) ** 2)),
    )
    dense = motion.on_grid(fixed.grid, box)
    return CorrfieldResult(pairs, dense, {"count": len(pairs), **statistics}, clock.seconds)


def _refined(
    motion: Motion, features: Array, other: Array, mask: Array, settings: CorrespondSettings,
    clock: _Clock,
) -> Motion:  # fmt: skip
    """Return the motion after continuous refinement on the features of the unwarped image."""
    with clock.step("mind"):
        target = mind_ssc(other, step=settings.mind_step, sigma=settings.mind_sigma)
    with clock.step("refine"):
        return Motion(
            refine(
                features, target, mask, motion.vectors, step=settings.refine_step,
                smoothness=settings.refine_smoothness, blur=settings.refine_blur,
                robust=settings.refine_robust, rounds=settings.refine_rounds,
            )
        )  # fmt: skip


def _trusted(
    points: Array, displacement: Array, inconsistency: Array, grid: Grid,
    settings: CorrespondSettings,
) -> Array:  # fmt: skip
    """Return which matches agree with their way back and with their neighbours, shape (K,)."""
    kept = inconsistency <= (settings.reject_mm or np.inf)
    if settings.outlier_mm is not None:
        world = grid.voxel_vectors_to_world(points[kept][:, ::-1])
        kept[kept] = agrees_with_neighbours(
            world, grid.voxel_vectors_to_world(displacement[kept][:, ::-1]),
            limit=settings.outlier_mm, neighbours=settings.outlier_neighbours,
            rounds=settings.outlier_rounds,
        )  # fmt: skip
    # Nothing trustworthy: the motion of all is still the best guess, and its statistics show it.
    return kept if kept.any() else np.ones_like(kept)


def _figures(inconsistency: Array, kept: Array) -> dict[str, Any]:
    return {
        "keypoints": len(kept),
        "kept": int(kept.sum()),
        "inconsistency_mean_mm": float(inconsistency.mean()),
        "inconsistency_median_mm": float(np.median(inconsistency)),
        "inconsistency_p95_mm": float(np.percentile(inconsistency, 95)),
    }
