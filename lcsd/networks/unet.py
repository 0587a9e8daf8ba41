"""A U-Net that sees both clouds as densities and answers with a displacement grid."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.rasters import rasterise, sample
from lcsd.divroc.smoothing import smooth
from lcsd.geometry import Grid
from lcsd.networks.grids import BALANCE, SATURATION, at, distances, finer, grid_around
from lcsd.networks.kernels import block_differences
from lcsd.settings.train import UNetSettings

Points = NDArray[np.float64]

FINE = 2
"""Voxels of the raster for each node of the displacement grid, along each axis."""

INVERSE_STEPS = 4
"""Steps that find the middle of a point's way: each shrinks what is left by the motion's slope."""

OUTPUT_MM = 8.0
"""Displacement for an output of 1."""

SEARCH = 2
"""Steps to each side in which blocks of the clouds are compared; a step moves each cloud by one voxel, so the shifts
are up to 16 mm along each axis."""

BLOCK_SIGMA = 0.6
"""Gaussian over the compared blocks, in blocks of 16 mm."""

SHARPNESS = 10.0
"""How much more a better shift weighs: the logarithm for a difference as large as the mean over all shifts."""

COUPLINGS = (0.02, 0.05, 0.1)
"""Pull towards the neighbours' guess in each round, relative to the difference, for a distance of one step; blocks that
fit nowhere follow their neighbours."""

LEAST_DIFFERENCE = 0.01
"""Where both clouds are empty, no shift is better than another."""


class Rasters:
    """Densities of two clouds on one grid of nodes: the input of the network, one row of channels for each cloud."""

    def __init__(self, fixed: Tensor, moving: Tensor, settings: UNetSettings) -> None:
        block = 2 ** (len(settings.features) - 1)
        self.grid = grid_around(fixed, moving, node_mm=settings.node_mm, block=block)
        self._fine = finer(self.grid, FINE)
        densities = [self._of(cloud) for cloud in (fixed, moving)]
        self.channels = [channels for channels, _ in densities]
        self.guesses = _guesses(densities[0][1], densities[1][1], settings.node_mm, self.grid.shape)

    def _of(self, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """Return the channels of a cloud, (1, C, D, H, W) on the grid of nodes, and its density on the fine raster."""
        places = self._fine.world_to_normalised(cloud)[None]
        weights = cloud.new_ones((1, 1, len(cloud)))
        taps = gaussian_taps(1.0)
        own = sample(smooth(rasterise(places, weights, self._fine.shape), taps), places)
        weights = weights * own.clamp(min=1e-6) ** -BALANCE
        raster = rasterise(places, weights, self._fine.shape)
        fine = _saturated(smooth(raster, taps), places)
        coarse = functional.avg_pool3d(raster, FINE)
        wide = [_saturated(smooth(coarse, gaussian_taps(sigma)), places) for sigma in (1.0, 2.0)]
        blocks = fine.unflatten(2, (-1, FINE)).unflatten(4, (-1, FINE)).unflatten(6, (-1, FINE))
        unshuffled = blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)
        return torch.cat([unshuffled, *wide], dim=1), fine


def _guesses(fixed: Tensor, moving: Tensor, step_mm: float, shape: tuple[int, int, int]) -> Tensor:
    """Return displacements by comparing blocks of both densities, (1, 6, D, H, W), mm: coupled, then each block alone.

    All shifts are weighted by how well they fit (a soft minimum). They move both clouds by half, against each other, so
    exchanging the clouds turns the answer around.
    """
    steps = list(itertools.product(range(-SEARCH, SEARCH + 1), repeat=3))
    costs = _differences(fixed, moving, steps)
    shifts = step_mm * 2 / FINE * fixed.new_tensor(steps).flip(1)
    guess = torch.cat(_soft_minima(costs, shifts, step_mm), dim=1)
    return functional.interpolate(guess, size=shape, mode="trilinear", align_corners=False)


def _differences(fixed: Tensor, moving: Tensor, steps: Sequence[Sequence[int]]) -> Tensor:
    """Return the mean differences of blocks under each shift, (1, K, D, H, W), without gradient."""
    size = fixed.shape[2:]
    padded = [functional.pad(raster, [SEARCH] * 6) for raster in (fixed, moving)]
    if not fixed.is_cuda:
        found = fixed.new_empty((1, len(steps), *(edge // (2 * FINE) for edge in size)))
        there, here = (raster.detach()[0, 0].numpy() for raster in padded)
        block_differences(there, here, np.array(steps), 2 * FINE, found[0].numpy())
        return found
    return compared(padded[0], padded[1], steps, size)


def compared(fixed: Tensor, moving: Tensor, steps: Sequence[Sequence[int]], size: Sequence[int]) -> Tensor:
    """Return what :func:`lcsd.networks.kernels.block_differences` does, on any device, from padded volumes."""
    costs = []
    for step in steps:
        there = _shifted(fixed, [-part for part in step], size)
        here = _shifted(moving, step, size)
        costs.append(functional.avg_pool3d((there - here).abs_(), 2 * FINE))
    return torch.cat(costs, dim=1)


def _soft_minima(costs: Tensor, shifts: Tensor, step_mm: float) -> list[Tensor]:
    """Return the mean shift (1, 3, D, H, W) where neighbours are coupled, and where they are not.

    ``costs`` (1, K, D, H, W) are the differences under the shifts (K, 3), mm.
    """
    cost = smooth(costs, gaussian_taps(BLOCK_SIGMA))
    mean = cost.mean(dim=1, keepdim=True)
    relative = cost / (mean + LEAST_DIFFERENCE)
    sure = (mean * (1 - relative.amin(dim=1, keepdim=True))).clamp(min=1e-4)
    near = gaussian_taps(1.0)
    lengths = shifts.square().sum(dim=1)[:, None, None, None]

    def weighed(total: Tensor) -> Tensor:
        return torch.einsum("bkdhw,kc->bcdhw", torch.softmax(-SHARPNESS * total, dim=1), shifts)

    alone = weighed(relative)
    found = alone
    for coupling in COUPLINGS:
        around = smooth((found * sure).contiguous(), near) / smooth(sure, near).clamp(min=1e-6)
        # The square of the distance to the shifts, but for a part that is the same for all of them.
        away = lengths - 2 * torch.einsum("bcdhw,kc->bkdhw", around, shifts)
        found = weighed(relative + coupling / step_mm**2 * away)
    return [found, alone]


def _shifted(padded: Tensor, step: Sequence[int], size: Sequence[int]) -> Tensor:
    """Return the part of a padded volume that begins some voxels (z, y, x) away from where it began before."""
    z, y, x = (SEARCH + part for part in step)
    return padded[..., z : z + size[0], y : y + size[1], x : x + size[2]]


def _saturated(density: Tensor, places: Tensor) -> Tensor:
    typical = sample(density, places)[0, 0].median().clamp(min=1e-6)
    return torch.tanh(SATURATION * density / typical)


class UNet(nn.Module):
    """Displacements on a grid of nodes from the densities of two clouds.

    The answer belongs to the middle: what lies at ``m`` came from ``m - v/2`` in the fixed cloud and goes to
    ``m + v/2`` in the moving one, so that exchanging the clouds turns ``v`` around (:meth:`field`). Densities at three
    widths are channels; the narrowest has eight voxels for each node.
    """

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        from dynamic_network_architectures.architectures.unet import PlainConvUNet

        self.settings = settings
        count = len(settings.features)
        self.body = PlainConvUNet(
            2 * (FINE**3 + 2) + 6,
            count,
            list(settings.features),
            nn.Conv3d,
            3,
            [1] + [2] * (count - 1),
            [settings.convolutions] * count,
            3,
            [settings.convolutions] * (count - 1),
            conv_bias=True,
            norm_op=nn.InstanceNorm3d,
            norm_op_kwargs={"affine": True},
            nonlin=nn.LeakyReLU,
            nonlin_kwargs={"inplace": True},
        )
        # Without training the answer is the guess.
        last = self.body.decoder.seg_layers[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, fixed: Tensor, moving: Tensor, guesses: Tensor) -> Tensor:
        """Return displacements (1, 3, D, H, W), mm, from both clouds' channels and the guesses (1, C, D, H, W)."""
        return guesses[:, :3] + OUTPUT_MM * self.body(torch.cat([fixed, moving, guesses / OUTPUT_MM], dim=1))

    def field(self, rasters: Rasters) -> Tensor:
        """Return the answer that exchanging the clouds turns around, shape (1, 3, D, H, W), mm."""
        fixed, moving = rasters.channels
        return (self(fixed, moving, rasters.guesses) - self(moving, fixed, -rasters.guesses)) / 2

    def supervised(self, fixed: Tensor, moving: Tensor, vectors: Tensor, *, turned: bool) -> Tensor:
        """Return the mean error in mm of one order of the clouds, at fixed points (N, 3) with true vectors (N, 3).

        The answer is trained in one order at a time, ``turned`` or not: half the time of both.
        """
        rasters = Rasters(fixed, moving, self.settings)
        if turned:
            answer = -self(*rasters.channels[::-1], -rasters.guesses)
        else:
            answer = self(*rasters.channels, rasters.guesses)
        found = at(answer, rasters.grid, fixed + vectors / 2)
        return (found - vectors).norm(dim=1).mean()

    def unsupervised(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the DiVRoC distance after the motion, the displacement grid (1, 3, D, H, W), and its spacing, mm."""
        rasters = Rasters(fixed, moving, self.settings)
        answer = self(*rasters.channels, rasters.guesses)
        with torch.no_grad():
            middle = fixed + _from_middle(answer, rasters.grid, fixed) / 2
        moved = fixed + at(answer, rasters.grid, middle)
        return distances(moved, moving, rasters.grid), answer, self.settings.node_mm

    @torch.no_grad()
    def displace(self, fixed: Tensor, moving: Tensor, places: Tensor) -> Tensor:
        """Return the motion (K, 3), mm, that carries places (K, 3) of the fixed cloud to the moving cloud."""
        rasters = Rasters(fixed, moving, self.settings)
        return _from_middle(self.field(rasters), rasters.grid, places)


def _from_middle(field: Tensor, grid: Grid, places: Tensor) -> Tensor:
    """Return the displacement of places whose middle has it: ``u = v(x + u / 2)``."""
    found = torch.zeros_like(places)
    for _ in range(INVERSE_STEPS):
        found = at(field, grid, places + found / 2)
    return found
