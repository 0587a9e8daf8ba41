"""Measure which way a chest lies in its scan: windpipe, width and tips of the lungs, spine, heart and liver."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.io.images import Image
from lcsd.lungs.airways import trachea
from lcsd.lungs.classical import segment_lungs
from lcsd.lungs.sample import sample
from lcsd.numerics.morphology import ML_PER_MM3, Mask, Step
from lcsd.readings.anatomy import Evidence, exchanged

SMOOTH_MM = 1.5
TUBE_HU = (
    -500.0,
    -650.0,
    -800.0,
)  # thresholds tried for the windpipe: coarse voxels mix its air with its wall, or with lung
BONE_HU = 250.0
MIDLINE_MM = 35.0  # windpipe and spine are within this distance of the middle between the lungs' outer walls
ENDS = (0.05, 0.3)  # range of the lungs' height at each end whose width is compared
BELOW_MM = 40.0  # liver and spleen fill this height below the lungs
MOST_CUT = 0.05  # part of the lungs' shadow along z that the first or the last slice may show
SOFT_HU = (10.0, 150.0)
LEAST_SOFT_ML = 200.0  # less soft tissue below the lungs is no belly: a few centimetres below lungs hold a litre


def evidence(scan: Image, lungs: Image) -> Evidence:
    """Return what a scan in HU and its lung mask on the same grid show, each figure along the axes of the header."""
    hu, step = sample(scan)
    mask = sample(lungs)[0].astype(bool)
    smooth = ndimage.gaussian_filter(hu, SMOOTH_MM / step)
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    columns = np.flatnonzero(mask.any(axis=(0, 1)))
    low, high = int(planes[0]), int(planes[-1]) + 1
    middle = (columns[0] + columns[-1]) / 2
    near = np.zeros_like(mask)
    reach = round(MIDLINE_MM / step[2])
    near[:, :, max(0, round(middle) - reach) : round(middle) + reach + 1] = True
    tubes = [(smooth < limit) & near & ~mask for limit in TUBE_HU]
    centre = (low + high) // 2
    sides = _sides(mask, middle)
    return Evidence(
        windpipe_mm=(
            max(len(trachea(tube[centre:], step)) for tube in tubes) * float(step[0]),
            max(len(trachea(tube[:centre], step)) for tube in tubes) * float(step[0]),
        ),
        width_mm=(_width(mask, low, high, step, top=True), _width(mask, low, high, step, top=False)),
        tips=_tips(mask, step),
        bone_ml=_bone(hu, near, mask, step),
        heart_mm=_heart(hu, near, mask, step) if sides else None,
        liver=_liver(smooth, mask, step) if sides else None,
    )


def evidence_of_given(scan: Image, lungs: Image) -> tuple[Evidence, bool]:
    """Return the evidence of a scan with a given lung mask, and whether the mask alone contradicts the header.

    A mask that lacks a part of the lungs has its ends elsewhere. Then the lungs found in the scan tell which way it
    lies.
    """
    found = evidence(scan, lungs)
    if exchanged(found) is None:
        return found, False
    own = evidence(scan, segment_lungs(scan).mask)
    return own, exchanged(own) is None


def _sides(mask: Mask, middle: float) -> tuple[Mask, Mask] | None:
    """Return the parts of the lungs right and left of the middle, or None if one of them is much smaller."""
    right, left = mask.copy(), mask.copy()
    right[:, :, round(middle) :] = False
    left[:, :, : round(middle)] = False
    sizes = sorted((int(right.sum()), int(left.sum())))
    return (right, left) if sizes[0] > 0.5 * sizes[1] else None


def _width(mask: Mask, low: int, high: int, step: Step, *, top: bool) -> float:
    """Return the median distance of the lungs' outer walls near one end of their height, mm."""
    near, far = (round(share * (high - low)) for share in ENDS)
    part = mask[high - far : high - near] if top else mask[low + near : low + far]
    widths = [np.ptp(np.flatnonzero(plane.any(axis=0))) for plane in part if plane.any()]
    return float(np.median(widths) * step[2]) if widths else 0.0


def _is_cut(plane: Mask, mask: Mask) -> bool:
    """Return whether the scan ends within the lungs at a plane (y, x)."""
    return bool(plane.sum() > MOST_CUT * mask.any(axis=0).sum())


def _tips(mask: Mask, step: Step) -> tuple[float, float] | None:
    """Return how far the lungs' middle reaches beyond their rim at the head and at the feet, as a part of their height.

    Seen along z, middle and rim are the halves of their shadow that are far from its outline, and near to it. At the
    head the lungs end in tips, at the feet on the dome of the diaphragm. None if the scan cuts them off.
    """
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    shadow = mask.any(axis=0)
    deep = ndimage.distance_transform_edt(np.pad(shadow, 1), sampling=step[1:])[1:-1, 1:-1]
    middle = shadow & (deep > np.median(deep[shadow]))
    rim = shadow & ~middle
    if _is_cut(mask[0], mask) or _is_cut(mask[-1], mask) or not middle.any():
        return None
    feet = np.argmax(mask, axis=0)
    head = len(mask) - 1 - np.argmax(mask[::-1], axis=0)
    height = float(np.ptp(planes)) + 1.0
    return float(head[middle].mean() - head[rim].mean()) / height, float(
        feet[rim].mean() - feet[middle].mean()
    ) / height


def _bone(hu: NDArray[np.float32], near: Mask, mask: Mask, step: Step) -> tuple[float, float]:
    """Return the bone near the midline behind and in front of the lungs' middle, ml."""
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    middle = (rows[0] + rows[-1]) // 2
    planes = np.asarray(mask.any(axis=(1, 2)))[:, None, None]
    bone = (hu > BONE_HU) & near & planes
    ml = float(np.prod(step)) * ML_PER_MM3
    return float(bone[:, middle:].sum()) * ml, float(bone[:, :middle].sum()) * ml


def _heart(hu: NDArray[np.float32], near: Mask, mask: Mask, step: Step) -> float:
    """Return how far the tissue between the lungs, in front and below, is to the left of the spine, mm."""
    planes = np.flatnonzero(mask.any(axis=(1, 2)))
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    places = np.arange(mask.shape[2])
    spine = ((hu > BONE_HU) & near)[planes[0] : planes[-1], (rows[0] + rows[-1]) // 2 :].sum(axis=(0, 1))
    height = planes[-1] - planes[0]
    part = mask[planes[0] + height // 8 : planes[0] + height // 2, rows[0] : (rows[0] + rows[-1]) // 2]
    # Body between both lungs of a slice, from its first lung voxel to its last one.
    after = np.logical_or.accumulate(part, axis=2)
    before = np.logical_or.accumulate(part[:, :, ::-1], axis=2)[:, :, ::-1]
    gap = (after & before & ~part).sum(axis=(0, 1))
    if not gap.any() or not spine.any():
        return 0.0
    return float((places @ gap) / gap.sum() - (places @ spine) / spine.sum()) * float(step[2])


def _liver(smooth: NDArray[np.float32], mask: Mask, step: Step) -> float | None:
    """Return the soft tissue below the lungs on the right, of that on both sides, of 1.

    None if there is little, or the scan ends above the diaphragm.
    """
    if _is_cut(mask[0], mask):  # heart, not liver
        return None
    planes, columns = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 1)))
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    low, high = int(planes[0]), int(planes[-1])
    part = (slice(max(0, low - round(BELOW_MM / step[0])), low + (high - low) // 7), slice(rows[0], rows[-1]))
    middle = int(columns[0] + columns[-1]) // 2
    soft = (smooth[part] > SOFT_HU[0]) & (smooth[part] < SOFT_HU[1]) & ~mask[part]
    right, left = (float(soft[:, :, a:b].sum()) for a, b in ((columns[0], middle), (middle, columns[-1])))
    ml = (right + left) * float(np.prod(step)) * ML_PER_MM3
    return right / (right + left) if ml >= LEAST_SOFT_ML else None
