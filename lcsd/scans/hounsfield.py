"""Turn planes into one volume, and refuse values that no chest CT in HU has."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.errors import BadInputError
from lcsd.scans.pixels import AIR_HU, HU_LOWEST
from lcsd.settings.convert import ConvertSettings

HU_HIGHEST = int(np.iinfo(np.int16).max)

TISSUE_HU = (-150, 150)  # the most frequent value of a body: fat, muscle or blood
BIN_HU = 20  # wide enough for the noise of thin slices
PEAK_SHARE = 0.04
"""Share of the body in one bin from which on it is a tissue: soft tissue has 0.1 and more, an even spread 0.01."""

BODY_HU = -300  # lung and the edges of the body lie below
DENSE_HU = 500  # bone, dense contrast agent and metal lie above
BODY_SHARE = (0.01, 0.05)
"""No chest has less of the volume above ``BODY_HU`` than the first; below the second, tissues are not judged."""

SHIFTED_SHARE, SHIFTED_VALUES = 0.25, 2
"""Without a body, one value of so large a share and more values than these are a scan of other values, not of air."""

AIR_OUTSIDE, FAT, MUSCLE = -1000.0, -100.0, 45.0
"""HU of what makes the peaks of a chest's values. In two chests, a lung and phantoms: air -997 (-1020 where noise is
cut off at -1024), fat -112 to -87, muscle 32 to 52."""

PEAKS_HU = (110.0, 190.0)  # distance of the peaks of fat and of muscle
LEAST_PEAK = 0.1  # height of a peak over the highest one
FINE_HU, SMOOTHING_BINS = 5, 2.0
FLOOR_HU = HU_LOWEST + 0.5  # padding, and air cut off
AGREEING_HU = 60.0  # shift of air against that of tissue
CLEARLY = 1.5  # limit of tissue alone, as a multiple of that of both
SAMPLED_SLICES = 40

DOUBTFUL_DENSE = 0.06  # as max_dense_fraction, where air may be padding: 0.1 in HU + 1024 of a child in a wide field
PADDING_VALUES = 4  # values of padding; tissue and noise have many more


def in_hu(
    planes: Iterable[NDArray[Any]], shape: tuple[int, int, int], settings: ConvertSettings, source: Path
) -> NDArray[np.int16]:
    """Return planes (y, x) as one int16 volume, at least -1024 HU.

    Raises ``BadInputError`` (``not_hu``) unless air, lung, tissue and bone have the shares that a chest has, and
    (``bad_padding``) for a field of view whose outside looks like tissue.
    """
    volume = np.empty(shape, dtype=np.int16)
    lowest, highest = np.inf, -np.inf
    beneath = np.zeros(HU_HIGHEST, dtype=np.int64)  # voxels below air, by minus their value
    for index, plane in enumerate(planes):
        lowest, highest = min(lowest, float(plane.min())), max(highest, float(plane.max()))
        under = np.clip(-plane[plane <= AIR_HU[1]].astype(np.float64), 0, HU_HIGHEST - 1)
        beneath += np.bincount(np.rint(under).astype(np.int64), minlength=HU_HIGHEST)
        volume[index] = np.rint(np.clip(plane, HU_LOWEST, HU_HIGHEST))
    found = f"values from {lowest:g} to {highest:g}"
    if lowest >= 0:
        raise _not_hu("looks like raw or shifted values, not HU", source, "air near -1000 HU", found)
    _check_air(volume, beneath, settings, source, found)
    _check_outside(volume, source)
    # Values like those of air, but only so few that they may be padding.
    values = beneath[-int(AIR_HU[1]) : -int(AIR_HU[0])]
    doubtful = values.sum() - np.sort(values)[-PADDING_VALUES:].sum() < settings.min_air_fraction * volume.size
    most = min(settings.max_dense_fraction, DOUBTFUL_DENSE) if doubtful else settings.max_dense_fraction
    _check_tissue(volume, most, source, found)
    _check_offset(volume, settings.max_offset_hu, source)
    return volume


def _not_hu(what: str, source: Path, expected: str, found: str) -> BadInputError:
    return BadInputError(
        what,
        code="not_hu",
        file=source,
        expected=expected,
        found=found,
        remedy="export the scan again with its rescale slope and intercept applied, and check the scanned region",
    )


def _check_air(
    volume: NDArray[np.int16], beneath: NDArray[np.int64], settings: ConvertSettings, source: Path, found: str
) -> None:
    """Refuse too little air, or values below air that are not padding; ``beneath`` counts voxels by minus their HU."""
    lowest_air = -int(AIR_HU[0])
    under = int(beneath[lowest_air:].sum())
    inside = np.count_nonzero((volume > AIR_HU[0]) & (volume < AIR_HU[1])) - under
    air, least = inside / volume.size, settings.min_air_fraction
    if air < least:
        expected = f"{least:.2%} of the voxels between {AIR_HU[0]:g} and {AIR_HU[1]:g} HU"
        raise _not_hu("no lung in the scan, or its values are not HU", source, expected, f"{air:.2%}, {found}")
    below = (under - int(np.sort(beneath[lowest_air:])[-PADDING_VALUES:].sum())) / volume.size
    if below > settings.max_below_fraction:
        expected = f"at most {settings.max_below_fraction:.0%} of the voxels below {AIR_HU[0]:g} HU, except padding"
        raise _not_hu("values are lower than that of air", source, expected, f"{below:.0%}, {found}")
    body = float((volume > BODY_HU).mean())
    # An intercept applied twice: air and lung have one value if clipped, and tissue those of air.
    shifted = beneath.max() > SHIFTED_SHARE * volume.size and np.count_nonzero(beneath) > SHIFTED_VALUES
    if body < BODY_SHARE[0] and shifted:
        expected = f"{BODY_SHARE[0]:.0%} of the voxels above {BODY_HU} HU"
        raise _not_hu("no soft tissue in the scan, or its values are not HU", source, expected, f"{body:.2%}, {found}")


def _check_tissue(volume: NDArray[np.int16], most: float, source: Path, found: str) -> None:
    """Refuse a body whose soft tissue has other values than in HU, or with a share of dense voxels above ``most``."""
    body = volume[volume > BODY_HU].astype(np.int64)
    if body.size < BODY_SHARE[1] * volume.size:
        return
    bins = np.bincount((body - BODY_HU) // BIN_HU) / body.size
    peak = int(bins.argmax()) * BIN_HU + BODY_HU
    if bins.max() >= PEAK_SHARE and not TISSUE_HU[0] <= peak <= TISSUE_HU[1]:
        expected = f"the most frequent value of the body between {TISSUE_HU[0]} and {TISSUE_HU[1]} HU"
        raise _not_hu("soft tissue has other values than in HU", source, expected, f"{peak} HU, {found}")
    dense = float((body > DENSE_HU).mean())
    if dense > most and bins[(DENSE_HU - BODY_HU) // BIN_HU :].max() >= PEAK_SHARE * dense:
        expected = f"at most {most:.0%} of the body above {DENSE_HU} HU"
        raise _not_hu("too much of the body is as dense as bone", source, expected, f"{dense:.0%}, {found}")


def _check_offset(volume: NDArray[np.int16], most: float, source: Path) -> None:
    """Refuse air and soft tissue that are shifted together by more than ``most`` HU."""
    air, tissue, cut_off = hu_offsets(volume)
    if tissue is None:
        return
    agree = air is not None and min(abs(air), abs(tissue)) > most and abs(air - tissue) <= AGREEING_HU
    # The shift of air that is cut off is not known, so that of tissue must be clear.
    if agree or (cut_off and tissue < -CLEARLY * most):
        expected = f"air, fat and muscle within {most:g} HU of {AIR_OUTSIDE:g}, {FAT:g} and {MUSCLE:g} HU"
        raise _not_hu("the values are shifted against HU", source, expected, f"a shift of about {tissue:.0f} HU")


def hu_offsets(volume: NDArray[np.int16]) -> tuple[float | None, float | None, bool]:
    """Return how far air, and fat and muscle, are from their values in HU, and whether most air is cut off at -1024.

    ``volume`` is at least -1024 HU (z, y, x). A shift is None if it is not seen, such as that of tissue without a peak
    of fat and one of muscle. Without air outside of the body, lung is taken for air. Padding counts as air cut off.
    """
    step = max(1, len(volume) // SAMPLED_SLICES)
    smooth = ndimage.uniform_filter(volume[::step].astype(np.float32), (1, 3, 3))
    air = smooth[(smooth > FLOOR_HU) & (smooth < AIR_HU[1])]
    heights, places = _peaks(air, HU_LOWEST, AIR_HU[1])
    level = float(places[np.argmax(heights)] - AIR_OUTSIDE) if len(places) else None
    heights, places = _peaks(smooth[smooth > BODY_HU], BODY_HU, DENSE_HU)
    pairs = [
        (heights[i] + heights[j], (places[i] + places[j] - FAT - MUSCLE) / 2)
        for i, j in itertools.combinations(range(len(places)), 2)
        if PEAKS_HU[0] <= places[j] - places[i] <= PEAKS_HU[1]
    ]
    return level, float(max(pairs)[1]) if pairs else None, bool((smooth <= FLOOR_HU).sum() > air.size)


def _peaks(values: NDArray[np.float32], low: float, high: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the heights and places of the peaks of a distribution of values."""
    counts, edges = np.histogram(values, bins=np.arange(low, high + FINE_HU, FINE_HU))
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), SMOOTHING_BINS)
    inner = smooth[1:-1]
    where = 1 + np.flatnonzero((inner > smooth[:-2]) & (inner >= smooth[2:]) & (inner > LEAST_PEAK * smooth.max()))
    return smooth[where], edges[where] + FINE_HU / 2


def _check_outside(volume: NDArray[np.int16], source: Path) -> None:
    """Refuse one value, that of tissue, in all corners: the outside of the field of view would count as body."""
    value = int(volume[0, 0, 0])
    corners = volume[:: volume.shape[0] - 1, :: volume.shape[1] - 1, :: volume.shape[2] - 1]
    if value <= AIR_HU[1] or (corners != value).any():
        return
    share = float((volume == value).mean())
    raise BadInputError(
        "the outside of the field of view has the value of tissue",
        code="bad_padding",
        file=source,
        expected=f"padding below {AIR_HU[1]:g} HU",
        found=f"{value} HU in all corners and {share:.1%} of the voxels",
        remedy="set the voxels outside the field of view to -1024",
    )
