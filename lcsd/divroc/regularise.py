"""Dense motion from sparse motion vectors: splat, smooth, divide."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.divroc.motion import clamped, covering_grid, fit_affine, nodes
from lcsd.divroc.rasterise import rasterise, sample
from lcsd.divroc.smoothing import gaussian_taps, smooth
from lcsd.errors import BadInputError
from lcsd.files import check_points
from lcsd.geometry import Grid
from lcsd.images import DisplacementField
from lcsd.settings.register import ExtrapolateSettings

SIGMA_VOXELS = 1.0
"""Gaussian on each scale's raster, voxels: the coarsest raster on which its values are smooth
enough for linear sampling, so that cost and memory shrink eightfold per scale."""

MAX_RASTER_VOXELS = 1 << 26
"""Voxels of the finest raster (1 GiB for three components and the count in float32)."""


class _Pyramid:
    """Smoothed normalised splats of one set of points, finest scale first."""

    def __init__(self, points: Tensor, box: NDArray[np.float64], settings: ExtrapolateSettings):
        self._points = points
        self._trust = settings.trust
        self._taps = gaussian_taps(SIGMA_VOXELS)
        # Peak 1, so that the smoothed count is the number of points under the Gaussian.
        self._taps = self._taps / self._taps.max()
        self._grids: list[Grid] = []
        self._counts: list[Tensor] = []
        for scale in range(settings.scales):
            spacing = settings.finest_sigma_mm * 2**scale / SIGMA_VOXELS
            margin = (len(self._taps) // 2 + 1) * spacing
            grid = covering_grid(box, spacing_mm=spacing, margin_mm=margin)
            if math.prod(grid.size) > MAX_RASTER_VOXELS:
                raise BadInputError(
                    "the finest raster does not fit in memory", code="raster_too_large",
                    field="finest_sigma_mm", expected=f"at most {MAX_RASTER_VOXELS} voxels",
                    found=f"{math.prod(grid.size)} voxels for {spacing:g} mm",
                    remedy="raise finest_sigma_mm",
                )  # fmt: skip
            self._grids.append(grid)
            ones = points.new_ones((1, 1, len(points)))
            self._counts.append(self._splat(grid, ones))

    def _splat(self, grid: Grid, weights: Tensor) -> Tensor:
        at = grid.world_to_normalised(self._points)[None]
        return smooth(rasterise(at, weights, grid.shape), self._taps)

    def levels(self, vectors: Tensor) -> list[Tensor]:
        """Return per scale the smoothed splat of vectors (N, 3), shape (1, 3, D, H, W)."""
        return [self._splat(grid, vectors.T[None]) for grid in self._grids]

    def at(self, levels: list[Tensor], query: Tensor) -> Tensor:
        """Return the blended motion at LPS points (M, 3), shape (M, 3).

        From coarse to fine, ``v = (sum + trust v) / (count + trust)``: where a scale sees many
        points its mean rules, where it sees none the coarser value stays; nothing is divided by
        zero, and a constant stays that constant.
        """
        blended = torch.zeros_like(query)
        for scale in reversed(range(len(levels))):
            at = clamped(self._grids[scale], query)[None]
            total = sample(levels[scale], at)[0].T
            count = sample(self._counts[scale], at)[0].T
            if scale == len(levels) - 1:
                blended = total / count.clamp(min=torch.finfo(query.dtype).tiny)
                blended = torch.where(count > 0, blended, torch.zeros_like(blended))
            else:
                blended = (total + self._trust * blended) / (count + self._trust)
        return blended


def _check(points: NDArray[Any], vectors: NDArray[Any], query: NDArray[Any]) -> None:
    check_points(points, name="points")
    check_points(vectors, name="vectors")
    check_points(query, name="query")
    if len(points) != len(vectors):
        raise BadInputError(
            "points and vectors differ in number", code="length_mismatch", field="vectors",
            expected=len(points), found=len(vectors),
        )  # fmt: skip


def extrapolate(
    points: NDArray[Any],
    vectors: NDArray[Any],
    query: NDArray[Any],
    *,
    settings: ExtrapolateSettings | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Return the motion at any place from the motion of scattered points.

    Parameters
    ----------
    points
        Shape (N, 3), LPS mm.
    vectors
        Motion of the points, shape (N, 3), mm.
    query
        Places to know the motion of, shape (M, 3), LPS mm.
    settings
        Scales of the Gaussians; the defaults if None.
    device
        ``"cpu"`` (same bits for any number of threads) or ``"cuda"``.

    Returns
    -------
    NDArray
        Shape (M, 3), float64, mm. Exact (to float32) for constant motion and, from
        12 points on, for affine motion; far from all points the affine part stays.

    Raises
    ------
    BadInputError
        Empty, non-finite or 2-D arrays; different numbers of points and vectors; a raster that
        does not fit in memory.

    Notes
    -----
    Vectors and ones are splatted, smoothed and divided (Heinrich et al., ICCV 2023), here after
    taking out the least-squares affine motion, blended over Gaussians from coarse to fine so that
    holes take the next wider mean, and repeated on the residual at the points. The cost hardly
    depends on N.
    """
    settings = settings or ExtrapolateSettings()
    points, vectors, query = (np.asarray(a) for a in (points, vectors, query))
    _check(points, vectors, query)
    places, moves, wanted = (np.asarray(a, dtype=np.float64) for a in (points, vectors, query))
    affine = fit_affine(places, moves)
    at = torch.as_tensor(places, dtype=torch.float32, device=device)
    asked = torch.as_tensor(wanted, dtype=torch.float32, device=device)
    pyramid = _Pyramid(at, places, settings)
    left = torch.as_tensor(moves - affine.at(places), dtype=torch.float32, device=device)
    result = torch.zeros_like(asked)
    for _ in range(settings.rounds):
        levels = pyramid.levels(left)
        result += pyramid.at(levels, asked)
        left = left - pyramid.at(levels, at)
    dense: NDArray[np.float64] = affine.at(wanted) + result.cpu().numpy()
    return dense


def extrapolate_field(
    points: NDArray[Any],
    vectors: NDArray[Any],
    grid: Grid,
    *,
    settings: ExtrapolateSettings | None = None,
    device: str = "cpu",
) -> DisplacementField:
    """Return the motion of scattered points as a displacement field on a grid.

    Parameters and errors as :func:`extrapolate`, evaluated at the voxel centres of ``grid``.
    """
    dense = extrapolate(points, vectors, nodes(grid), settings=settings, device=device)
    return DisplacementField(dense.reshape(*grid.shape, 3).astype(np.float32), grid)
