"""Chains of transforms: points through them and back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, jacobian_determinant
from lcsd.io.images import grid_of, place
from lcsd.transforms.learn2reg import VoxelDisplacements
from lcsd.transforms.parts import domain_of, parts_of
from lcsd.transforms.read import Motion, guess_format, read_motion

Points = NDArray[np.float64]
Move = Callable[[Points], Points]

TOLERANCE_MM = 1e-4
"""The inversion of a field ends when no point moves farther than this in a step."""

MOST_STEPS = 100
"""Steps of the inversion; a field whose slope is 0.9 needs 90 for 1e-4 mm."""

LEAST_INSIDE = 0.5
"""If fewer points than this share are inside a transform, it is a mistake."""

RETURNED_MM = 0.1
"""A point has an inverse if the transform brings it back at least this near."""


@dataclass(frozen=True)
class Moved:
    """Points after a chain of transforms."""

    points: Points  # shape (N, 3), LPS mm
    # Whether each point was inside every transform when it reached it, shape (N,); outside, a transform leaves points
    # where they are
    known: NDArray[np.bool_]
    # Distance of each point to where the chain brings its inverse, shape (N,), mm; 0 if nothing was inverted
    residual: Points


def _applied(transform: Any, points: Points) -> Points:
    """Return points (N, 3) after an ITK transform."""
    if not transform.IsLinear():
        return np.array([transform.TransformPoint(point) for point in points.tolist()]).reshape(-1, 3)
    origin, *ends = (
        np.array(transform.TransformPoint(point.tolist())) for point in np.vstack([np.zeros(3), np.eye(3)])
    )
    return points @ (np.array(ends) - origin) + origin


@dataclass(frozen=True)
class Part:
    """A transform of a chain that is not made of others, from LPS mm to LPS mm."""

    file: Path
    transform: Any  # SimpleITK's
    domain: Grid | None  # where it is defined; None: everywhere
    field: DisplacementField | None = None  # the same as a field, if it is one

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """Return whether the transform is defined at points (N, 3), shape (N,)."""
        return np.ones(len(points), dtype=bool) if self.domain is None else self.domain.contains(points)

    def moved(self, points: Points) -> Points:
        """Return points (N, 3) after the transform; those outside stay, as in ITK."""
        if self.field is not None:
            shift = np.where(self.inside(points)[:, None], self.field.at(points), 0.0)
            return points + shift
        return _applied(self.transform, points)

    def undone(self, points: Points) -> Points:
        """Return the points (N, 3) that the transform brings to ``points``.

        A field and a B-spline are inverted by the fixed point of ``x = y - u(x)`` (Chen et al., Med. Phys. 35 (2008)
        81); outside, ``u`` counts as it is at the border.
        """
        if self.domain is None:
            return _applied(self._inverse(), points)
        found, going = points.copy(), np.arange(len(points))  # the rows that still move
        for _ in range(MOST_STEPS):
            if not len(going):
                break
            before = found[going]
            found[going] = points[going] - self._shift(before)
            going = going[np.abs(found[going] - before).max(axis=1) >= TOLERANCE_MM]
        return found

    def _shift(self, points: Points) -> Points:
        """Return the displacement at points, also outside."""
        if self.field is not None:
            return self.field.at(points)
        return self.moved(points) - points

    def _inverse(self) -> Any:
        """Return the inverse of the transform, which ITK makes anew in each call."""
        try:
            return self.transform.GetInverse()
        except RuntimeError as error:
            raise BadInputError(
                "the transform has no inverse", code="not_invertible", file=self.file, field=self.transform.GetName()
            ) from error


def read_chain(files: Sequence[Path]) -> list[Part]:
    """Return the parts of transform files, in the order in which they move a point of the fixed scan.

    Errors as :func:`lcsd.transforms.read.read_motion`.
    """
    return [part for file in files for part in chain_of(_whole(file), file)]


def _whole(file: Path) -> Motion:
    """Return what a file holds if the file says it alone."""
    try:
        if guess_format(file) not in {"array", "landmarks"} and file.suffix.lower() != ".npz":
            return read_motion(file)
    except BadInputError as error:
        if error.code in {"wrong_field", "ambiguous_format"}:
            error.remedy = f"make a field of it first, by lcsd transform convert: {error.remedy}"
        raise
    raise BadInputError(
        "the file does not say alone which transform it is",
        code="bad_transform",
        file=file,
        expected="a displacement field .nii.gz, an ITK transform, or disp_*.nii.gz",
        remedy="make a field of it first: lcsd transform convert",
    )


def chain_of(motion: Motion, file: Path) -> list[Part]:
    """Return the parts of what a file holds, in the order in which they apply."""
    if isinstance(motion, VoxelDisplacements):
        motion = motion.field()
    if isinstance(motion, DisplacementField):
        return [part_of(motion, file)]
    return [Part(file, part, domain_of(part), field_of(part)) for part in parts_of(motion)]


def part_of(field: DisplacementField, file: Path = Path()) -> Part:
    """Return a displacement field as a part of a chain."""
    return Part(file, itk_field(field), field.grid, field)


def field_of(part: Any) -> DisplacementField | None:
    """Return an ITK transform that is a displacement field as such; None if it is of another kind."""
    if not isinstance(part, sitk.DisplacementFieldTransform):
        return None
    image = part.GetDisplacementField()
    return DisplacementField(sitk.GetArrayFromImage(image).astype(np.float32), grid_of(image))


def itk_field(field: DisplacementField) -> Any:
    """Return a displacement field as an ITK transform."""
    image = sitk.GetImageFromArray(np.asarray(field.vectors, np.float64), isVector=True)
    place(image, field.grid)
    return sitk.DisplacementFieldTransform(image)


def as_itk(chain: Sequence[Part]) -> Any:
    """Return a chain as one ITK transform; the identity for an empty one."""
    if not chain:
        return sitk.Transform(3, sitk.sitkIdentity)
    if len(chain) == 1:
        return chain[0].transform
    # ITK applies the part that was added last first.
    return sitk.CompositeTransform([part.transform for part in chain][::-1])


def through(chain: Sequence[Part], points: Points, *, inverse: bool = False) -> Moved:
    """Return points (N, 3), LPS mm, after a chain, or with ``inverse`` the points that it brings to them.

    Raises ``BadInputError`` (``outside_transform``) if most points are outside a transform when they reach it: it is of
    another frame, or the order or direction is wrong.
    """
    points = np.asarray(points, dtype=np.float64)
    if inverse:
        found, back, known = there_and_back(chain, points)
        moved = Moved(found, known, np.linalg.norm(back - points, axis=1))
        part = chain[0]
    else:
        known, found, part = np.ones(len(points), dtype=bool), points, chain[0]
        for part in chain:
            known = known & part.inside(found)
            if len(points) and known.mean() < LEAST_INSIDE:
                break
            found = part.moved(found)
        moved = Moved(found, known, np.zeros(len(points)))
    if len(points) and moved.known.mean() < LEAST_INSIDE:
        raise _outside(part, moved.known, points)
    bad = np.count_nonzero(~np.isfinite(moved.points).all(axis=1))
    if bad:
        raise BadInputError(
            "the transform moves points to infinite or undefined places",
            code="non_finite",
            file=part.file,
            found=f"{bad} of {len(points)} points",
        )
    return moved


def there_and_back(chain: Sequence[Part], points: Points) -> tuple[Points, Points, NDArray[np.bool_]]:
    """Return the points that a chain brings to ``points``, where it brings them in fact, and whether it is defined.

    Shapes (N, 3), (N, 3), LPS mm, and (N,).
    """
    found = points
    for part in chain[::-1]:
        found = part.undone(found)
    back, known = found, np.ones(len(found), dtype=bool)
    for part in chain:
        known &= part.inside(back)
        back = part.moved(back)
    return found, back, known


def _outside(part: Part, known: NDArray[np.bool_], points: Points) -> BadInputError:
    first = points[np.flatnonzero(~known)[0]]
    return BadInputError(
        "most points lie outside the transform when they reach it",
        code="outside_transform",
        file=part.file,
        expected="points inside its grid",
        found=f"{np.count_nonzero(~known)} of {len(points)} outside, such as "
        f"({', '.join(f'{value:.1f}' for value in first)}) LPS mm",
        remedy="check the frame of the points, the order of --transform (as they move a point of the fixed scan) and "
        "the direction (--from, --to)",
    )


def folding_percent(chain: Sequence[Part]) -> float:
    """Return the largest share of voxels with ``det J <= 0`` among the fields of a chain, percent."""
    shares = [100 * float((jacobian_determinant(part.field) <= 0).mean()) for part in chain if part.field is not None]
    return max(shares, default=0.0)
