"""Separate lungs that touch, and measure the volume on each side."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.io.images import Image
from lcsd.lungs.working import working_copy
from lcsd.numerics.morphology import ML_PER_MM3, Mask, Step, box, connected, depth_mm
from lcsd.settings.lungs import LungsSettings

SPLIT_DEPTHS_MM = (1.5, 3.0, 4.5, 6.0, 8.0, 10.0)
"""Erosions tried to separate lungs that touch at the front or behind the heart."""

BOTH_LUNGS_MM = 180.0
"""Two lungs that touch are together wider than this; one lung is narrower (about 130 mm in adults)."""

SPLIT_APART_MM = 60.0  # the centres of the two lungs are further apart from side to side (about 120 mm in adults)
SPLIT_SHARE = 0.2  # each part of touching lungs holds at least this share of the volume
TWO_MEANS_STEPS = 10  # iterations for the plane between touching lungs; it is stable after two or three
ML_PER_LITRE = 1e3


def separated(lungs: Mask, step: Step) -> list[Mask]:
    """Return touching lungs (z, y, x) as two masks, or the mask itself if they cannot be separated."""
    place = box(lungs, 2 * float(max(step)), step)
    part = lungs[place]
    depth = depth_mm(part, step)
    for radius in SPLIT_DEPTHS_MM:
        labels, sizes, order = connected(depth > radius)
        if len(order) < 2:
            continue
        first, second = order[:2]
        apart = np.subtract(*(ndimage.center_of_mass(labels == n) for n in (first, second))) * step
        if sizes[second] > SPLIT_SHARE * sizes.sum() and abs(apart[2]) > SPLIT_APART_MM:
            nearer = depth_mm(labels == first, step) >= depth_mm(labels == second, step)
            sides = [np.zeros_like(lungs), np.zeros_like(lungs)]
            sides[0][place], sides[1][place] = part & nearer, part & ~nearer
            return sides
    return [lungs]


def lung_volumes(mask: Image, settings: LungsSettings | None = None) -> list[float]:
    """Return the volume in litres of each lung in a mask, the patient's right lung first.

    One volume for one lung, or for two that cannot be separated and are narrow; none if no part is as
    large as a lung (``min_lung_ml``).
    """
    settings = settings or LungsSettings()
    work = working_copy(mask, settings.working_spacing_mm)
    step = np.asarray(work.grid.spacing[::-1])
    litres = float(np.prod(step)) * ML_PER_MM3 / ML_PER_LITRE
    labels, sizes, order = connected(work.array > 0.5)
    least = max(settings.min_lung_ml / ML_PER_LITRE / litres, settings.second_lung_fraction * sizes.max(initial=0))
    parts = [labels == label for label in order[:2] if sizes[label] >= least]
    # The working copy has the axes of LPS: x grows to the patient's left.
    columns = [part.sum(axis=(0, 1)) for part in parts]
    if len(parts) == 1 and (
        np.ptp(np.flatnonzero(columns[0])) * step[2] >= BOTH_LUNGS_MM or len(separated(parts[0], step)) == 2
    ):
        columns = _sides(columns[0])
    places = np.arange(work.array.shape[2])
    columns.sort(key=lambda counts: float(places @ counts) / float(counts.sum()))
    return [float(counts.sum()) * litres for counts in columns]


def _sides(counts: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Return the counts per sagittal plane of both sides of touching lungs, shape (x,) each.

    The plane is midway between the sides' means (two-means in one dimension). The thinnest place
    between touching lungs says little about their volumes.
    """
    places = np.arange(len(counts))
    middle = float(places @ counts) / float(counts.sum())
    for _ in range(TWO_MEANS_STEPS):
        right = np.where(places < middle, counts, 0)
        sides = [right, counts - right]
        middle = sum(float(places @ side) / max(1.0, float(side.sum())) for side in sides) / 2
    return sides
