"""Quality of a registration of scans without landmarks: overlap of structures, similarity of images, consistency."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from lcsd.errors import BadInputError
from lcsd.evaluation.learn2reg_figures import dice
from lcsd.geometry import Grid
from lcsd.io.images import Image, resample
from lcsd.names import Interpolation
from lcsd.numerics.morphology import box
from lcsd.transforms.chain import Part, as_itk, through
from lcsd.transforms.warp import resampled

SIMILARITY_MM = 3.0
"""Voxels at which images are compared: methods of any field spacing share them."""

BINS = 64
"""Bins of the joint histogram."""

WINDOW_HU = (-1000.0, 200.0)
"""Air to soft tissue; values beyond count as its ends."""

MIND_STEP = 1
MIND_SIGMA = 0.8
"""Neighbours (voxels) and patches (voxels) of MIND: those of 3 mm around a voxel."""

MARGIN_MM = 60.0
"""Around the fixed structures; lungs of one patient differ by less after a rigid step."""

PLACES = 20_000
"""Lung voxels at which the inverse is tried; their mean is then known to 1 %."""


@dataclass(frozen=True)
class Overlap:
    """Overlap of a structure of the fixed scan with the warped one of the moving scan."""

    dice: float  # 2 |A and B| / (|A| + |B|), of 1
    # Both None if the structure is warped out of the fixed scan
    hd95_mm: float | None  # larger 95th percentile of both directions' surface distances
    assd_mm: float | None  # mean distance of all surface voxels of both to the other surface


def surface(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float64]:
    """Return the centres of voxels that have a six-neighbour outside the mask or the volume, (N, 3), LPS mm."""
    where = box(mask, 0.0, np.ones(3))
    part = mask[where]
    voxels = np.argwhere(part & ~binary_erosion(part)) + [side.start for side in where]
    return grid.voxel_to_world(voxels[:, ::-1].astype(np.float64))


def overlap(fixed: NDArray[np.bool_], moved: NDArray[np.bool_], grid: Grid) -> Overlap:
    """Return how well two masks (z, y, x) on a grid agree.

    Raises ``BadInputError`` (``empty_mask``) if the fixed mask is empty.
    """
    if not fixed.any():
        raise BadInputError("the mask is empty", code="empty_mask", expected="at least one voxel")
    if not moved.any():
        return Overlap(0.0, None, None)
    trees = [cKDTree(surface(mask, grid)) for mask in (fixed, moved)]
    apart = [trees[1 - at].query(trees[at].data)[0] for at in (0, 1)]
    hd95 = max(float(np.percentile(distance, 95)) for distance in apart)
    return Overlap(dice(fixed, moved), hd95, float(np.concatenate(apart).mean()))


def _warped(moving: Image, chain: Sequence[Part], grid: Grid, interpolation: Interpolation, outside: float) -> Image:
    """Return a moving image on a grid of the fixed scan; an empty chain leaves it where it is."""
    return resampled(moving, as_itk(chain), grid, interpolation, outside)


def _part(grid: Grid, mask: NDArray[np.bool_], margin_mm: float) -> tuple[tuple[slice, ...], Grid]:
    """Return the box around a mask (z, y, x) on a grid, with a margin, as slices and as a grid."""
    where = box(mask, margin_mm, np.array(grid.spacing[::-1]))
    return where, grid.part(np.array([side.start for side in where[::-1]]), [s.stop - s.start for s in where[::-1]])


def structure_overlaps(fixed: Image, moving: Image, chain: Sequence[Part]) -> dict[int, Overlap]:
    """Return the overlap of each label of the fixed mask or label map with the warped moving one, by label.

    Labels that the moving map lacks are left out. Only a box of ``MARGIN_MM`` around the fixed structures is looked
    at; what is warped farther away counts as if it were nowhere.
    """
    if not fixed.array.any():
        return {}
    where, grid = _part(fixed.grid, fixed.array != 0, MARGIN_MM)
    labels = fixed.array[where].astype(np.int32)
    moved = _warped(Image(moving.array.astype(np.int32), moving.grid), chain, grid, "nearest", 0.0).array
    both = np.intersect1d(np.unique(labels[labels > 0]), np.unique(moving.array[moving.array > 0]))
    return {int(label): overlap(labels == label, moved == label, grid) for label in both}


def mutual_information(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return the normalised mutual information ``(H(A) + H(B)) / H(A, B)`` of values (N,), from 1 to 2.

    Studholme et al., Pattern Recognition 32 (1999) 71; joint histogram of ``BINS`` bins over ``WINDOW_HU``. Images of
    a single value give 1.
    """
    joint = np.histogram2d(np.clip(first, *WINDOW_HU), np.clip(second, *WINDOW_HU), BINS, (WINDOW_HU, WINDOW_HU))[0]
    share = joint / joint.sum()

    def entropy(parts: NDArray[np.float64]) -> float:
        some = parts[parts > 0]
        return float(-(some * np.log(some)).sum())

    both = entropy(share.ravel())
    return 1.0 if both == 0 else (entropy(share.sum(axis=0)) + entropy(share.sum(axis=1))) / both


def mind_residual(first: NDArray[np.float32], second: NDArray[np.float32], inside: NDArray[np.bool_]) -> float:
    """Return the mean absolute difference of the MIND-SSC channels of two images (z, y, x) inside a mask, of 1.

    Heinrich et al., MICCAI 2013. 0: the same surroundings everywhere.
    """
    from lcsd.corrfield.mind import FULL, mind_ssc

    channels = [mind_ssc(image, step=MIND_STEP, sigma=MIND_SIGMA)[:, inside] for image in (first, second)]
    return float(np.abs(channels[0].astype(np.int16) - channels[1]).mean() / FULL)


def similarity(images: tuple[Image, Image], lungs: Image, chain: Sequence[Part]) -> dict[str, float]:
    """Return ``nmi`` and ``mind_residual`` of the fixed image and the warped moving one, in the fixed lungs.

    Both are sampled at voxels of ``SIMILARITY_MM`` in the box of the lungs. Raises ``BadInputError`` (``no_overlap``)
    if no such voxel is in the lungs.
    """
    coarse = Grid.covering(lungs.grid, SIMILARITY_MM)
    inside = resample(Image((lungs.array != 0).astype(np.float32), lungs.grid), coarse).array >= 0.5
    if not inside.any():
        raise BadInputError("no voxel of the lungs", code="no_overlap", field="lungs", found="0 voxels")
    where, grid = _part(coarse, inside, 2 * SIMILARITY_MM)
    inside = inside[where]
    sampled = []
    for image, part in zip(images, ([], chain), strict=True):
        as_float = Image(image.array.astype(np.float32), image.grid)
        sampled.append(_warped(as_float, part, grid, "linear", WINDOW_HU[0]).array)
    return {
        "nmi": mutual_information(sampled[0][inside], sampled[1][inside]),
        "mind_residual": mind_residual(sampled[0], sampled[1], inside),
    }


def inverse_consistency(chain: Sequence[Part], back: Sequence[Part], lungs: Image) -> float:
    """Return the mean distance between lung voxels and where both directions bring them, mm.

    ``chain`` goes from fixed to moving, ``back`` from moving to fixed. Voxels that leave either transform are left out.
    Christensen and Johnson, IEEE TMI 20 (2001) 568. Raises ``BadInputError`` as :func:`lcsd.transforms.chain.through`.
    """
    where = np.argwhere(lungs.array != 0)[:, ::-1]
    rows = np.random.default_rng(0).permutation(len(where))[:PLACES]
    points = lungs.grid.voxel_to_world(where[rows].astype(np.float64))
    there = through(chain, points)
    again = through(back, there.points)
    known = there.known & again.known
    return float(np.linalg.norm(again.points - points, axis=1)[known].mean())


def measured(
    structures: Mapping[str, tuple[Image, Image]], chain: Sequence[Part], *, images: tuple[Image, Image] | None = None
) -> dict[str, float | None]:
    """Return what is known of a registration without landmarks, units in the keys.

    ``structures`` are masks or label maps of the fixed and the moving scan by name, ``lungs`` among them: Dice, HD95
    and ASSD of each, the mean over labels. A structure that is warped away has no distances, one without a common label
    no figure at all. With ``images`` (HU) also :func:`similarity`. An empty ``chain`` compares the scans as they are.
    """
    found: dict[str, float | None] = {}
    for name, (fixed, moving) in structures.items():
        parts = list(structure_overlaps(fixed, moving, chain).values())
        if not parts:
            continue
        found[f"{name}_dice"] = float(np.mean([part.dice for part in parts]))
        for key in ("hd95_mm", "assd_mm"):
            values = [getattr(part, key) for part in parts]
            found[f"{name}_{key}"] = None if None in values else float(np.mean(values))
    return found if images is None else {**found, **similarity(images, structures["lungs"][0], chain)}
