"""Dense motion from sparse motion vectors: splat, then the smoothest grid that agrees."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.bending import bend
from lcsd.divroc.motion import clamped, covering_grid, fit_affine, nodes
from lcsd.divroc.rasters import rasterise, sample
from lcsd.errors import BadInputError
from lcsd.geometry import Grid
from lcsd.io.points import check_points
from lcsd.settings.register import ExtrapolateSettings

MARGIN_NODES = 2
"""Room of each grid around the points, nodes: there the second differences reach all of them."""

TOLERANCE = 1e-3
"""Residual, as a share of the right side, at which conjugate gradients end."""

BENDING_DIAGONAL = 42.0
"""Of the bending operator inside a volume: 3 axes x (1 + 4 + 1) and 3 pairs x 2 x 4."""

MAX_NODES = 1 << 25
"""Nodes of the finest grid (400 MB for each field of three components in float32)."""


class _Spline:
    """Points on one grid, and the least-squares system of a motion with bending energy.

    ``sum_n |u(x_n) - v_n|^2 + stiffness * integral |d2u|^2`` with u linear between the nodes.
    """

    def __init__(self, points: Tensor, grid: Grid, settings: ExtrapolateSettings) -> None:
        self.grid = grid
        self._settings = settings
        self._at = clamped(grid, points)[None]
        self._count = rasterise(self._at, points.new_ones((1, 1, len(points))), grid.shape)
        # The integral: squares of second differences / spacing^4, times the node's volume.
        self._weight = settings.stiffness_mm / grid.spacing[0]

    def _lumped(self, flow: Tensor) -> Tensor:
        """Return the system with each point's pull shared out to its nodes alone."""
        return self._count * flow + self._weight * bend(flow)

    def _solve(self, right: Tensor) -> Tensor:
        """Return the lumped system's solution by conjugate gradients, Jacobi-preconditioned."""
        inverse_diagonal = 1 / (self._count + self._weight * BENDING_DIAGONAL)
        found = torch.zeros_like(right)
        residual = right
        preconditioned = inverse_diagonal * residual
        direction, product = preconditioned, _dot(residual, preconditioned)
        tolerance = TOLERANCE**2 * product
        for _ in range(self._settings.steps):
            if product <= tolerance or product == 0:
                break
            applied = self._lumped(direction)
            step = product / _dot(direction, applied)
            found = found + step * direction
            residual = residual - step * applied
            preconditioned = inverse_diagonal * residual
            previous, product = product, _dot(residual, preconditioned)
            direction = preconditioned + (product / previous) * direction
        return found

    def refine(self, flow: Tensor, vectors: Tensor) -> Tensor:
        """Return a motion (1, 3, D, H, W) nearer to the optimum than ``flow``, for vectors (N, 3).

        The lumped system corrects what is left of the true one; repeated, that converges.
        """
        for _ in range(self._settings.rounds):
            missing = vectors.T[None] - sample(flow, self._at)
            pull = rasterise(self._at, missing, self.grid.shape)
            flow = flow + self._solve(pull - self._weight * bend(flow))
        return flow


def _dot(a: Tensor, b: Tensor) -> float:
    """Return the inner product, summed in an order that no number of threads changes."""
    if a.is_cuda:
        return float((a * b).sum(dtype=torch.float64))
    return float(np.einsum("i,i->", a.numpy().ravel(), b.numpy().ravel(), dtype=np.float64))


def _grids(box: NDArray[np.float64], settings: ExtrapolateSettings) -> list[Grid]:
    """Return the grids around points, coarse first."""
    grids = []
    for level in reversed(range(settings.levels)):
        spacing = settings.finest_mm * 2**level
        grids.append(covering_grid(box, spacing_mm=spacing, margin_mm=MARGIN_NODES * spacing))
    if math.prod(grids[-1].size) > MAX_NODES:
        raise BadInputError(
            "the finest grid does not fit in memory",
            code="raster_too_large",
            field="finest_mm",
            expected=f"at most {MAX_NODES} nodes",
            found=f"{math.prod(grids[-1].size)} nodes for {settings.finest_mm:g} mm",
            remedy="raise finest_mm",
        )
    return grids


def _check(points: NDArray[Any], vectors: NDArray[Any], query: NDArray[Any]) -> None:
    check_points(points, name="points")
    check_points(vectors, name="vectors")
    check_points(query, name="query")
    if len(points) != len(vectors):
        raise BadInputError(
            "points and vectors differ in number",
            code="length_mismatch",
            field="vectors",
            expected=len(points),
            found=len(vectors),
        )


def extrapolate(
    points: NDArray[Any],
    vectors: NDArray[Any],
    query: NDArray[Any],
    *,
    settings: ExtrapolateSettings | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Return the motion at places (M, 3), float64, mm, from the motion of scattered points (N, 3); all LPS mm.

    Exact (to float32) for constant motion and, from 12 points on, for affine motion; far from all points the affine
    part stays. ``settings`` None: the defaults. On the CPU the same bits for any number of threads.

    Raises ``BadInputError`` if an array is empty, not finite or not of shape (N, 3), if the numbers of points and
    vectors differ, or if a raster does not fit in memory.

    Vectors and ones are splatted (Heinrich et al., ICCV 2023), here after taking out the least-squares affine motion;
    holes are filled by least bending energy instead of a mean, from a coarse grid to a fine one. Apart from a few
    splats and samples the cost does not depend on N.
    """
    settings = settings or ExtrapolateSettings()
    points, vectors, query = (np.asarray(a) for a in (points, vectors, query))
    _check(points, vectors, query)
    places, moves, wanted = (np.asarray(a, dtype=np.float64) for a in (points, vectors, query))
    affine = fit_affine(places, moves)
    at = torch.as_tensor(places, dtype=torch.float32, device=device)
    asked = torch.as_tensor(wanted, dtype=torch.float32, device=device)
    residual = torch.as_tensor(moves - affine.at(places), dtype=torch.float32, device=device)
    grid, flow = None, torch.zeros(0)
    for finer in _grids(places, settings):
        spline = _Spline(at, finer, settings)
        start = at.new_zeros((1, 3, *finer.shape))
        if grid is not None:
            spots = torch.as_tensor(nodes(finer), dtype=torch.float32, device=device)
            start = sample(flow, clamped(grid, spots)[None]).reshape(start.shape)
        grid, flow = finer, spline.refine(start, residual)
    assert grid is not None, "the settings have at least one level"  # noqa: S101
    result = sample(flow, clamped(grid, asked)[None])[0].T
    dense: NDArray[np.float64] = affine.at(wanted) + result.cpu().numpy()
    return dense
