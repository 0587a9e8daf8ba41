"""Clouds as graphs: few points in a fixed order, nearest neighbours, and convolutions over edges."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional

Points = NDArray[np.float64]

FIRST_CELL_MM = 3.0
CELL_GROWTH = 1.12
MOST_GROWTHS = 60
"""Cells grow from the first edge until no cloud has too many of them: to 2.7 m at most."""

SLOPE = 0.2
"""Of LeakyReLU below zero, as in DGCNN."""

EDGE_MM = 10.0
"""Length of an edge for an input of 1."""


def ordered(points: Tensor) -> Points:
    """Return points (N, 3) as float64 in the order of their coordinates, whatever order they had.

    Neighbours at equal distances are told apart by their order, so a network that sees points in this order gives the
    same bits for each order of its input.
    """
    found = points.detach().cpu().numpy().astype(np.float64)
    return found[np.lexsort(found.T)]


def _cells(points: Points, cell_mm: float) -> tuple[NDArray[np.int64], int]:
    """Return the number (N,) of each point's cell, and how many cells are occupied."""
    where = np.floor(points / cell_mm).astype(np.int64)
    where -= where.min(axis=0)
    sizes = where.max(axis=0) + 1
    keys = (where[:, 2] * sizes[1] + where[:, 1]) * sizes[0] + where[:, 0]
    occupied, number = np.unique(keys, return_inverse=True)
    return number, len(occupied)


def thinned(fixed: Tensor, moving: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the means of both clouds' points in cells, (N, 3) and (M, 3).

    The smallest cells are taken that leave both clouds at most ``most`` points. The order of the input's points
    changes nothing, and a densely sampled vessel becomes as sparse as another one.
    """
    clouds = [ordered(cloud) for cloud in (fixed, moving)]
    cell = FIRST_CELL_MM
    for _ in range(MOST_GROWTHS):
        if max(_cells(cloud, cell)[1] for cloud in clouds) <= most:
            break
        cell *= CELL_GROWTH
    means = []
    for cloud in clouds:
        number, count = _cells(cloud, cell)
        held = np.bincount(number, minlength=count)
        sums = [np.bincount(number, weights=column, minlength=count) for column in cloud.T]
        means.append(torch.as_tensor(np.stack(sums, axis=1) / held[:, None], dtype=torch.float32, device=fixed.device))
    return means[0], means[1]


def neighbours(points: Tensor, others: Tensor, count: int) -> Tensor:
    """Return the rows (N, K) of the ``count`` points of ``others`` (M, 3) that are nearest to ``points`` (N, 3).

    K is M where there are fewer.
    """
    places, targets = (cloud.detach().cpu().numpy().astype(np.float64) for cloud in (points, others))
    count = min(count, len(targets))
    rows = cKDTree(targets).query(places, k=range(1, count + 1))[1]
    return torch.as_tensor(rows, dtype=torch.long, device=points.device)


def edges(points: Tensor, others: Tensor, rows: Tensor) -> Tensor:
    """Return the vectors from points (N, 3) to neighbours (N, K) of another cloud, and their lengths, (N, K, 4).

    They are relative to ``EDGE_MM``.
    """
    away = (others[rows] - points[:, None]) / EDGE_MM
    return torch.cat([away, away.norm(dim=2, keepdim=True)], dim=2)


class EdgeConvolution(nn.Module):
    """The largest response over a point's edges: ``max_j leaky(A f_i + B f_j + C e_ij)``, normalised for each point.

    Wang et al., Dynamic graph CNN, ACM TOG 2019, equation 8, with the geometry ``e_ij`` of the edge; a point's own and
    its neighbours' part are computed once for each point.
    """

    def __init__(self, inputs: int, outputs: int, others: int | None = None) -> None:
        super().__init__()
        self.own = nn.Linear(inputs, outputs)
        self.other = nn.Linear(others or inputs, outputs, bias=False)
        self.edge = nn.Linear(4, outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, features: Tensor, rows: Tensor, edge: Tensor, others: Tensor | None = None) -> Tensor:
        """Return features (N, C) of points with features (N, B), neighbours (N, K) and edges (N, K, 4).

        ``others`` (M, A) are the features of the cloud that the neighbours belong to; None: the points' own.
        """
        response = self.other(features if others is None else others)[rows] + self.edge(edge)
        # The own part is the same on each edge, and the nonlinearity keeps the order.
        largest = response.amax(dim=1) + self.own(features)
        out: Tensor = self.norm(functional.leaky_relu(largest, SLOPE))
        return out


class FirstConvolution(nn.Module):
    """The largest response over the shapes of a point's edges, which two layers see."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.inner = nn.Linear(4, outputs // 2)
        self.outer = nn.Linear(outputs // 2, outputs)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, edge: Tensor) -> Tensor:
        """Return features (N, C) of points with edges (N, K, 4)."""
        response = self.outer(functional.leaky_relu(self.inner(edge), SLOPE)).amax(dim=1)
        out: Tensor = self.norm(functional.leaky_relu(response, SLOPE))
        return out
