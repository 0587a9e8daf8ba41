"""One interface to the four forms of a registration's result."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from lcsd.errors import BadInputError
from lcsd.evaluation.lung250m import Lung250mGrids, moved_by_spline
from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField, FieldQuality, field_quality
from lcsd.io.images import Image
from lcsd.io.points import PointPairs
from lcsd.landmarks.common_space import POINTS_MARGIN_MM, box_around, check_in_common_space
from lcsd.names import FieldReading
from lcsd.settings.evaluate import Extrapolation
from lcsd.transforms.learn2reg import VoxelDisplacements
from lcsd.transforms.parts import carry, known_on, sampled

Source = Literal["field", "correspondences", "transform", "disp"]
SOURCES: tuple[Source, ...] = get_args(Source)

SAME_POINT_MM = 1e-2
"""A landmark this close to a correspondence in both scans is that correspondence. Files round to 1e-4 mm, and
independent observations do not agree to 1e-2 mm by chance."""


@dataclass(frozen=True)
class Quality:
    """Quality of a result, and the share of the mask in which it was measured."""

    # None for points, for a transform without a mask, and if no voxel of the mask is covered
    figures: FieldQuality | None
    # Share of the mask in which a transform is defined, percent; None without a transform or a mask
    covered_percent: float | None = None


@dataclass(frozen=True)
class Result:
    """The result of a registration, in one of four forms; give exactly one.

    The parameters are those of :func:`lcsd.evaluation.evaluate.evaluate_tre`.
    """

    field: DisplacementField | None = None
    correspondences: PointPairs | None = None
    transform: Any | None = None
    disp: VoxelDisplacements | None = None
    extrapolate: Extrapolation = "tps"
    tps_smoothing: float = 0.0
    # Extend correspondences by the spline of Lung250M-4B, which is normalised by these grids, and not by extrapolate
    benchmark_grids: Lung250mGrids | None = None
    # The field as it is in the file, and what its vectors are; None: as ``field`` or ``disp``
    stored: DisplacementField | VoxelDisplacements | None = None
    field_as: FieldReading = "displacement"

    def __post_init__(self) -> None:
        given = [name for name in SOURCES if getattr(self, name) is not None]
        if len(given) != 1:
            raise BadInputError(
                "give one result: a displacement field, correspondences, an ITK transform or a Learn2Reg field",
                code="bad_usage",
                field=", ".join(f"--{name}" for name in SOURCES),
                expected="exactly one",
                found=" and ".join(f"--{name}" for name in given) or "none",
            )

    @property
    def source(self) -> Source:
        """Form of the result."""
        return next(name for name in SOURCES if getattr(self, name) is not None)

    @property
    def extrapolation(self) -> Literal["none", "lung250m"] | Extrapolation:
        """How correspondences are extended to the landmarks; ``none`` for other forms."""
        if self.correspondences is None:
            return "none"
        return self.extrapolate if self.benchmark_grids is None else "lung250m"

    def volumes(self) -> list[Grid]:
        """Return the grids in which fixed landmarks must lie, because the result is defined there only."""
        if self.field is not None:
            return [self.field.grid]
        return [] if self.disp is None else [self.disp.fixed]

    def moved(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return fixed points (N, 3), LPS mm, registered to the moving scan."""
        if self.transform is not None:
            return carry(self.transform, points)
        if self.correspondences is not None and self.benchmark_grids is not None:
            return moved_by_spline(points, self.correspondences, self.benchmark_grids)
        if self.correspondences is not None:
            # torch, which a field does not need, takes a second to load.
            from lcsd.divroc.extrapolation import extrapolate_vectors

            known = self.correspondences
            return points + extrapolate_vectors(
                known.fixed,
                known.moving - known.fixed,
                points,
                method=self.extrapolate,
                tps_smoothing=self.tps_smoothing,
            )
        sampled_field = self.disp if self.field is None else self.field
        assert sampled_field is not None  # noqa: S101 - one of four is given
        return points + sampled_field.at(points)

    def quality(self, mask: Image | None) -> Quality:
        """Return the quality of a field, or of a transform in the part of the mask where it is defined."""
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
        """Return how many landmarks are correspondences themselves, in both scans; None if unknown."""
        if self.correspondences is None:
            return None
        known = np.hstack([self.correspondences.fixed, self.correspondences.moving])
        distance, _ = KDTree(known).query(np.hstack([landmarks.fixed, landmarks.moving]))
        return int((distance <= SAME_POINT_MM).sum())

    def check(self, landmarks: PointPairs, mask: Image | None, *, file: Path | None) -> None:
        """Refuse landmarks that are broken or lie where the result is not defined."""
        grids = [*([] if mask is None else [mask.grid]), *self.volumes()]
        known = self.correspondences
        box = None if known is None else box_around(known.fixed, POINTS_MARGIN_MM)
        check_in_common_space(landmarks, grids, box=box, mask=mask, file=file)
