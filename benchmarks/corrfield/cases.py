"""Image pairs on a common grid whose motion is known, and how far a field is from it."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.files import read_json, read_point_pairs
from lcsd.images import DisplacementField, Image, read_image, read_mask, read_rigid
from lcsd.phantom.case import make_case

Points = NDArray[np.float64]

MARGIN_MM = 15.0
"""Kept around the lung where a study crops the images."""


@dataclass(frozen=True)
class Pair:
    """Prealigned images, the fixed lung, and places (N, 3) with their targets, LPS mm."""

    name: str
    fixed: Image
    moving: Image
    mask: Image
    places: Points
    targets: Points

    def errors(self, field: DisplacementField) -> Points:
        """Return the distance of each place's motion from the truth, mm."""
        return np.linalg.norm(self.places + field.at(self.places) - self.targets, axis=1)

    def cropped(self) -> "Pair":
        """Return the pair cut to the lung's box plus a margin."""
        spans = [
            np.flatnonzero(self.mask.array.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))
        ]
        margins = [round(MARGIN_MM / s) for s in self.mask.grid.spacing[::-1]]
        box = tuple(
            slice(max(int(s[0]) - m, 0), int(s[-1]) + m + 1)
            for s, m in zip(spans, margins, strict=True)
        )
        images = (_cut(image, box) for image in (self.fixed, self.moving, self.mask))
        return Pair(self.name, *images, self.places, self.targets)


def _cut(image: Image, box: tuple[slice, ...]) -> Image:
    array = np.ascontiguousarray(image.array[box])
    corner = np.array([[part.start for part in box[::-1]]], dtype=float)
    origin = tuple(image.grid.voxel_to_world(corner)[0])
    return Image(array, replace(image.grid, size=array.shape[::-1], origin=origin))


def read_pair(folder: Path, places: Points, native_targets: Points) -> Pair:
    """Return the pair in a built case's folder; targets are points of the native moving scan."""
    images = folder / "images"
    fixed = read_image(images / "fixed.nii.gz")
    mask = read_mask(images / "fixed_mask.nii.gz", like=fixed.grid)
    targets = read_rigid(images / "rigid.tfm").inverse().apply(native_targets)
    return Pair(folder.name, fixed, read_image(images / "moving.nii.gz"), mask, places, targets)


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
    """Return the pairs that the command line names."""
    pairs = []
    if arguments.cohort is not None:
        for truth in sorted(arguments.cohort.glob("*/truth/truth.json"))[: arguments.cases]:
            facts, name = read_json(truth), truth.parent.parent.name
            case = make_case(facts["seed"], case=facts["case"], size=facts["size"])
            pairs.append(read_pair(arguments.results / "cases" / name, *case.points))
    if arguments.real is not None:
        known = read_point_pairs(arguments.truth)
        pairs.append(read_pair(arguments.real, known.fixed, known.moving))
    return pairs
