"""Segment the lungs of a CT scan by thresholds, connected components and morphology.

The scan is averaged to about 1.5 mm and its axes are reordered to LPS, so that "head" and "slice"
have a meaning for every orientation. The result is returned on the scan's own grid.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.images import Image, from_sitk, resample, to_sitk
from lcsd.numerics.morphology import ML_PER_MM3, Mask, closed, connected, depth_mm, grown, largest, shrunk
from lcsd.settings.lungs import LungsSettings

TISSUE_ABOVE_HU = -300.0  # body wall; the foam of a table and clothes are less dense
TABLE_GAP_MM = 4.0  # opening that separates the table's thin shell and the mat from the back

AIRWAY_START_HU, AIRWAY_END_HU, AIRWAY_STEP_HU = -950.0, -840.0, 10.0
"""Thresholds of the region growing in trachea and bronchi: air, partly mixed with the wall."""

AIRWAY_LEAK_GROWTH = 1.5  # if one step of the threshold adds half the airways again, it has broken through a wall
TRACHEA_AREA_MM2 = (40.0, 800.0)  # cross-section of a trachea with partial volume (normal: 150 to 400 mm2)

TRACHEA_LENGTH_MM = 25.0
TRACHEA_SHIFT_MM = 6.0  # a trachea's centre moves less than this between neighbouring slices
ROOM_BELOW_HU = -975.0  # empty space: lung is denser because of its tissue and blood, even with emphysema
ROOM_DEPTH_MM = 4.0  # room air is at least this deep; empty spots of an emphysema are smaller and stay lung
PADDING_HU = -1023.0  # scanners write a constant below this outside the field of view
ROOM_BLUR_MM = 2.5  # width of the ramp between room air and skin after averaging
WALL_REACH_MM = 4.0  # largest distance of a lung's surface from the body wall (blur, thick slices, the opening)

ENCLOSED_SHARE = 0.7
"""Share of its surface that a lung has at the body wall (phantom and real scans: lungs >= 0.94,
also when cut by the edge; table foam <= 0.26)."""

EDGE_MM = 6.0  # in this rim of the scan, a lung's surface may be the edge of the field of view
SHALLOW_MM = 12.0  # air spaces that are nowhere deeper are folds, table foam or clothes

SPLIT_DEPTHS_MM = (1.5, 3.0, 4.5, 6.0, 8.0, 10.0)
"""Erosions tried to separate lungs that touch at the front or behind the heart."""

SPLIT_APART_MM = 60.0  # the centres of the two lungs are further apart from side to side (about 120 mm in adults)
SPLIT_SHARE = 0.2  # each part of touching lungs holds at least this share of the volume
TWO_MEANS_STEPS = 10  # iterations for the plane between touching lungs; it is stable after two or three

ML_PER_LITRE = 1e3


@dataclass(frozen=True)
class Lungs:
    """A lung mask with its figures."""

    mask: Image  # both lungs, bool, on the scan's grid
    count: int  # lungs found, 1 or 2
    volume_ml: float  # volume of the mask
    airways_ml: float  # volume of trachea and bronchi removed, 0 if none was found
    facts: dict[str, Any] = field(default_factory=dict)  # versions, options and weights of a model, for the provenance


def segment_lungs(scan: Image, settings: LungsSettings | None = None, *, file: Path | None = None) -> Lungs:
    """Return the mask of both lungs, vessels included, trachea and main bronchi excluded.

    ``scan`` is in HU, with any orientation; errors name ``file``. Raises ``BadInputError`` (``empty_lungs``) if
    no air space looks like a lung.
    """
    settings = settings or LungsSettings()
    work = _working_copy(scan, settings.working_spacing_mm)
    step = np.asarray(work.grid.spacing[::-1])
    smooth = ndimage.gaussian_filter(work.array, sigma=1.0 / step)
    air = smooth < settings.air_below_hu
    air &= ~_room_air(work.array, smooth, step)
    airways = _airways(smooth, air, settings, step)
    candidates = air & ~grown(airways, settings.airway_wall_mm, step)
    near_body = _near_body(work.array, step)
    lungs = _choose_lungs(candidates, smooth, near_body, settings, step)
    if not lungs:
        raise no_lung(file, f"an air space of at least {settings.min_lung_ml:g} ml inside the body", "none")
    whole = np.zeros_like(air)
    for lung in lungs:
        whole |= closed(lung, settings.closing_mm, step)
    whole &= ~airways
    mask = _on_grid(Image(whole, work.grid), scan.grid)
    volume = float(mask.array.sum() * np.prod(scan.grid.spacing) * ML_PER_MM3)
    return Lungs(mask, len(lungs), volume, float(airways.sum() * np.prod(step) * ML_PER_MM3))


def no_lung(file: Path | None, expected: str, found: str) -> BadInputError:
    """Return the error of a scan without lungs."""
    remedy = "check the units and the region of the scan, or give a mask"
    return BadInputError("no lung found", code="empty_lungs", file=file, expected=expected, found=found, remedy=remedy)


def lung_volumes(mask: Image, settings: LungsSettings | None = None) -> list[float]:
    """Return the volume in litres of each lung in a mask, the patient's right lung first.

    One volume for one lung, or for two that cannot be separated; none if no part is as large as a
    lung (``min_lung_ml``).
    """
    settings = settings or LungsSettings()
    work = _working_copy(mask, settings.working_spacing_mm)
    step = np.asarray(work.grid.spacing[::-1])
    litres = float(np.prod(step)) * ML_PER_MM3 / ML_PER_LITRE
    labels, sizes, order = connected(work.array > 0.5)
    least = max(settings.min_lung_ml / ML_PER_LITRE / litres, settings.second_lung_fraction * sizes.max(initial=0))
    parts = [labels == label for label in order[:2] if sizes[label] >= least]
    # The working copy has the axes of LPS: x grows to the patient's left.
    columns = [part.sum(axis=(0, 1)) for part in parts]
    if len(parts) == 1 and len(_separated(parts[0], step)) == 2:
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


def _working_copy(scan: Image, spacing_mm: float) -> Image:
    """Return the scan averaged to about ``spacing_mm``, float32, with the axes of LPS."""
    volume = sitk.DICOMOrient(to_sitk(scan), "LPS")
    factors = [max(1, round(spacing_mm / step)) for step in volume.GetSpacing()]
    return from_sitk(sitk.BinShrink(sitk.Cast(volume, sitk.sitkFloat32), factors))


def _near_body(hu: NDArray[np.float32], step: NDArray[np.float64]) -> Mask:
    """Return the voxels near the largest part of tissue: the body wall without table and clothes."""
    tissue = largest(shrunk(hu > TISSUE_ABOVE_HU, TABLE_GAP_MM / 2, step))
    return grown(tissue, TABLE_GAP_MM / 2 + WALL_REACH_MM, step)


def _room_air(hu: NDArray[np.float32], smooth: NDArray[np.float32], step: NDArray[np.float64]) -> Mask:
    """Return the empty space connected to a side of the scan, with the blur of its surface."""
    core = shrunk(smooth < ROOM_BELOW_HU, ROOM_DEPTH_MM, step)
    labels, count = ndimage.label(core | (hu <= PADDING_HU))
    sides = [labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]]
    room = np.zeros(count + 1, dtype=bool)
    room[np.concatenate([side.ravel() for side in sides])] = True
    room[0] = False
    empty = np.asarray(room[labels])
    rim = grown(empty & ~core, ROOM_BLUR_MM, step)
    return rim | grown(empty & core, ROOM_DEPTH_MM + ROOM_BLUR_MM, step)


def _trachea_seed(air: Mask, smooth: NDArray[np.float32], step: NDArray[np.float64]) -> Mask:
    """Return the longest vertical tube of air, searched from the head down; empty if there is none."""
    area = step[1] * step[2]
    planes = int(np.ceil(TRACHEA_LENGTH_MM / step[0]))
    tube = air & (smooth < AIRWAY_END_HU)
    best: list[tuple[int, Mask]] = []
    tracks: list[tuple[NDArray[np.float64], list[tuple[int, Mask]]]] = []
    for k in range(air.shape[0] - 1, -1, -1):
        labels, _ = ndimage.label(tube[k])
        sizes = np.bincount(labels.ravel()) * area
        going: list[tuple[NDArray[np.float64], list[tuple[int, Mask]]]] = []
        for label, box in enumerate(ndimage.find_objects(labels), start=1):
            if not _round(float(sizes[label]), box, step):
                continue
            part = labels == label
            centre = np.array(ndimage.center_of_mass(part)) * step[1:]
            near = [track for old, track in tracks if np.linalg.norm(old - centre) < TRACHEA_SHIFT_MM]
            track = [*max(near, key=len, default=[]), (k, part)]
            going.append((centre, track))
            best = max(best, track, key=len)
        tracks = going
        if len(best) >= 2 * planes:
            break
    seed = np.zeros_like(air)
    if len(best) >= planes:
        for k, part in best:
            seed[k] = part
    return seed


def _round(size: float, box: tuple[slice, slice], step: NDArray[np.float64]) -> bool:
    """Return whether a part of an axial slice (``size`` mm2, in ``box``) could be a trachea."""
    if not TRACHEA_AREA_MM2[0] <= size <= TRACHEA_AREA_MM2[1]:
        return False
    height = (box[0].stop - box[0].start) * step[1]
    width = (box[1].stop - box[1].start) * step[2]
    # A disc fills pi/4 of its box; a crescent between rib and arm does not.
    return bool(max(height, width) < 2.5 * min(height, width) and size > 0.5 * height * width)


def _airways(smooth: NDArray[np.float32], air: Mask, settings: LungsSettings, step: NDArray[np.float64]) -> Mask:
    """Return trachea and large bronchi: a region grown from the trachea until it leaks through a wall."""
    seed = _trachea_seed(air, smooth, step)
    if not seed.any():
        return seed
    voxel_ml = float(np.prod(step)) * ML_PER_MM3
    found = seed
    for limit in np.arange(AIRWAY_START_HU, AIRWAY_END_HU, AIRWAY_STEP_HU):
        labels, _ = ndimage.label((air & (smooth < limit)) | seed)
        touched = np.unique(labels[seed])
        region = np.isin(labels, touched[touched > 0])
        leaked = region.sum() > AIRWAY_LEAK_GROWTH * found.sum() and limit > AIRWAY_START_HU
        if leaked or region.sum() * voxel_ml > settings.airway_limit_ml:
            break
        found = region
    return np.asarray(found)


def _choose_lungs(
    candidates: Mask, smooth: NDArray[np.float32], near_body: Mask, settings: LungsSettings, step: NDArray[np.float64]
) -> list[Mask]:
    """Return the air spaces that are lungs, the largest first; touching lungs are separated."""
    voxel_ml = float(np.prod(step)) * ML_PER_MM3
    # An opening by one voxel cuts fine bridges to airways and to gas under the diaphragm.
    labels, sizes, order = connected(ndimage.binary_opening(candidates))
    found: list[Mask] = []
    for label in order:
        if sizes[label] * voxel_ml < settings.min_lung_ml:
            break
        part = labels == label
        if float(np.median(smooth[part])) < settings.gas_below_hu:
            continue
        if _is_in_body(closed(part, settings.closing_mm, step), near_body, step):
            found.append(np.asarray(ndimage.binary_dilation(part) & candidates))
    if settings.expected_lungs == "1":
        return found[:1]
    if len(found) == 1:
        return _separated(found[0], step)
    least = settings.second_lung_fraction * found[0].sum() if found else 0
    return [part for part in found[:2] if part.sum() >= least]


def _is_in_body(part: Mask, near_body: Mask, step: NDArray[np.float64]) -> bool:
    """Return whether an air space is deep and its surface is at the body wall."""
    surface = part & ~ndimage.binary_erosion(part, border_value=1)
    # Where the edge of the scan cuts a lung there is no wall.
    rows, columns = (slice(n, -n or None) for n in np.ceil(EDGE_MM / step[1:]).astype(int))
    seen = surface[:, rows, columns]
    enclosed = float(near_body[:, rows, columns][seen].mean()) if seen.any() else 0.0
    return enclosed > ENCLOSED_SHARE and float(depth_mm(part, step).max()) > SHALLOW_MM


def _separated(lungs: Mask, step: NDArray[np.float64]) -> list[Mask]:
    """Return touching lungs as two masks, or the mask itself if they cannot be separated."""
    depth = depth_mm(lungs, step)
    for radius in SPLIT_DEPTHS_MM:
        labels, sizes, order = connected(depth > radius)
        if len(order) < 2:
            continue
        first, second = order[:2]
        apart = np.subtract(*(ndimage.center_of_mass(labels == n) for n in (first, second))) * step
        if sizes[second] > SPLIT_SHARE * sizes.sum() and abs(apart[2]) > SPLIT_APART_MM:
            nearer = depth_mm(labels == first, step) >= depth_mm(labels == second, step)
            return [lungs & nearer, lungs & ~nearer]
    return [lungs]


def _on_grid(mask: Image, grid: Grid) -> Image:
    soft = ndimage.gaussian_filter(mask.array.astype(np.float32), 0.7)
    fine = resample(Image(soft, mask.grid), grid)
    return Image(fine.array > 0.5, grid)
