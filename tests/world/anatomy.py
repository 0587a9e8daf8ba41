"""What scanners, patients and their keepers do to a chest: changes of a phantom's scan whose right lungs are known."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.geometry import Grid
from lcsd.io.images import Image
from lcsd.phantom.case import PhantomCase, Role, make_case


@dataclass(frozen=True)
class Chest:
    """A scan (z, y, x) with the axes of LPS, and the lungs that are right for it."""

    hu: NDArray[np.int16]
    lungs: NDArray[np.bool_]
    grid: Grid

    @property
    def points(self) -> tuple[NDArray[np.float64], ...]:
        """LPS mm of voxel centres against the middle of the lungs: z, y, x, each ready to broadcast."""
        z, y, x = (np.flatnonzero(self.lungs.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
        middles = [(found[0] + found[-1]) / 2 for found in (z, y, x)]
        axes = np.ogrid[tuple(slice(0, n) for n in self.hu.shape)]
        steps = self.grid.spacing[::-1]
        return tuple((axis - middle) * step for axis, middle, step in zip(axes, middles, steps, strict=True))

    @property
    def body(self) -> NDArray[np.bool_]:
        """The body without its table, its air filled slice by slice."""
        labels, _ = ndimage.label((self.hu > -300) | ndimage.binary_dilation(self.lungs))
        tissue = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
        return np.stack([ndimage.binary_fill_holes(plane) for plane in tissue])

    def with_hu(self, where: NDArray[np.bool_], hu: float, *, noise: float = 12.0, lung: bool | None = None) -> "Chest":
        """Return the chest with other HU somewhere; ``lung`` says whether that is lung now, None keeps it."""
        draw = np.random.default_rng(int(where.sum()))
        values = np.clip(hu + draw.normal(0, noise, self.hu.shape), -1024, 3071).astype(np.int16)
        lungs = self.lungs if lung is None else np.where(where, lung, self.lungs)
        return replace(self, hu=np.where(where, values, self.hu), lungs=lungs)

    def image(self) -> Image:
        """Return the scan."""
        return Image(self.hu, self.grid)


@cache
def _phantom(case: int) -> PhantomCase:
    return make_case(33, case=case, size="tiny")


@cache
def chest(role: Role = "fixed", case: int = 0) -> Chest:
    """Return a tiny phantom's scan."""
    made = _phantom(case)
    scan = made.scan(role)
    hu = made.acquired(role, made.clean_image(role), made.kernels[0])
    lungs = made.masks(role)[0] != 0
    grid = Grid(
        (hu.shape[2], hu.shape[1], hu.shape[0]),
        tuple(float(v) for v in scan.spacing),
        tuple(float(v) for v in scan.origin),
        tuple(float(v) for v in np.asarray(scan.direction).ravel()),
    )
    return Chest(hu, lungs, grid)


def _lung(old: Chest, side: int) -> NDArray[np.bool_]:
    """Return the lung of a side: -1 the right one, 1 the left one."""
    return old.lungs & (side * old.points[2] > 0)


def mat(old: Chest, *, hu: float = -850.0, thick: float = 45.0) -> Chest:
    """Put the patient on a mat of foam that follows the back; it touches three edges of the field of view."""
    _, y, _ = old.points
    body = old.body
    back = np.logical_or.accumulate(body, axis=1) & ~body
    rear = np.max(np.where(body.any(axis=(0, 2))[None, :, None], y, -np.inf))
    level = (y > rear - 35) & (y < rear + thick)
    found = old.with_hu(~body & level & (back | ~body.any(axis=1, keepdims=True)), hu)
    keep = int(np.flatnonzero(y.ravel() < rear + thick / 2)[-1]) + 1
    return _cut(found, 1, keep)


def _cut(old: Chest, axis: int, keep: int) -> Chest:
    """Return the first planes along an axis."""
    size = list(old.grid.size)
    size[2 - axis] = keep
    part = tuple(slice(keep) if k == axis else slice(None) for k in range(3))
    return Chest(old.hu[part], old.lungs[part], old.grid.part(np.zeros(3, dtype=int), size))


def wedge(old: Chest) -> Chest:
    """Lay foam between the body and a shell of plastic that holds it on all sides of a slice."""
    z, _, _ = old.points
    body = old.body
    wide = ndimage.binary_dilation(body, ndimage.generate_binary_structure(2, 1)[None], iterations=9)
    shell = wide & ~ndimage.binary_erosion(wide, ndimage.generate_binary_structure(2, 1)[None])
    some = np.broadcast_to(abs(z) < 90, body.shape)
    return old.with_hu(wide & ~body & some, -850).with_hu(shell & some, 60)


def strap(old: Chest, *, thick: float = 8.0) -> Chest:
    """Tie the patient with a strap that leaves air between it and the skin."""
    z, y, x = old.points
    front = np.min(np.where(old.body.any(axis=(0, 2))[None, :, None], y, np.inf))
    band = (abs(z) < 30) & (y > front - thick) & (y < front) & (abs(x) < 180)
    side = (abs(z) < 30) & (abs(abs(x) - 176) < thick / 2) & (y > front) & (y < 60)
    return old.with_hu((band | side) & ~old.body, 80)


def blanket(old: Chest) -> Chest:
    """Cover the patient with a folded blanket."""
    body = old.body
    near = ndimage.distance_transform_edt(~body, sampling=old.grid.spacing[::-1])
    _, y, x = old.points
    fold = near < 22 + 8 * np.sin(x / 9)
    return old.with_hu(fold & ~body & (y < 40), -700, noise=90)


def throat(old: Chest) -> Chest:
    """Let the scan reach up to the jaw: windpipe, voice box, throat and an open mouth above the phantom's neck."""
    step = old.grid.spacing[2]
    more = round(150 / step)
    height = old.hu.shape[0]
    hu = np.pad(old.hu, ((0, more), (0, 0), (0, 0)), constant_values=-1000)
    lungs = np.pad(old.lungs, ((0, more), (0, 0), (0, 0)))
    size = (old.grid.size[0], old.grid.size[1], height + more)
    tall = Chest(hu, lungs, replace(old.grid, size=size))
    _, y, x = tall.points
    z = (np.arange(height + more) - height)[:, None, None] * step
    # The trachea goes on where it leaves the phantom.
    top = (old.hu[-1] < -500) & old.body[-1]
    ys, xs = np.nonzero(top) if top.any() else (np.array([hu.shape[1] // 2]), np.array([hu.shape[2] // 2]))
    cy, cx = float(y.ravel()[ys].mean()), float(x.ravel()[xs].mean())
    new = np.broadcast_to(z >= 0, hu.shape)
    neck = ((x - cx) / 65) ** 2 + ((y - cy - 15) / 70) ** 2 < 1
    tall = tall.with_hu(new & neck, 40)
    pipe = ((x - cx) / 9) ** 2 + ((y - cy) / 9) ** 2 < 1
    pharynx = (((x - cx) / 22) ** 2 + ((y - cy - 5) / 14) ** 2 < 1) & (z > 60)
    mouth = (abs(x - cx) < 24) & (y < cy + 5) & (abs(z - 120) < 14)
    return tall.with_hu(new & (pipe | pharynx | mouth), -1000)


def touching(old: Chest, *, wide: float = 16.0) -> Chest:
    """Let both lungs meet in front of the heart."""
    z, y, x = old.points
    front = np.min(np.where(old.lungs.any(axis=(0, 2))[None, :, None], y, np.inf))
    bridge = (abs(x) < 45) & (y > front + 8) & (y < front + 8 + wide) & (abs(z - 10) < 40)
    return old.with_hu(bridge & (old.hu > -400), -860, lung=True)


def bowel(old: Chest) -> Chest:
    """Fill bowel with gas right under both diaphragms; its wall is thinner than a voxel."""
    z, y, x = old.points
    low = [np.flatnonzero(_lung(old, side).any(axis=(1, 2)))[0] for side in (-1, 1)]
    found = old
    for side, first in zip((-1, 1), low, strict=True):
        height = (z.ravel()[first], x, y)
        gut = ((x - side * 75) / 50) ** 2 + ((y + 20) / 35) ** 2 + ((z - height[0] - 10) / 30) ** 2 < 1
        wall = ndimage.binary_dilation(old.lungs)
        found = found.with_hu(gut & ~wall, -960, lung=False)
    return found


def effusion(old: Chest, *, side: int = -1) -> Chest:
    """Fill the lower back of one lung with fluid."""
    z, y, _ = old.points
    return old.with_hu(_lung(old, side) & (z < 0) & (y + 0.5 * z > -20), 12, lung=False)


def pneumothorax(old: Chest, *, side: int = 1) -> Chest:
    """Let air into the front of one pleural space."""
    _, y, _ = old.points
    lung = _lung(old, side)
    front = np.min(np.where(lung.any(axis=(0, 2))[None, :, None], y, np.inf))
    return old.with_hu(lung & (y < front + 60), -1000, lung=False)


def round_field(old: Chest, *, padding: int) -> Chest:
    """Reconstruct inside a circle that cuts the shoulders, with a constant outside."""
    rows, columns = old.hu.shape[1:]
    y, x = np.ogrid[:rows, :columns]
    outside = np.hypot(y - (rows - 1) / 2, x - (columns - 1) / 2) > 0.42 * min(rows, columns)
    return replace(old, hu=np.where(outside, np.int16(padding), old.hu))


def one_lung(old: Chest, *, side: int = 1) -> Chest:
    """Replace a lung by fluid, as after its removal."""
    return old.with_hu(_lung(old, side), 20, lung=False)


def emphysema(old: Chest) -> Chest:
    """Destroy the lungs: -950 HU in the mean, with bullae."""
    draw = np.random.default_rng(5)
    texture = ndimage.gaussian_filter(draw.normal(size=old.hu.shape), [6 / s for s in old.grid.spacing[::-1]])
    texture *= 22 / texture.std()
    aerated = old.lungs & (old.hu < -700)
    values = np.where(aerated, -945 + texture + draw.normal(0, 12, old.hu.shape), old.hu)
    return replace(old, hu=np.clip(values, -1024, 3071).astype(np.int16))


def consolidation(old: Chest, *, side: int = 1, radius: float = 35.0) -> Chest:
    """Fill a part of one lung at the chest wall."""
    z, y, x = old.points
    dense = (x - side * 110) ** 2 + (y - 10) ** 2 + (z + 20) ** 2 < radius**2
    return old.with_hu(dense & _lung(old, side), 35, lung=False)


def changed(make: Callable[..., Chest], **options: float) -> Callable[[], Chest]:
    """Return a maker of a changed chest."""
    return lambda: make(chest(), **options)


def without_part(old: Chest, *, low: float, high: float, side: int = 1) -> Chest:
    """Fill the heights of one lung between two shares, from its base (0) to its top (1), at +20 HU."""
    lung = _lung(old, side)
    planes = np.flatnonzero(lung.any(axis=(1, 2)))
    share = (np.arange(lung.shape[0]) - planes[0]) / (planes[-1] - planes[0])
    lost = ((share >= low) & (share <= high))[:, None, None]
    return old.with_hu(lung & lost, 20, lung=False)
