"""Rigid alignment by blocks of the lung (method ``blocks``).

Both lungs are resampled to a coarse isotropic grid. Small blocks with many vessels are matched by normalised
cross-correlation, and a rigid transform is fitted to the matches by least squares. Unlike a global image metric, this
gives the whole lung equal weight even if the diaphragm moved far.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lcsd.geometry import RigidTransform, fit_rigid
from lcsd.io.images import Image, resample
from lcsd.prealign.common import WINDOW_HU, Alignment, Matches, box_grid, resample_hu
from lcsd.prealign.correlation import MIN_DEVIATION_HU, correlate, moments
from lcsd.settings.prealign import PrealignSettings

RIM_VOXELS = 1
"""Removed from the border of the lung before matching: it is half chest wall, and it slides."""

BORDER_VOXELS = 2
"""Margin around the lung, so that its border is not the border of the grid."""

NEIGHBOURS = 8
"""A match is compared with the median displacement of so many neighbours."""

TEXTURE_QUANTILE = 0.3
"""This share of all blocks, those with the least contrast, is not matched."""


def align(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    moving_mask: Image,
    start: RigidTransform,
    settings: PrealignSettings,
) -> Alignment:
    """Return the rigid transform (fixed LPS to moving LPS) fitted to matched blocks.

    The scans are in HU on any grids, each with its lungs as a bool mask that is not empty. The search extends
    ``settings.search_mm`` from ``start``, which maps fixed LPS to moving LPS. Errors as
    :meth:`.common.Matches.require`.
    """
    target = _lung_volume(fixed, fixed_mask, settings)
    source = _lung_volume(moving, moving_mask, settings)
    blocks = _choose_blocks(target, settings)
    rigid, matches = start, None
    for _ in range(settings.rounds):
        warped = resample(source, target.grid, transform=rigid)
        matches = _match(target, warped, blocks, rigid, settings)
        matches.require(settings.min_matches)
        rigid = fit_rigid(matches.fixed, matches.moving)
    assert matches is not None  # noqa: S101 - rounds >= 1
    return Alignment(rigid, matches.figures(rigid))


def _lung_volume(scan: Image, mask: Image, settings: PrealignSettings) -> Image:
    """Return the lung's contrast on a coarse grid in its own LPS: HU minus typical parenchyma.

    It is zero outside the lung, so that the chest wall and the edge of the diaphragm attract no block.
    """
    grid = box_grid(mask, spacing_mm=settings.match_spacing_mm, margin_voxels=BORDER_VOXELS)
    hu = np.clip(resample_hu(scan, grid).array, *WINDOW_HU)
    lung = resample(mask, grid, nearest=True).array
    usual = float(np.median(hu[lung])) if lung.any() else 0.0
    inner = ndimage.binary_erosion(lung, iterations=RIM_VOXELS)
    return Image(np.where(inner, hu - usual, 0.0).astype(np.float32), grid)


def _radius(settings: PrealignSettings) -> int:
    return max(1, round(settings.block_radius_mm / settings.match_spacing_mm))


def _choose_blocks(volume: Image, settings: PrealignSettings) -> NDArray[np.int64]:
    """Return voxels (z, y, x), shape (N, 3): the block with the most contrast in each cube of the lung."""
    radius = _radius(settings)
    _, deviation = moments(volume.array, radius)
    deviation[volume.array == 0] = 0.0
    width = max(1, round(settings.block_distance_mm / settings.match_spacing_mm))
    # Only whole blocks, because the correlation reads them without padding.
    whole = np.zeros(deviation.shape, bool)
    whole[(slice(radius, -radius),) * 3] = True
    deviation[~whole] = 0.0
    chosen = []
    for corner in np.ndindex(*(-(-n // width) for n in deviation.shape)):
        z, y, x = (slice(c * width, (c + 1) * width) for c in corner)
        cube = deviation[z, y, x]
        best = np.unravel_index(int(cube.argmax()), cube.shape)
        if cube[best] > MIN_DEVIATION_HU:
            chosen.append([c * width + int(b) for c, b in zip(corner, best, strict=True)])
    blocks = np.array(chosen, dtype=np.int64).reshape(-1, 3)
    if len(blocks) == 0:
        return blocks
    contrast = deviation[tuple(blocks.T)]
    return np.asarray(blocks[contrast >= np.quantile(contrast, TEXTURE_QUANTILE)])


def _match(
    target: Image, warped: Image, blocks: NDArray[np.int64], rigid: RigidTransform, settings: PrealignSettings
) -> Matches:
    """Return the positions of the blocks in the moving scan, without implausible matches."""
    reach = max(1, round(settings.search_mm / settings.match_spacing_mm))
    shift, score = correlate(target.array, warped.array, blocks, radius=_radius(settings), reach=reach)
    good = score >= settings.min_score
    centres = target.grid.voxel_to_world(blocks[good][:, ::-1].astype(np.float64))
    moved = target.grid.voxel_vectors_to_world(shift[good][:, ::-1])
    good_score = score[good]
    if len(centres) > NEIGHBOURS:
        _, near = cKDTree(centres).query(centres, k=NEIGHBOURS + 1)
        usual = np.median(moved[near[:, 1:]], axis=1)
        keep = np.linalg.norm(moved - usual, axis=1) <= settings.consistency_mm
        centres, moved, good_score = centres[keep], moved[keep], good_score[keep]
    return Matches(centres, rigid.apply(centres + moved), good_score, len(blocks))
