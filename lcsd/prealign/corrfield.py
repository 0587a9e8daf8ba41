"""Rigid alignment by corrfield's correspondences (method ``corrfield``).

Both scans are resampled to an isotropic grid around the fixed lungs, after a shift that aligns the centres of the
lungs. Two rigid levels of corrfield match keypoints inside the lungs. A rigid transform is fitted by least squares to
the correspondences with similar surroundings, without outliers.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.corrfield.correspond import find_correspondences
from lcsd.geometry import RigidTransform, fit_rigid
from lcsd.io.images import Image, resample
from lcsd.prealign.common import WINDOW_HU, Alignment, Matches, box_grid, resample_hu
from lcsd.prealign.correlation import MIN_DEVIATION_HU
from lcsd.settings.correspond import CorrespondSettings
from lcsd.settings.prealign import PrealignSettings

Array = NDArray[np.float64]
QUANTISATION = (2, 1)
"""Voxels between the displacements of each level, as in the published settings of corrfield."""

PATCH_RADIUS = (3, 2)
"""Half the edge of the patch of each level, voxels, as published."""

CUBE = (3, 2)
"""Half the edge, in voxels, of the cube in which a keypoint is the most distinctive point. The first level is finer
than the default of 4, because a lung has only a few hundred keypoints on the coarse grid."""

SECOND_REACH_MM = 12.0
"""Search of the second level: the motion of the lung beyond the rigid motion of the first."""

LEAST_WEIGHT = math.exp(-1.0)
"""Weight of a correspondence whose forward and backward matches differ by ``consistency_mm``."""

OUTLIER_FACTOR = 3.0
"""A residual above so many medians is an outlier. It is beyond 99.9 % of a 3-D Gaussian and above the own motion of a
real lung (at most 2.4 medians), so the diaphragm still counts."""

FIT_ROUNDS = 20
"""Rounds of reweighting; the last rounds change the motion by micrometres."""

LEAST_RESIDUAL_MM = 0.1
"""Limits the weight of a point that fits exactly."""


def align(
    fixed: Image, moving: Image, *, fixed_mask: Image, start: RigidTransform, settings: PrealignSettings
) -> Alignment:
    """Return the rigid transform (fixed LPS to moving LPS) fitted to correspondences.

    The scans are in HU on any grids, the mask is bool, not empty, on the grid of ``fixed``. The search extends
    ``settings.search_mm`` from ``start``, which maps fixed LPS to moving LPS. Errors as
    :func:`lcsd.corrfield.correspond.find_correspondences` and :meth:`.common.Matches.require`.
    """
    step = settings.keypoint_spacing_mm
    grid = box_grid(fixed_mask, spacing_mm=step, margin_voxels=math.ceil(settings.search_mm / step))
    images = resample_hu(fixed, grid), resample_hu(moving, grid, transform=start)
    found = find_correspondences(*images, resample(fixed_mask, grid, nearest=True), settings=levels(settings))
    # If no match is consistent, corrfield returns all of them.
    good = np.asarray(found.pairs.weight) >= LEAST_WEIGHT
    here, there = found.pairs.fixed[good], found.pairs.moving[good]
    tried = int(found.statistics[f"stage_{len(QUANTISATION)}"]["keypoints"])
    Matches(here, there, np.ones(len(here)), tried).require(settings.min_matches)
    turn, _ = fit_without_outliers(here, there)
    # Matches in noise are consistent too, because nothing attracts them.
    score = block_correlation(*images, here, there, rotation=turn.rotation, radius_mm=settings.block_radius_mm)
    good = score >= settings.min_score
    matches = Matches(here[good], start.apply(there[good]), score[good], tried)
    matches.require(settings.min_matches)
    rigid, kept = fit_without_outliers(matches.fixed, matches.moving)
    matches = Matches(matches.fixed[kept], matches.moving[kept], matches.score[kept], tried)
    matches.require(settings.min_matches)
    return Alignment(rigid, matches.figures(rigid))


def levels(settings: PrealignSettings) -> CorrespondSettings:
    """Return corrfield's settings: two rigid levels, lengths in voxels of the keypoint grid."""
    reach = (settings.search_mm, SECOND_REACH_MM)
    return CorrespondSettings(
        transform=("r", "r"),
        search_radius=tuple(
            max(1, math.ceil(mm / (settings.keypoint_spacing_mm * q)))
            for mm, q in zip(reach, QUANTISATION, strict=True)
        ),
        nms_radius=CUBE,
        quantisation=QUANTISATION,
        patch_radius=PATCH_RADIUS,
        erosion=1,  # few keypoints on this coarse grid; the checks below reject wrong ones
        # One limit for backward matches and for neighbours: the own motion of the lung is not an outlier.
        consistency_mm=settings.consistency_mm,
        reject_mm=settings.consistency_mm,
        outlier_mm=settings.consistency_mm,
    )


def block_correlation(
    fixed: Image, moving: Image, here: Array, there: Array, *, rotation: Array, radius_mm: float
) -> Array:
    """Return the normalised cross-correlation (N,) of the blocks around corresponding points; 0 where a block is flat.

    Both images are HU on one isotropic grid. ``here`` and ``there`` are points of each, (N, 3), LPS mm; ``rotation``
    (3, 3) turns a block of ``fixed`` into a block of ``moving``. ``radius_mm`` is half the edge of a block.
    """
    step = min(fixed.grid.spacing)
    axis = step * np.arange(-round(radius_mm / step), round(radius_mm / step) + 1)
    offsets = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    volumes = [np.clip(image.array, *WINDOW_HU) for image in (fixed, moving)]
    turned = offsets @ rotation.T
    score = np.zeros(len(here))
    for row, (one, other) in enumerate(zip(here, there, strict=True)):
        places = fixed.grid.world_to_voxel(np.stack([one + offsets, other + turned]))
        a, b = (
            ndimage.map_coordinates(volume, place[:, ::-1].T, order=1, mode="nearest")
            for volume, place in zip(volumes, places, strict=True)
        )
        if min(a.std(), b.std()) > MIN_DEVIATION_HU:
            score[row] = np.corrcoef(a, b)[0, 1]
    return score


def fit_without_outliers(source: Array, target: Array) -> tuple[RigidTransform, NDArray[np.bool_]]:
    """Return the least-squares rigid transform of points (N, 3), N >= 3, LPS mm, without outliers; and those kept.

    A kept point is at most ``OUTLIER_FACTOR`` times the median of all from the transform of least absolute distances.
    Iteratively reweighted least squares (Weiszfeld) finds it and tolerates up to nearly half wrong points, where a
    single one distorts least squares.
    """
    weights = np.ones(len(source))
    for _ in range(FIT_ROUNDS):
        rigid = fit_rigid(source, target, weights=weights)
        residual = np.linalg.norm(rigid.apply(source) - target, axis=1)
        weights = 1 / np.maximum(residual, LEAST_RESIDUAL_MM)
    limit = OUTLIER_FACTOR * max(float(np.median(residual)), LEAST_RESIDUAL_MM)
    kept = residual <= limit
    return fit_rigid(source[kept], target[kept]), kept
