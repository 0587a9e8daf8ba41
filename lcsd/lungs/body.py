"""Tell the inside of the body from what is around it: room air, padding, table, mat, straps and blankets."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.numerics.morphology import Mask, Step, box, depth_mm, distance_mm, grown, largest

TISSUE_ABOVE_HU = -300.0  # body wall; the foam of a table and clothes are less dense
OPENING_MM = 1.4  # radius of the opening that separates straps, sheets and the table's shell from the skin
WALL_REACH_MM = 6.0  # largest distance of a lung's surface from the body wall (blur, thick slices, the opening)

GAS_BELOW_HU = -975.0  # empty space: lung is denser because of its tissue and blood, even with emphysema
ROOM_DEPTH_MM = 4.0  # room air is at least this deep
POCKET_DEPTH_MM = 12.0  # gas in bowel or pleura is this deep; empty spaces of a severe emphysema reach 10 mm
GAS_BLUR_MM = 2.5  # width of the ramp between gas and tissue after averaging
PADDING_HU = -1023.0  # scanners write a constant below this outside the field of view

ENCLOSED_SHARE = 0.7
"""Share of its surface that a lung has at the body wall, and share of its voxels with body on both sides (phantom and
real scans: lungs >= 0.94, also when cut by the edge; table foam <= 0.26)."""

EDGE_MM = 6.0  # in this rim of the scan, a lung's surface may be the edge of the field of view
SHALLOW_MM = 12.0  # air spaces that are nowhere deeper are folds, table foam or clothes

IN_PLANE = ndimage.generate_binary_structure(2, 1)[None]
"""Neighbours of a voxel in its slice: straps, shells and sheets are thin there, and long from slice to slice."""

Float = NDArray[np.float32]


def body_of(hu: Float, step: Step) -> Mask:
    """Return the soft tissue and bone of the patient: the largest part of tissue, without thin or loose things.

    ``hu`` is (z, y, x). Air inside the body is left out.
    """
    tissue = hu > TISSUE_ABOVE_HU
    rounds = round(OPENING_MM / float(step[1:].min()))  # voxels wider than a strap need none
    if rounds == 0:
        return largest(tissue)
    core = largest(ndimage.binary_erosion(tissue, IN_PLANE, iterations=rounds, border_value=1))
    return np.asarray(ndimage.binary_dilation(core, IN_PLANE, iterations=rounds) & tissue)


def gas_of(hu: Float, smooth: Float, step: Step) -> Mask:
    """Return empty space and padding with the blur of their surface: room air, and pockets of gas inside the body."""
    depth = depth_mm(smooth < GAS_BELOW_HU, step)
    core = depth > ROOM_DEPTH_MM
    labels, count = ndimage.label(core | (hu <= PADDING_HU))
    kept = np.zeros(count + 1, dtype=bool)
    kept[np.unique(labels[depth > POCKET_DEPTH_MM])] = True
    for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        kept[np.unique(side)] = True
    kept[0] = False
    empty = np.asarray(kept[labels])
    return grown(empty & ~core, GAS_BLUR_MM, step) | grown(empty & core, ROOM_DEPTH_MM + GAS_BLUR_MM, step)


@dataclass(frozen=True)
class Surroundings:
    """The body around air spaces, (z, y, x) with the axes of LPS: which air spaces are inside it."""

    body: Mask  # the patient's tissue
    either: Mask  # body on both sides, from side to side or from front to back
    both: Mask  # from side to side and from front to back
    step: Step

    @classmethod
    def of(cls, body: Mask, step: Step) -> "Surroundings":
        """Return the surroundings of all voxels of a scan."""
        across, deep = (_between(body, axis) for axis in (2, 1))
        return cls(body, across | deep, across & deep, step)

    def within(self, place: tuple[slice, slice, slice]) -> "Surroundings":
        """Return the surroundings in a part of the scan."""
        return Surroundings(self.body[place], self.either[place], self.both[place], self.step)

    def _inner(self, part: Mask) -> Mask:
        inner = np.zeros_like(part)
        rows, columns = (slice(n, -n or None) for n in np.ceil(EDGE_MM / self.step[1:]).astype(int))
        inner[:, rows, columns] = True
        return inner

    def uncut(self, part: Mask, air: Mask) -> Mask:
        """Return an air space with the air that continues it where the edge of the scan cuts the body around it."""
        if (part <= self._inner(part)).all():
            return part
        labels, _ = ndimage.label(air)
        return np.isin(labels, np.unique(labels[part]))

    def hold(self, part: Mask) -> bool:
        """Return whether an air space is deep, has body on both sides, and its surface is at the body wall.

        Where the edge of the scan cuts an air space, body on two sides is enough.
        """
        inner = self._inner(part)
        sides = self.both if (part <= inner).all() else self.either
        if float(sides[part].mean()) <= ENCLOSED_SHARE:
            return False
        place = box(part, 2 * WALL_REACH_MM, self.step)
        held = part[place]
        surface = held & ~ndimage.binary_erosion(held, border_value=1) & inner[place]
        near = distance_mm(self.body[place], self.step) <= WALL_REACH_MM
        if not surface.any() or float(near[surface].mean()) <= ENCLOSED_SHARE:
            return False
        return float(depth_mm(held, self.step).max()) > SHALLOW_MM


def _between(body: Mask, axis: int) -> Mask:
    """Return the voxels that have body on both sides along an axis."""
    before = np.logical_or.accumulate(body, axis=axis)
    after = np.flip(np.logical_or.accumulate(np.flip(body, axis), axis=axis), axis)
    return np.asarray(before & after)
