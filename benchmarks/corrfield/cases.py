"""Image pairs of known motion on a common grid, and errors of fields."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.io.fields import DisplacementField
from lcsd.io.files import read_json
from lcsd.io.images import Image, read_image, read_mask, read_rigid
from lcsd.io.points import PointPairs, read_point_pairs
from lcsd.numerics.morphology import box
from lcsd.numerics.tps import ThinPlateSpline
from lcsd.phantom.case import make_case

Points = NDArray[np.float64]

MARGIN_MM = 15.0
"""Margin around the lung in cropped images."""


@dataclass(frozen=True)
class Pair:
    """Prealigned images, the fixed lung, and the true motion of any point and of places, LPS mm."""

    name: str
    fixed: Image
    moving: Image
    mask: Image
    places: Points
    targets: Points
    motion: Callable[[Points], Points]

    def errors(self, field: DisplacementField) -> Points:
        """Return the error of the motion at each place, mm."""
        return np.linalg.norm(self.places + field.at(self.places) - self.targets, axis=1)

    def pair_errors(self, pairs: PointPairs) -> Points:
        """Return the error of each correspondence, mm."""
        return np.linalg.norm(self.motion(pairs.fixed) - pairs.moving, axis=1)

    def cropped(self) -> "Pair":
        """Return the pair cut to the lung's box plus a margin."""
        part = box(self.mask.array, MARGIN_MM, np.array(self.mask.grid.spacing[::-1]))
        arrays = [np.ascontiguousarray(image.array[part]) for image in (self.fixed, self.moving, self.mask)]
        grid = self.fixed.grid.part(np.array([axis.start for axis in part[::-1]]), arrays[0].shape[::-1])
        return Pair(self.name, *(Image(array, grid) for array in arrays), self.places, self.targets, self.motion)


def read_pair(folder: Path, places: Points, targets: Points, native: Callable[[Points], Points]) -> Pair:
    """Return the pair in the folder of a built case; the known motion is in the native moving scan."""
    images = folder / "images"
    fixed = read_image(images / "fixed.nii.gz")
    mask = read_mask(images / "fixed_mask.nii.gz", like=fixed.grid)
    rigid = read_rigid(images / "rigid.tfm").inverse()
    moving = read_image(images / "moving.nii.gz")
    return Pair(folder.name, fixed, moving, mask, places, rigid.apply(targets), lambda at: rigid.apply(native(at)))


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser for a phantom build and, optionally, a build of a case with known truth."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--cohort", type=Path, help="phantom cohort, such as demo/cohort")
    made.add_argument("--results", type=Path, help="its build, such as demo/results")
    made.add_argument("--cases", type=int, help="phantom pairs that take part; all if not given")
    made.add_argument("--real", type=Path, help="folder of a built case with known motion")
    made.add_argument("--truth", type=Path, help="its table of native fixed and moving points")
    return made


def pairs_of(arguments: argparse.Namespace) -> list[Pair]:
    pairs = []
    if arguments.cohort is not None:
        for truth in sorted(arguments.cohort.glob("*/truth/truth.json"))[: arguments.cases]:
            facts, name = read_json(truth), truth.parent.parent.name
            case = make_case(facts["seed"], case=facts["case"], size=facts["size"])
            folder = arguments.results / "cases" / name
            pairs.append(read_pair(folder, *case.points, case.transform))
    if arguments.real is not None:
        known = read_point_pairs(arguments.truth)

        def between(points: Points) -> Points:  # fitted only where it is needed, because it takes memory
            return ThinPlateSpline.fit(known.fixed, known.moving).evaluate(points)

        pairs.append(read_pair(arguments.real, known.fixed, known.moving, between))
    return pairs
