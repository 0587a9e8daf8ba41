"""Coherent point drift (Myronenko and Song, 2010) through the package pycpd, an optional extra."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.motion import LayeredMotion
from lcsd.errors import BadInputError
from lcsd.settings.register import CpdSettings

Points = NDArray[np.float64]


class DriftMotion:
    """An affine start and a sum of Gaussians of width ``beta_mm`` around control points.

    ``centres`` are the control points after the start, shape (K, 3), mm; ``weights`` have the same shape, mm.
    """

    def __init__(self, start: LayeredMotion, centres: Points, weights: Points, beta_mm: float) -> None:
        self._start = start
        self._centres = centres
        self._weights = weights
        self._beta_mm = beta_mm

    def at(self, points: NDArray[Any], *, device: str = "cpu") -> NDArray[np.float32]:
        """Return the displacement at LPS points (N, 3), float32, shape (N, 3), mm."""
        from scipy.spatial.distance import cdist

        result = np.empty((len(points), 3), dtype=np.float32)
        rows = max(1, (1 << 24) // len(self._centres))  # 128 MB of distances at a time
        for first in range(0, len(points), rows):
            part = np.asarray(points[first : first + rows], dtype=np.float64)
            start = self._start.at(part, device=device)
            squared = cdist(part + start, self._centres, "sqeuclidean")
            drift = np.exp(-squared / (2 * self._beta_mm**2)) @ self._weights
            result[first : first + rows] = start + drift
        return result


def _some(points: int, count: int) -> NDArray[np.int64]:
    """Return the rows of a random subset, all if there are few."""
    return np.arange(points) if points <= count else np.random.default_rng(0).choice(points, count, replace=False)


def drift(
    fixed: Points,
    moving: Points,
    start: LayeredMotion,
    settings: CpdSettings,
    progress: Callable[[int, float], None] | None,
    *,
    labels: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
) -> tuple[DriftMotion, tuple[float, ...]]:
    """Return the coherent drift of the fixed cloud (N, 3) onto the moving cloud (M, 3), LPS mm.

    Random subsets of ``settings.points`` take part. With ``labels`` of both clouds, points of different structures
    never match. ``start`` is affine. ``progress`` is called with the iteration and the standard deviation of the
    mixture, mm. The result is the motion anywhere, and this deviation per iteration. Raises ``BadInputError`` if pycpd
    is not installed.
    """
    try:
        from pycpd import DeformableRegistration
    except ImportError as error:
        raise BadInputError(
            "the method cpd needs the package pycpd",
            code="missing_package",
            field="method",
            remedy="pip install 'lcsd[cpd]'",
        ) from error
    rows = [_some(len(cloud), settings.points) for cloud in (fixed, moving)]
    centres = fixed[rows[0]] + start.at(fixed[rows[0]])
    same = None if labels is None else labels[0][rows[0]][:, None] == labels[1][rows[1]][None]

    class Drift(DeformableRegistration):  # type: ignore[misc]
        """Leaves out pairs of different structures."""

        P: Points  # share of each fixed point in each moving point

        def expectation(self) -> None:
            super().expectation()
            if same is None:
                return
            # What a point gives to no other point belongs to the outliers.
            outliers = 1 - self.P.sum(axis=0)
            kept = self.P * same
            self.P = kept / np.maximum(kept.sum(axis=0) + outliers, np.finfo(float).tiny)
            self.Pt1, self.P1 = self.P.sum(axis=0), self.P.sum(axis=1)
            self.Np = self.P1.sum()

    # The method's outlier term takes the volume of the clouds for 1: in mm all would be outliers.
    origin, scale = moving.mean(axis=0), float(moving.std(axis=0).mean())
    curve: list[float] = []

    def tell(**_: object) -> None:
        curve.append(scale * float(np.sqrt(max(solver.sigma2, 0.0))))
        if progress is not None:
            progress(len(curve), curve[-1])

    solver = Drift(
        X=(moving[rows[1]] - origin) / scale,
        Y=(centres - origin) / scale,
        alpha=settings.stiffness,
        beta=settings.beta_mm / scale,
        w=settings.outliers,
        max_iterations=settings.iterations,
        tolerance=1e-7,
    )
    solver.register(tell)
    return DriftMotion(start, centres, scale * solver.W, settings.beta_mm), tuple(curve)
