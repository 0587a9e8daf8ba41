"""Image pairs of known motion on a common grid, and errors of fields."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
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
        images = (_cut(image, part) for image in (self.fixed, self.moving, self.mask))
        return Pair(self.name, *images, self.places, self.targets, self.motion)


def _cut(image: Image, part: tuple[slice, ...]) -> Image:
    array = np.ascontiguousarray(image.array[part])
    corner = np.array([[axis.start for axis in part[::-1]]], dtype=float)
    origin = tuple(image.grid.voxel_to_world(corner)[0])
    return Image(array, replace(image.grid, size=array.shape[::-1], origin=origin))


def _between(known: PointPairs) -> Callable[[Points], Points]:
    """Return the motion between known points: a spline, fitted at each call."""

    def motion(points: Points) -> Points:
        return ThinPlateSpline.fit(known.fixed, known.moving).evaluate(points)

    return motion


def read_pair(folder: Path, places: Points, targets: Points, native: Callable[[Points], Points]) -> Pair:
    """Return the pair in the folder of a built case; the known motion is in the native moving scan."""
    images = folder / "images"
    fixed = read_image(images / "fixed.nii.gz")
    mask = read_mask(images / "fixed_mask.nii.gz", like=fixed.grid)
    rigid = read_rigid(images / "rigid.tfm").inverse()

    def motion(points: Points) -> Points:
        return rigid.apply(native(points))

    moving = read_image(images / "moving.nii.gz")
    return Pair(folder.name, fixed, moving, mask, places, rigid.apply(targets), motion)


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
    """Return the pairs of the command line."""
    pairs = []
    if arguments.cohort is not None:
        for truth in sorted(arguments.cohort.glob("*/truth/truth.json"))[: arguments.cases]:
            facts, name = read_json(truth), truth.parent.parent.name
            case = make_case(facts["seed"], case=facts["case"], size=facts["size"])
            folder = arguments.results / "cases" / name
            pairs.append(read_pair(folder, *case.points, case.transform))
    if arguments.real is not None:
        known = read_point_pairs(arguments.truth)
        pairs.append(read_pair(arguments.real, known.fixed, known.moving, _between(known)))
    return pairs
