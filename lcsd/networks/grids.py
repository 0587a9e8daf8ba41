"""Displacement grids of networks: around clouds, compared with them, and made from vectors at points."""

import numpy as np
import torch
from torch import Tensor

from lcsd.divroc.distance import CloudDistance
from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.rasters import rasterise
from lcsd.divroc.smoothing import smooth
from lcsd.geometry import Grid

SATURATION = 0.5
"""Slope of the saturation per typical density, as in the distance of the optimiser."""

BALANCE = 0.3
"""Share of the local density that is divided out, as there."""

MARGIN_MM = 16.0
"""Room of a grid around both clouds."""

LEAST_WEIGHT = 1e-4
"""Nodes with less weight around them than this share of a point hardly move."""


def grid_around(fixed: Tensor, moving: Tensor, *, node_mm: float, block: int = 1) -> Grid:
    """Return a grid of nodes over two clouds (N, 3) and (M, 3), LPS mm; its size is a multiple of ``block``."""
    corners = torch.stack([torch.minimum(fixed.amin(0), moving.amin(0)), torch.maximum(fixed.amax(0), moving.amax(0))])
    low, high = corners.detach().double().cpu().numpy()
    low, high = low - MARGIN_MM, high + MARGIN_MM
    nodes = np.ceil((high - low) / node_mm / block).astype(int) * block
    return Grid.centred((low + high) / 2, size=(int(nodes[0]), int(nodes[1]), int(nodes[2])), spacing_mm=node_mm)


def finer(grid: Grid, factor: int) -> Grid:
    """Return a grid over the same extent with ``factor`` times the voxels along each axis."""
    size = (grid.size[0] * factor, grid.size[1] * factor, grid.size[2] * factor)
    return Grid.centred(grid.centre, size=size, spacing_mm=grid.spacing[0] / factor)


def spread(points: Tensor, vectors: Tensor, weights: Tensor, grid: Grid, *, sigma_mm: float) -> Tensor:
    """Return the motion (1, 3, D, H, W) of points (N, 3) with vectors (N, 3) and weights (N,), differentiably.

    Vectors and weights are splatted, smoothed by a Gaussian and divided (Heinrich et al., ICCV 2023, section 3).
    """
    places = grid.world_to_normalised(points)[None]
    taps = gaussian_taps(sigma_mm / grid.spacing[0])
    moved = smooth(rasterise(places, (vectors * weights[:, None]).T[None].contiguous(), grid.shape), taps)
    mass = smooth(rasterise(places, weights[None, None].contiguous(), grid.shape), taps)
    return moved / (mass + LEAST_WEIGHT)


def distances(moved: Tensor, moving: Tensor, grid: Grid) -> Tensor:
    """Return the mean distance of two clouds (N, 3) and (M, 3), LPS mm, on rasters of the grid's nodes and finer."""
    total = moved.new_zeros(())
    for factor in (1, 2):
        raster = finer(grid, factor)
        target = raster.world_to_normalised(moving)
        distance = CloudDistance(target, raster.shape, sigma_voxels=1.0, gain=SATURATION, balance=BALANCE)
        places = raster.world_to_normalised(moved)
        total = total + distance(places, distance.weights(places.detach()))
    return total / 2
