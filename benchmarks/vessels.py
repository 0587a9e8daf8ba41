"""Both vessel backends on one scan: Dice and seconds if the truth is known, and a picture.

Run: python -m benchmarks.vessels IMAGE LUNGS OUT.jpg --weights FOLDER [--truth VESSELS]
         [--set objectness.noise_factor=5] ...
IMAGE and LUNGS lie on the common grid (images/ of a case); the truth may lie on the scan's own.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from lcsd.config import override
from lcsd.io.images import Image, read_image, read_mask, resample
from lcsd.numerics.device import Compute
from lcsd.report.panels import PLANES, full_ink, grey, ink_mix, largest_cut, slice_panels
from lcsd.report.vessels import CONTOUR_COLOUR, VESSEL_COLOUR, thickness
from lcsd.settings.vessels import VesselsSettings
from lcsd.vessels.vessels import make_vessels

BACKENDS = ("objectness", "totalsegmentator")


def dice(found: Image, truth: Image) -> float:
    common = np.count_nonzero((found.array != 0) & (truth.array != 0))
    return 2.0 * common / (np.count_nonzero(found.array) + np.count_nonzero(truth.array))


def draw(image: Image, lungs: Image, masks: dict[str, Image], out: Path) -> None:
    """Draw a projection of every mask, and its outlines over slices of the scan."""
    spacing = np.asarray(image.grid.spacing[::-1])
    cuts = [largest_cut(plane, lungs.array != 0, spacing) for plane in PLANES]
    labels = [f"{name}, {what}" for name in masks for what in ("projected", "slice")]
    panels = slice_panels(cuts, spacing, labels)
    for column, cut in enumerate(cuts):
        density = [thickness(cut, mask) for mask in masks.values()]
        full = full_ink(np.stack(density))
        for number, (mask, part) in enumerate(zip(masks.values(), density, strict=True)):
            ink = np.clip(part / full, 0.0, 1.0)
            panels.show(2 * number, column, ink_mix(ink, np.zeros_like(ink)))
            scan = np.repeat(grey(cut.of(image.array))[..., None], 3, -1)
            panels.show(2 * number + 1, column, scan)
            panels.outline(2 * number + 1, column, lungs.array, CONTOUR_COLOUR)
            panels.outline(2 * number + 1, column, mask.array, VESSEL_COLOUR)
    panels.figure.savefig(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image", type=Path)
    parser.add_argument("lungs", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--set", action="append", default=[], dest="assignments")
    given = parser.parse_args()
    image, lungs = read_image(given.image), read_mask(given.lungs)
    masks: dict[str, Image] = {}
    if given.truth is not None:
        masks["truth"] = resample(read_mask(given.truth), image.grid, nearest=True)
    for backend in BACKENDS:
        changes = [f"backend={backend}", f"totalsegmentator.weights={given.weights}"]
        settings = override(VesselsSettings(), [*changes, *given.assignments], section="vessels")
        start = time.perf_counter()
        masks[backend] = make_vessels(image, lungs, settings, on=Compute(threads=2)).mask
        seconds = time.perf_counter() - start
        known = f", Dice {dice(masks[backend], masks['truth']):.3f}" if "truth" in masks else ""
        voxels = np.count_nonzero(masks[backend].array)
        print(f"{backend}: {voxels} voxels, {seconds:.1f} s{known}")
    draw(image, lungs, masks, given.out)


if __name__ == "__main__":
    main()
