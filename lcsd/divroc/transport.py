"""Optimal transport distance between clouds (Feydy et al., AISTATS 2019) through the package geomloss, an extra."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.errors import BadInputError
from lcsd.settings.register import TransportSettings

TINY_MM2 = 1e-6
"""Added below the root, so that equal clouds have a finite gradient."""


def _some(count: int, most: int) -> NDArray[np.int64]:
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


class TransportDistance:
    """The debiased Sinkhorn divergence of any cloud to one target cloud (M, 3), mm, in units of ``scale_mm``.

    ``sqrt(2 S)`` of ``S`` with the cost ``|a - b|^2 / 2``: the root mean square distance of partners, where every point
    shares its partner's mass. Random subsets of ``settings.points`` take part, the same ones in each call. Labels, if
    given, are compared apart: each structure is transported to its own kind.

    Raises ``BadInputError`` (``missing_package``) if geomloss is not installed.
    """

    def __init__(
        self,
        target: NDArray[np.float64],
        *,
        scale_mm: float,
        settings: TransportSettings,
        labels: tuple[NDArray[np.uint8], NDArray[np.uint8]] | None = None,
    ) -> None:
        try:
            from geomloss import SamplesLoss
        except ImportError as error:
            raise BadInputError(
                "the method ot needs the package geomloss",
                code="missing_package",
                field="method",
                remedy="pip install 'lcsd[methods]'",
            ) from error
        self._loss = SamplesLoss(
            "sinkhorn", p=2, blur=settings.blur_mm, reach=settings.reach_mm, debias=True, backend="tensorized"
        )
        self._points = settings.points
        self._scale_mm = scale_mm
        self._labels = labels
        rows = _some(len(target), settings.points)
        self._target = target[rows]
        self._target_labels = None if labels is None else labels[1][rows]

    def __call__(self, moved: Tensor) -> Tensor:
        """Return the distance of points (N, 3), mm, as a scalar, differentiably."""
        rows = _some(len(moved), self._points)
        target = torch.as_tensor(self._target, dtype=moved.dtype, device=moved.device)
        some = moved[torch.as_tensor(rows, device=moved.device)]
        if self._labels is None or self._target_labels is None:
            squared = 2 * self._loss(some, target)
            return (squared.clamp(min=0) + TINY_MM2).sqrt() / self._scale_mm
        own = self._labels[0][rows]
        total, counted = moved.new_zeros(()), 0
        for label in np.intersect1d(own, self._target_labels):
            part = torch.as_tensor(np.flatnonzero(own == label), device=moved.device)
            there = torch.as_tensor(np.flatnonzero(self._target_labels == label), device=moved.device)
            total = total + len(part) * 2 * self._loss(some[part], target[there])
            counted += len(part)
        return ((total / max(counted, 1)).clamp(min=0) + TINY_MM2).sqrt() / self._scale_mm
