"""A U-Net that sees both clouds as densities and answers with a displacement grid."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lcsd.divroc.filters import gaussian_taps
from lcsd.divroc.motion import nodes, sampled_vectors
from lcsd.divroc.rasters import rasterise, sample
from lcsd.divroc.smoothing import smooth
from lcsd.geometry import Grid
from lcsd.networks.grids import BALANCE, SATURATION, distances, finer, grid_around
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


@dataclass(frozen=True)
class Channels:
    """What the network sees on the grid of nodes: rows of shape (1, C, D, H, W)."""

    fixed: Tensor  # densities of the fixed cloud, moved to the middle by the guess
    moving: Tensor
    guesses: Tensor  # mm: coupled, then each block alone
    costs: Tensor  # differences under small shifts, in the order of the shifts, which is turned around by its end
    certain: Tensor  # what is the same in both orders of the clouds

    def turned(self) -> "Channels":
        """Return what the network would see if the clouds were exchanged."""
        return Channels(self.moving, self.fixed, -self.guesses, self.costs.flip(1), self.certain)

    def joined(self) -> Tensor:
        """Return all channels in one tensor, of about unit size."""
        return torch.cat([self.fixed, self.moving, self.guesses / OUTPUT_MM, self.costs, self.certain], dim=1)


class Rasters:
    """Densities of two clouds on one grid of nodes, compared: the input of the network.

    The guess moves both densities to the middle between the clouds, where they nearly agree; what is left of the motion
    shows in the differences of small blocks under small shifts.
    """

    def __init__(self, fixed: Tensor, moving: Tensor, settings: UNetSettings) -> None:
        block = 2 ** (len(settings.features) - 1)
        self.grid = grid_around(fixed, moving, node_mm=settings.node_mm, block=block)
        self._fine = finer(self.grid, FINE)
        clouds = [self._of(cloud) for cloud in (fixed, moving)]
        guesses, sure = _guesses(clouds[0][0], clouds[1][0], settings.node_mm, self.grid.shape)
        warped = []
        for (fine, wide), way in zip(clouds, (-0.5, 0.5), strict=True):
            narrow = _warped(fine, way * _resized(guesses[:, :3], self._fine.shape), self._fine)
            warped.append((narrow, _warped(wide, way * guesses[:, :3], self.grid)))
        costs = _differences(warped[0][0], warped[1][0], _steps(1), FINE)
        mean = costs.mean(dim=1, keepdim=True)
        rows = [torch.cat([_unshuffled(narrow), wide], dim=1) for narrow, wide in warped]
        certain = torch.cat([sure, mean], dim=1)
        self.channels = Channels(rows[0], rows[1], guesses, costs / (mean + LEAST_DIFFERENCE) - 1, certain)

    def _of(self, cloud: Tensor) -> tuple[Tensor, Tensor]:
        """Return the density of a cloud on the fine raster and two wider ones on the nodes, (1, 2, D, H, W)."""
        places = self._fine.world_to_normalised(cloud)[None]
        weights = cloud.new_ones((1, 1, len(cloud)))
        taps = gaussian_taps(1.0)
        own = sample(smooth(rasterise(places, weights, self._fine.shape), taps), places)
        weights = weights * own.clamp(min=1e-6) ** -BALANCE
        raster = rasterise(places, weights, self._fine.shape)
        coarse = functional.avg_pool3d(raster, FINE)
        wide = [_saturated(smooth(coarse, gaussian_taps(sigma)), places) for sigma in (1.0, 2.0)]
        return _saturated(smooth(raster, taps), places), torch.cat(wide, dim=1)


def _unshuffled(fine: Tensor) -> Tensor:
    """Return the voxels of each node as channels, (1, FINE^3, D, H, W)."""
    blocks = fine.unflatten(2, (-1, FINE)).unflatten(4, (-1, FINE)).unflatten(6, (-1, FINE))
    return blocks.permute(0, 1, 3, 5, 7, 2, 4, 6).flatten(1, 4)


def _resized(volume: Tensor, shape: tuple[int, int, int]) -> Tensor:
    return functional.interpolate(volume, size=shape, mode="trilinear", align_corners=False)


def _warped(volume: Tensor, shift: Tensor, grid: Grid) -> Tensor:
    """Return a volume on a grid, read away from each voxel by a shift (1, 3, D, H, W), mm."""
    where = shift.new_tensor(nodes(grid)) + shift[0].flatten(1).T
    places = grid.world_to_normalised(where).reshape(1, *grid.shape, 3)
    found: Tensor = functional.grid_sample(volume, places, align_corners=False)
    return found


def _steps(reach: int) -> list[tuple[int, int, int]]:
    """Return all whole steps (z, y, x) of at most ``reach`` along each axis; the reverse is their opposites."""
    around = range(-reach, reach + 1)
    return list(itertools.product(around, around, around))


def _guesses(fixed: Tensor, moving: Tensor, step_mm: float, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return displacements by comparing blocks of both densities, (1, 6, D, H, W), mm: coupled, then each block alone.

    All shifts are weighted by how well they fit (a soft minimum). They move both clouds by half, against each other, so
    exchanging the clouds turns the answer around. Also returns how sure each place is, (1, 1, D, H, W).
    """
    steps = _steps(SEARCH)
    costs = _differences(fixed, moving, steps, 2 * FINE)
    shifts = step_mm * 2 / FINE * fixed.new_tensor(steps).flip(1)
    coupled, alone, sure = _soft_minima(costs, shifts, step_mm)
    return _resized(torch.cat([coupled, alone], dim=1), shape), _resized(sure, shape)


def _differences(fixed: Tensor, moving: Tensor, steps: Sequence[Sequence[int]], block: int) -> Tensor:
    """Return the mean differences of blocks of voxels under each shift, (1, K, D, H, W), without gradient."""
    reach = max(max(step) for step in steps)
    size = fixed.shape[2:]
    padded = [functional.pad(raster, [reach] * 6) for raster in (fixed, moving)]
    if not fixed.is_cuda:
        found = fixed.new_empty((1, len(steps), *(edge // block for edge in size)))
        there, here = (raster.detach()[0, 0].numpy() for raster in padded)
        block_differences(there, here, np.array(steps), block, found[0].numpy())
        return found
    return compared(padded[0], padded[1], steps, block)


def compared(fixed: Tensor, moving: Tensor, steps: Sequence[Sequence[int]], block: int) -> Tensor:
    """Return what :func:`lcsd.networks.kernels.block_differences` does, on any device, from padded volumes."""
    reach = max(max(step) for step in steps)
    costs = []
    for step in steps:
        there = _shifted(fixed, [-part for part in step], reach)
        here = _shifted(moving, step, reach)
        costs.append(functional.avg_pool3d((there - here).abs_(), block))
    return torch.cat(costs, dim=1)


def _soft_minima(costs: Tensor, shifts: Tensor, step_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean shift (1, 3, D, H, W) where neighbours are coupled, where they are not, and how sure it is.

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
    return found, alone, sure


def _shifted(padded: Tensor, step: Sequence[int], reach: int) -> Tensor:
    """Return the part of a volume padded by ``reach`` that begins some voxels (z, y, x) away from where it began."""
    ends = [edge - 2 * reach for edge in padded.shape[2:]]
    z, y, x = (reach + part for part in step)
    return padded[..., z : z + ends[0], y : y + ends[1], x : x + ends[2]]


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
            2 * (FINE**3 + 2) + 6 + len(_steps(1)) + 2,
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

    def forward(self, seen: Channels) -> Tensor:
        """Return displacements (1, 3, D, H, W), mm."""
        return seen.guesses[:, :3] + OUTPUT_MM * self.body(seen.joined())

    def field(self, rasters: Rasters) -> Tensor:
        """Return the answer that exchanging the clouds turns around, shape (1, 3, D, H, W), mm."""
        seen = rasters.channels
        there, back = self.body(torch.cat([seen.joined(), seen.turned().joined()]))
        return seen.guesses[:, :3] + OUTPUT_MM / 2 * (there - back)[None]

    def supervised(self, fixed: Tensor, moving: Tensor, vectors: Tensor, *, turned: bool) -> Tensor:
        """Return the mean error in mm of one order of the clouds, at fixed points (N, 3) with true vectors (N, 3).

        The answer is trained in one order at a time, ``turned`` or not: half the time of both.
        """
        rasters = Rasters(fixed, moving, self.settings)
        answer = -self(rasters.channels.turned()) if turned else self(rasters.channels)
        found = sampled_vectors(rasters.grid, answer, fixed + vectors / 2)
        return (found - vectors).norm(dim=1).mean()

    def unsupervised(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, float]:
        """Return the DiVRoC distance after the motion, the displacement grid (1, 3, D, H, W), and its spacing, mm."""
        rasters = Rasters(fixed, moving, self.settings)
        answer = self(rasters.channels)
        with torch.no_grad():
            middle = fixed + _from_middle(answer, rasters.grid, fixed) / 2
        moved = fixed + sampled_vectors(rasters.grid, answer, middle)
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
        found = sampled_vectors(grid, field, places + found / 2)
    return found
