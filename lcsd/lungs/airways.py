"""Find trachea and large bronchi: a region grown from the trachea until it leaks through a wall."""

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.numerics.morphology import ML_PER_MM3, Mask, Step

START_HU, END_HU, STEP_HU = -950.0, -840.0, 10.0
"""Thresholds of the region growing in trachea and bronchi: air, partly mixed with the wall."""

LEAK_GROWTH = 1.5  # if one step of the threshold adds half the airways again, it has broken through a wall
TRACHEA_AREA_MM2 = (40.0, 800.0)  # cross-section of a trachea with partial volume (normal: 150 to 400 mm2)
TRACHEA_LENGTH_MM = 25.0
TRACHEA_SHIFT_MM = 6.0  # a trachea's centre moves less than this between neighbouring slices

Float = NDArray[np.float32]
Track = list[tuple[int, Mask]]
"""A tube: the slices it passes, and its section (y, x) in each."""


def trachea(air: Mask, step: Step) -> Track:
    """Return the longest tube of air along z among planes of ``air`` (z, y, x); empty if there is none.

    The axes are those of LPS.
    """
    area = step[1] * step[2]
    best: Track = []
    tracks: list[tuple[NDArray[np.float64], Track]] = []
    for k in range(air.shape[0] - 1, -1, -1):
        labels, _ = ndimage.label(air[k])
        sizes = np.bincount(labels.ravel()) * area
        going: list[tuple[NDArray[np.float64], Track]] = []
        for label, place in enumerate(ndimage.find_objects(labels), start=1):
            if not _is_round(float(sizes[label]), place, step):
                continue
            part = labels == label
            centre = np.array(ndimage.center_of_mass(part)) * step[1:]
            near = [track for old, track in tracks if np.linalg.norm(old - centre) < TRACHEA_SHIFT_MM]
            track = [*max(near, key=len, default=[]), (k, part)]
            going.append((centre, track))
            best = max(best, track, key=len)
        tracks = going
    return best if len(best) >= np.ceil(TRACHEA_LENGTH_MM / step[0]) else []


def _is_round(size: float, place: tuple[slice, slice], step: Step) -> bool:
    """Return whether a part of an axial slice (``size`` mm2, in ``place``) could be a trachea."""
    if not TRACHEA_AREA_MM2[0] <= size <= TRACHEA_AREA_MM2[1]:
        return False
    height = (place[0].stop - place[0].start) * step[1]
    width = (place[1].stop - place[1].start) * step[2]
    # A disc fills pi/4 of its box; a crescent between rib and arm does not.
    return bool(max(height, width) < 2.5 * min(height, width) and size > 0.5 * height * width)


def airways(air: Mask, smooth: Float, step: Step, *, limit_ml: float) -> Mask:
    """Return trachea and large bronchi in the air (z, y, x) of a body, in HU ``smooth``; empty without a trachea.

    The trachea is the longest tube above or below the middle of the air, where the lungs are. It ends at its upper end:
    larynx and pharynx above are not part of it, and are no longer connected to the lungs.
    """
    found = np.zeros_like(air)
    heights = air.sum(axis=(1, 2))
    if not heights.any():
        return found
    middle = int(heights @ np.arange(len(heights)) / heights.sum())
    tube = air & (smooth < END_HU)
    above = [(middle + k, part) for k, part in trachea(tube[middle:], step)]
    # If the slices are in reverse order, it is at the other end; the check of the anatomy needs it outside the lungs.
    below = trachea(tube[:middle], step)
    track = above if len(above) >= len(below) else below
    if not track:
        return found
    top = max(k for k, _ in above) if track is above else len(heights)
    for k, part in track:
        found[k] = part
    values = np.where(air, smooth, np.float32(0))
    values[top + 1 :] = 0
    values[found] = 2 * START_HU
    image = sitk.GetImageFromArray(values)
    seeds = [(int(x), int(y), k) for k, part in track for y, x in np.argwhere(part)[:1]]
    voxel_ml = float(np.prod(step)) * ML_PER_MM3
    for limit in np.arange(START_HU, END_HU, STEP_HU):
        grown = sitk.ConnectedThreshold(image, seeds, lower=3 * START_HU, upper=float(limit))
        region = sitk.GetArrayFromImage(grown).astype(bool)
        leaked = region.sum() > LEAK_GROWTH * found.sum() and limit > START_HU
        if leaked or region.sum() * voxel_ml > limit_ml:
            break
        found = region
    return found
