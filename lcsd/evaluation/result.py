"""What a registration does to landmarks, whatever kind of file describes it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd.divroc.extrapolation import extrapolate_vectors
from lcsd.errors import BadInputError
from lcsd.evaluation.learn2reg import VoxelDisplacements
from lcsd.evaluation.transforms import carry, known_on, sampled
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, FieldQuality, field_quality
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.common_space import POINTS_MARGIN_MM, box_around, check_landmarks
from lcsd.settings.evaluate import Extrapolation

Source = Literal["field", "correspondences", "transform", "disp"]

SAME_POINT_MM = 1e-2
"""A landmark this close to a correspondence at both ends is that correspondence; the files
round to 1e-4 mm, and two independent observations do not meet by chance at 1e-2 mm."""


@dataclass(frozen=True)
class Quality:
    """Quality of the motion, and how much of the mask that speaks of.

    Parameters
    ----------
    figures
        None for points, for transforms without a mask, and if nothing of the mask is covered.
    covered_percent
        Share of the mask's voxels where a transform is known, percent; None without either.
    """

    figures: FieldQuality | None
    covered_percent: float | None = None


@dataclass(frozen=True)
class Result:
    """Motion found by a registration, in one of four forms; exactly one is given.

    Parameters
    ----------
    field
        Displacement field ``y = x + u(x)``, LPS mm; sampled linearly.
    correspondences
        Point motion, LPS mm, extended to the landmarks by ``extrapolate``.
    transform
        ITK transform of fixed to moving points, LPS mm.
    disp
        Learn2Reg displacement field; sampled by cubic splines.
    extrapolate, tps_smoothing
        How correspondences reach the landmarks.
    """

    field: DisplacementField | None = None
    correspondences: PointPairs | None = None
    transform: Any | None = None
    disp: VoxelDisplacements | None = None
    extrapolate: Extrapolation = "tps"
    tps_smoothing: float = 0.0

    def __post_init__(self) -> None:
        names: tuple[Source, ...] = ("field", "correspondences", "transform", "disp")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadInputError(
                "give one result to score: a displacement field, correspondences, an ITK "
                "transform or a Learn2Reg field",
                code="bad_usage",
                field=", ".join(f"--{name}" for name in names),
                expected="exactly one",
                found=" and ".join(f"--{name}" for name in given) or "none",
            )

    @property
    def source(self) -> Source:
        """Which form is given."""
        if self.field is not None:
            return "field"
        if self.correspondences is not None:
            return "correspondences"
        return "transform" if self.disp is None else "disp"

    @property
    def extrapolation(self) -> Literal["none"] | Extrapolation:
        """How the motion reaches the landmarks; ``none`` where it is defined everywhere."""
        return "none" if self.correspondences is None else self.extrapolate

    def volumes(self) -> list[Grid]:
        """Return the volumes in which fixed landmarks must lie for the motion to be known."""
        if self.field is not None:
            return [self.field.grid]
        return [] if self.disp is None else [self.disp.fixed]

    def moved(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where fixed points (N, 3), LPS mm, are found in the moving scan."""
        if self.transform is not None:
            return carry(self.transform, points)
        at: Callable[[NDArray[np.float64]], NDArray[np.float64]]
        if self.correspondences is not None:
            at = self._extended
        else:
            at = self.field.at if self.field is not None else self.disp.at  # type: ignore[union-attr]
        return points + at(points)

    def _extended(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self.correspondences is not None  # noqa: S101 - asked for by `moved`
        known = self.correspondences
        return extrapolate_vectors(
            known.fixed, known.moving - known.fixed, points, method=self.extrapolate, tps_smoothing=self.tps_smoothing
        )

    def quality(self, mask: Image | None) -> Quality:
        """Return the quality of the field; of a transform in a mask, where it is known."""
        if self.field is not None:
            return Quality(field_quality(self.field, mask=mask))
        if self.disp is not None:
            return Quality(field_quality(self.disp.field(), mask=mask))
        if self.transform is None or mask is None:
            return Quality(None)
        wanted = mask.array != 0
        region = wanted & known_on(self.transform, mask.grid)
        if wanted.any() and not region.any():
            return Quality(None, 0.0)
        figures = field_quality(sampled(self.transform, mask.grid), mask=Image(region, mask.grid))
        return Quality(figures, 100.0 * figures.voxels / int(wanted.sum()))

    def circular(self, landmarks: PointPairs) -> int | None:
        """Return how many landmarks are themselves correspondences (both ends); None: unknown."""
        if self.correspondences is None:
            return None
        known = np.hstack([self.correspondences.fixed, self.correspondences.moving])
        distance, _ = KDTree(known).query(np.hstack([landmarks.fixed, landmarks.moving]))
        return int((distance <= SAME_POINT_MM).sum())

    def check(self, landmarks: PointPairs, mask: Image | None, *, file: Path | None) -> None:
        """Refuse landmarks that are broken or outside of where the motion is known."""
        grids = [*([] if mask is None else [mask.grid]), *self.volumes()]
        known = self.correspondences
        box = None if known is None else box_around(known.fixed, POINTS_MARGIN_MM)
        check_landmarks(landmarks, grids, box=box, mask=mask, file=file)
