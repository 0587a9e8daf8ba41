"""Rigid alignment of two lung scans, and both on the common grid.

Both lungs are brought to a coarse isotropic grid; small blocks rich in vessels are searched by
normalised cross-correlation; a rigid transform is fitted to the matches by least squares. Unlike
a global image metric this gives the whole lung its say when the diaphragm has moved far.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from lcsd.blocks import MIN_DEVIATION_HU, correlate, moments
from lcsd.errors import BadInputError, WorkError
from lcsd.geometry import Grid, RigidTransform, fit_rigid
from lcsd.images import Image, check_same_grid, resample
from lcsd.settings.prealign import PrealignSettings

OUTSIDE_HU = -1024.0
"""Written where the scan has no voxel: air."""

WINDOW_HU = (-1000.0, 100.0)
"""Vessels against parenchyma; metal, bone and calcium must not outweigh them."""

ANTIALIAS = 0.42
"""Gaussian sigma per voxel of the result: its full width at half maximum is one voxel."""

RIM_VOXELS = 1
"""Taken off the lung before matching: half chest wall, and it slides."""

NEIGHBOURS = 8
"""Neighbouring matches whose median displacement a match is compared with."""

TEXTURE_QUANTILE = 0.3
"""Blocks with less contrast than this share of all blocks are not tried."""


@dataclass(frozen=True)
class Matches:
    """Matched block centres.

    Parameters
    ----------
    fixed, moving
        Shape (N, 3), LPS mm, each in its own scan's space.
    score
        Normalised cross-correlation, shape (N,).
    tried
        Blocks searched.
    """

    fixed: NDArray[np.float64]
    moving: NDArray[np.float64]
    score: NDArray[np.float64]
    tried: int


@dataclass(frozen=True)
class Prealigned:
    """A pair on the common grid.

    Parameters
    ----------
    fixed, moving
        HU, float32 (z, y, x), on the common grid.
    fixed_mask, moving_mask
        Lungs, bool, on the common grid.
    rigid
        Maps a point of the common space (the fixed scan's LPS) to the moving scan's LPS.
    report
        Figures for ``prealign.json``, units in the names.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image
    moving_mask: Image
    rigid: RigidTransform
    report: dict[str, Any]


def prealign(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    moving_mask: Image,
    settings: PrealignSettings | None = None,
) -> Prealigned:
    """Return both scans and masks on the common grid, rigidly aligned.

    Parameters
    ----------
    fixed, moving
        CT in HU, any grids; they need not share a frame.
    fixed_mask, moving_mask
        Lungs, bool, on the grid of their scan.

    Raises
    ------
    BadInputError
        A mask is empty or not on its scan's grid.
    WorkError
        Too few blocks of the two scans look alike (``too_few_matches``).
    """
    settings = settings or PrealignSettings()
    for scan, mask, name in ((fixed, fixed_mask, "fixed"), (moving, moving_mask, "moving")):
        check_same_grid(mask.grid, scan.grid)
        if not mask.array.any():
            raise BadInputError("the lung mask is empty", code="empty_lungs", field=f"{name} mask")
    grid = common_grid(fixed_mask, settings)
    centred = RigidTransform(np.eye(3), _centroid(moving_mask) - _centroid(fixed_mask))
    rigid, matches = align(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, start=centred,
        settings=settings,
    )  # fmt: skip
    on_grid = resample(fixed_mask, grid, nearest=True)
    aligned = resample(moving_mask, grid, transform=rigid, nearest=True)
    before = resample(moving_mask, grid, transform=centred, nearest=True)
    report = _report(rigid, grid, matches, fixed_mask) | {
        "dice_centred": _dice(on_grid, before),
        "dice_aligned": _dice(on_grid, aligned),
        "fixed_lung_inside": _inside(fixed_mask, grid, RigidTransform.identity()),
        "moving_lung_inside": _inside(moving_mask, grid, rigid.inverse()),
    }
    return Prealigned(
        fixed=resample_hu(fixed, grid),
        moving=resample_hu(moving, grid, transform=rigid),
        fixed_mask=on_grid,
        moving_mask=aligned,
        rigid=rigid,
        report={key: report[key] for key in sorted(report)},
    )


def common_grid(fixed_mask: Image, settings: PrealignSettings) -> Grid:
    """Return the common grid: axis-aligned, centred on the box around the fixed lungs.

    The box's centre, not the centroid, leaves the same margin on both sides of the lungs.
    """
    low, high = _box(fixed_mask)
    return Grid.centred((low + high) / 2, size=settings.size, spacing_mm=settings.spacing_mm)


def resample_hu(scan: Image, grid: Grid, *, transform: RigidTransform | None = None) -> Image:
    """Return a scan in HU on another grid, linear, smoothed before where the grid is coarser.

    Parameters
    ----------
    transform
        Maps a point of ``grid`` to the space of ``scan``; identity by default.
    """
    transform = transform or RigidTransform.identity()
    part = _crop(scan, transform.apply(grid.corners()))
    target, source = min(grid.spacing), np.asarray(scan.grid.spacing[::-1])
    sigma = ANTIALIAS * np.sqrt(np.maximum((target / source) ** 2 - 1, 0))
    smooth = ndimage.gaussian_filter(part.array.astype(np.float32), sigma, mode="nearest")
    return resample(Image(smooth, part.grid), grid, transform=transform, outside=OUTSIDE_HU)


def _crop(scan: Image, points: NDArray[np.float64]) -> Image:
    """Return the part of the scan around LPS points; smoothing the rest would be in vain."""
    margin = np.ceil(10.0 / np.asarray(scan.grid.spacing))
    voxels = scan.grid.world_to_voxel(points)
    size = np.asarray(scan.grid.size)
    low = np.clip(np.floor(voxels.min(axis=0) - margin), 0, size - 2).astype(int)
    high = np.clip(np.ceil(voxels.max(axis=0) + margin), low + 1, size - 1).astype(int)
    x, y, z = (slice(a, b + 1) for a, b in zip(low, high, strict=True))
    origin = scan.grid.voxel_to_world(low.astype(np.float64))
    count = high - low + 1
    grid = Grid(
        size=(int(count[0]), int(count[1]), int(count[2])), spacing=scan.grid.spacing,
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=scan.grid.direction,
    )  # fmt: skip
    return Image(scan.array[z, y, x], grid)


def _world(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Return LPS mm of all voxels of a mask, shape (N, 3)."""
    world: NDArray[np.float64] = grid.voxel_to_world(np.argwhere(mask)[:, ::-1].astype(np.float64))
    return world


def _row_ends(mask: Image) -> NDArray[np.float64]:
    """Return LPS mm of the first and last voxel of each row; extremes of the mask are among them.

    A convex region that holds the ends of a row holds the row.
    """
    inner = mask.array.copy()
    inner[:, :, 1:-1] = mask.array[:, :, :-2] & mask.array[:, :, 2:]
    inner[:, :, [0, -1]] = False
    return _world(mask.array & ~inner, mask.grid)


def _centroid(mask: Image) -> NDArray[np.float64]:
    axes = range(2, -1, -1)
    counts = [mask.array.sum(axis=tuple(b for b in range(3) if b != a)) for a in axes]
    middle = [float(np.arange(len(count)) @ count) / float(count.sum()) for count in counts]
    return np.asarray(mask.grid.voxel_to_world(np.array(middle)))


def _box(mask: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = _row_ends(mask)
    return ends.min(axis=0), ends.max(axis=0)


def _dice(first: Image, second: Image) -> float:
    total = int(first.array.sum()) + int(second.array.sum())
    return round(2 * int((first.array & second.array).sum()) / total, 6) if total else 0.0


def _inside(mask: Image, grid: Grid, to_grid: RigidTransform) -> float:
    """Return the share of the mask that lies in the grid."""
    if grid.contains(to_grid.apply(_row_ends(mask))).all():
        return 1.0
    return round(float(grid.contains(to_grid.apply(_world(mask.array, mask.grid))).mean()), 6)


def _report(
    rigid: RigidTransform, grid: Grid, matches: Matches, fixed_mask: Image
) -> dict[str, Any]:
    middle = _centroid(fixed_mask)
    cosine = np.clip((np.trace(rigid.rotation) - 1) / 2, -1.0, 1.0)
    residual = np.linalg.norm(rigid.apply(matches.fixed) - matches.moving, axis=1)
    return {
        "rotation_deg": round(float(np.degrees(np.arccos(cosine))), 4),
        # At the lungs' middle: at the world's origin it would depend on the scanner's frame.
        "translation_mm": [round(float(v), 4) for v in rigid.apply(middle) - middle],
        "grid_size": list(grid.size),
        "grid_spacing_mm": list(grid.spacing),
        "grid_origin_mm": [round(v, 6) for v in grid.origin],
        "blocks_tried": matches.tried,
        "blocks_matched": len(matches.fixed),
        "match_score_mean": round(float(matches.score.mean()), 4),
        "match_residual_mean_mm": round(float(residual.mean()), 4),
    }


def align(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    moving_mask: Image,
    start: RigidTransform,
    settings: PrealignSettings,
) -> tuple[RigidTransform, Matches]:
    """Return the rigid transform (fixed LPS to moving LPS) and the matches it was fitted to."""
    target = _lung_volume(fixed, fixed_mask, settings)
    source = _lung_volume(moving, moving_mask, settings)
    blocks = _choose_blocks(target, settings)
    rigid, matches = start, None
    for _ in range(settings.rounds):
        warped = resample(source, target.grid, transform=rigid)
        matches = _match(target, warped, blocks, rigid, settings)
        if len(matches.fixed) < settings.min_matches:
            raise WorkError(
                "the two scans do not look alike inside the lungs", code="too_few_matches",
                expected=f"at least {settings.min_matches} matching blocks",
                found=f"{len(matches.fixed)} of {matches.tried}",
                remedy="check that both scans show the same patient, and the lung masks",
            )  # fmt: skip
        rigid = fit_rigid(matches.fixed, matches.moving)
    assert matches is not None  # noqa: S101 - rounds >= 1
    return rigid, matches


def _lung_volume(scan: Image, mask: Image, settings: PrealignSettings) -> Image:
    """Return the lung's contrast on a coarse grid in its own LPS: HU minus typical parenchyma.

    Zero outside the lung, so that the chest wall and the diaphragm's edge draw no block.
    """
    step = settings.match_spacing_mm
    low, high = _box(mask)
    size = np.ceil((high - low) / step).astype(int) + 5
    grid = Grid.centred(
        (low + high) / 2, size=(int(size[0]), int(size[1]), int(size[2])), spacing_mm=step
    )
    hu = np.clip(resample_hu(scan, grid).array, *WINDOW_HU)
    lung = resample(mask, grid, nearest=True).array
    usual = float(np.median(hu[lung])) if lung.any() else 0.0
    inner = ndimage.binary_erosion(lung, iterations=RIM_VOXELS)
    return Image(np.where(inner, hu - usual, 0.0).astype(np.float32), grid)


def _radius(settings: PrealignSettings) -> int:
    return max(1, round(settings.block_radius_mm / settings.match_spacing_mm))


def _choose_blocks(volume: Image, settings: PrealignSettings) -> NDArray[np.int64]:
    """Return voxels (z, y, x), shape (N, 3): the richest block of each cube of the lung."""
    radius = _radius(settings)
    _, deviation = moments(volume.array, radius)
    deviation[volume.array == 0] = 0.0
    width = max(1, round(settings.block_distance_mm / settings.match_spacing_mm))
    # Only whole blocks: the correlation reads them without padding.
    deviation[:radius], deviation[-radius:] = 0.0, 0.0
    deviation[:, :radius], deviation[:, -radius:] = 0.0, 0.0
    deviation[:, :, :radius], deviation[:, :, -radius:] = 0.0, 0.0
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
    target: Image,
    warped: Image,
    blocks: NDArray[np.int64],
    rigid: RigidTransform,
    settings: PrealignSettings,
) -> Matches:
    """Return the blocks' places in the moving scan, implausible ones left out."""
    reach = max(1, round(settings.search_mm / settings.match_spacing_mm))
    shift, score = correlate(
        target.array, warped.array, blocks, radius=_radius(settings), reach=reach
    )
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
