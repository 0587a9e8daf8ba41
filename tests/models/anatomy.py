"""Phantom scans with the labels that TotalSegmentator's tasks give, to train and to score on."""

import functools
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.geometry import Grid
from lcsd.io.images import Image, resample
from lcsd.numerics.morphology import grown
from lcsd.phantom.case import PhantomCase, Role, make_case

COMMON_SIZE, COMMON_MM = (224, 192, 224), 1.5
COARSE_MM = 3.0
AIR_BELOW_HU = -945.0
"""The lumen of an airway is empty; the lung of a phantom is nowhere so light."""

AIRWAY_REACH_MM = 10.0
"""Bronchi and the lower trachea lie this near to the lungs; the gap over the table does not."""

VESSEL, AIRWAY = 1, 2
LEFT, RIGHT = 11, 14
"""Labels of the task ``total`` that stand for a whole lung: the phantom has no lobes to learn."""

BOX_SIZE, BOX_FIELD_MM = 96, 230.0
"""Side of the small common grid, voxels; the scanner's round field around it, mm."""


@dataclass(frozen=True)
class Truth:
    """One scan with its truth.

    ``native``: int16 HU on the scanner's grid; ``lungs`` bool there; ``common`` int16 HU on the
    common grid, with ``tubes`` (uint8: vessel, airway) and ``common_lungs`` (bool).
    """

    native: Image
    lungs: Image
    common: Image
    tubes: Image
    common_lungs: Image


def common_grid(lungs: Image) -> Grid:
    """Return the common grid: centred on the lungs, axis-aligned."""
    voxels = np.argwhere(lungs.array)[:, ::-1].astype(np.float64)
    world = lungs.grid.voxel_to_world(np.stack([voxels.min(axis=0), voxels.max(axis=0)]))
    half = (np.array(COMMON_SIZE) - 1) / 2 * COMMON_MM
    origin = world.mean(axis=0) - half
    return Grid(COMMON_SIZE, (COMMON_MM,) * 3, (origin[0], origin[1], origin[2]))


def scan_truth(seed: int, role: Role = "fixed") -> Truth:
    """Return a full-size phantom scan with all labels; about a minute."""
    truth = _acquired(_case(seed), role)
    return _on_common(truth, common_grid(truth.lungs))


@functools.lru_cache(1)
def _case(seed: int) -> PhantomCase:
    return make_case(seed)


def coarse_truth(seed: int) -> Truth:
    """Return a scan of a whole full-detail phantom with pixels twice as wide; its common grid is the left half."""
    case = _case(seed)
    whole = case.fixed_scan
    x, y, z = whole.size_xyz
    scan = replace(whole, size_xyz=(x // 2, y // 2, z), spacing=whole.spacing * [2, 2, 1])
    native = _acquired(replace(case, fixed_scan=scan), "fixed")
    middle = COMMON_SIZE[0] // 2
    half = common_grid(native.lungs).part(np.array([middle, 0, 0]), (middle, *COMMON_SIZE[1:]))
    return _on_common(native, half)


def box_truth(seed: int) -> Truth:
    """Return a cube of 144 mm of the right lung of a full-detail phantom; some seconds."""
    case = _case(seed)
    points = case.points[0]
    x = points[:, 0]
    centre = np.median(points[x < (x.min() + x.max()) / 2], axis=0)
    whole = case.fixed_scan
    size = np.round(BOX_FIELD_MM / whole.spacing).astype(int)
    scan = replace(
        whole, size_xyz=(int(size[0]), int(size[1]), int(size[2])), origin=centre - whole.spacing * (size - 1) / 2
    )
    # Scans are cut to the box before anything is rendered.
    case = replace(case, fixed_scan=scan)
    origin = centre - (BOX_SIZE - 1) / 2 * COMMON_MM
    grid = Grid((BOX_SIZE,) * 3, (COMMON_MM,) * 3, (origin[0], origin[1], origin[2]))
    return _on_common(_acquired(case, "fixed"), grid)


@dataclass(frozen=True)
class _Native:
    hu: Image
    lungs: Image
    tubes: Image


def _acquired(case: PhantomCase, role: Role) -> _Native:
    scan = case.scan(role)
    grid = Grid(scan.size_xyz, tuple(scan.spacing), tuple(scan.origin), tuple(scan.direction.ravel()))
    clean = case.clean_image(role)
    lungs, vessels = case.masks(role)
    tubes = np.where(vessels > 0, VESSEL, 0)
    tubes[(tubes == 0) & _airways(clean)] = AIRWAY
    hu = Image(case.acquired(role, clean, case.kernels[0]), grid)
    return _Native(hu, Image(lungs > 0, grid), Image(tubes.astype(np.uint8), grid))


def _on_common(native: _Native, common: Grid) -> Truth:
    soft = Image(native.hu.array.astype(np.float32), native.hu.grid)
    moved = resample(soft, common, outside=-1000.0)
    lungs = resample(native.lungs, common, nearest=True)
    return Truth(
        native.hu,
        native.lungs,
        Image(np.rint(moved.array).astype(np.int16), common),
        near_lungs(resample(native.tubes, common, nearest=True), lungs),
        lungs,
    )


def _airways(clean: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return air that the body encloses, slice by slice: the room reaches a side."""
    labels, _ = ndimage.label(clean < AIR_BELOW_HU)
    sides = np.unique(np.concatenate([labels[:, 0].ravel(), labels[:, -1].ravel()]))
    return (labels > 0) & ~np.isin(labels, sides)


def near_lungs(tubes: Image, lungs: Image) -> Image:
    """Return the tubes without air that only the table or clothes enclose."""
    step = np.asarray(tubes.grid.spacing)
    near = grown(lungs.array, AIRWAY_REACH_MM, step)
    return Image(np.where((tubes.array == AIRWAY) & ~near, 0, tubes.array), tubes.grid)


def sides(lungs: Image) -> NDArray[np.uint8]:
    """Return the left and the right lung as labels, uint8 (z, y, x)."""
    z, y, x = np.indices(lungs.array.shape).reshape(3, -1)
    world = lungs.grid.voxel_to_world(np.stack([x, y, z], axis=1).astype(np.float64))
    inside = lungs.array.ravel()
    low, high = world[inside, 0].min(), world[inside, 0].max()
    left = world[:, 0] > (low + high) / 2  # LPS: x grows to the patient's left
    found = np.where(inside, np.where(left, LEFT, RIGHT), 0)
    return found.reshape(lungs.array.shape).astype(np.uint8)
