"""Pictures of the vessel masks of one case, to check by eye what a gate flagged."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lcsd.build.inventory import Case, Inventory
from lcsd.io.images import Image, check_same_grid, read_image, read_mask
from lcsd.names import SCANS
from lcsd.report.panels import CONTOUR_COLOUR, PLANES, Cut, full_ink, grey, ink_mix, largest_cut, slice_panels

SCAN_NAMES = ("baseline", "follow-up")

VESSEL_COLOUR = "#D55E00"
"""Vermillion of Okabe and Ito: unlike the yellow of the lungs and any grey."""


@dataclass(frozen=True)
class _Scan:
    """Volumes of a scan, all on the common grid."""

    image: Image
    lungs: Image
    vessels: Image


def _read(case: Case, inventory: Inventory, scan: str) -> _Scan | None:
    image = inventory.once(case.files.image(scan), read_image)
    lungs = inventory.once(case.files.mask(scan), read_mask)
    vessels = inventory.attempt(case.files.vessels(scan), read_mask)
    if image is None or lungs is None or vessels is None:
        return None
    return _Scan(image, lungs, vessels)


def thickness(cut: Cut, mask: Image) -> NDArray[np.float64]:
    """Return the thickness of the vessels along the axis of a cut, the ink of a projection.

    ``mask`` is (z, y, x). The result has shape (rows, columns), in the square root of mm, so that thin vessels stay
    visible.
    """
    across_mm = mask.grid.spacing[2 - cut.plane.axis]
    result: NDArray[np.float64] = np.sqrt(cut.summed(mask.array) * across_mm)
    return result


def vessel_figure(case: Case, inventory: Inventory) -> Figure | None:
    """Return projections of both vessel masks, and their outlines over slices.

    Both scans have one scale of ink, so that a mask without some vessels is paler. None if a file is missing or broken
    (then a problem). Raises ``BadInputError`` if the volumes have different grids.
    """
    read = [_read(case, inventory, scan) for scan in SCANS]
    scans = [scan for scan in read if scan is not None]
    if len(scans) < len(SCANS):
        return None
    grid = scans[0].image.grid
    for scan in scans:
        for volume in (scan.image, scan.lungs, scan.vessels):
            check_same_grid(volume.grid, grid)
    # The shown box includes vessels outside the lungs, which are an error to look for.
    shown = np.logical_or.reduce([m.array for scan in scans for m in (scan.lungs, scan.vessels)])
    spacing_zyx = np.asarray(grid.spacing[::-1])
    cuts = [largest_cut(plane, shown, spacing_zyx) for plane in PLANES]
    labels = [f"{name}, {what}" for what in ("projected", "slice") for name in SCAN_NAMES]
    panels = slice_panels(cuts, spacing_zyx, labels)
    for column, cut in enumerate(cuts):
        density = [thickness(cut, scan.vessels) for scan in scans]
        full = full_ink(np.stack(density))
        inks = [np.clip(part / full, 0.0, 1.0) for part in density]
        none = np.zeros_like(inks[0])
        panels.show(0, column, ink_mix(inks[0], none))
        panels.show(1, column, ink_mix(none, inks[1]))
        for row, scan in enumerate(scans, len(scans)):
            panels.show(row, column, np.repeat(grey(cut.of(scan.image.array))[..., None], 3, -1))
            panels.outline(row, column, scan.lungs.array, CONTOUR_COLOUR)
            panels.outline(row, column, scan.vessels.array, VESSEL_COLOUR)
    return panels.figure
