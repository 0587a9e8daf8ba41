"""A network on points from coarse to fine: cost volumes around a motion that each level corrects."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from lcsd.divroc.motion import sampled_vectors
from lcsd.geometry import Grid
from lcsd.networks.graph import EDGE_MM, SLOPE, EdgeConvolution, FirstConvolution, edges, neighbours, thinned
from lcsd.networks.grids import spread
from lcsd.networks.points import PointNetwork
from lcsd.settings.train import PointPWCSettings

CORRECTION_MM = 10.0
"""Displacement for an output of 1."""

NEAREST = 3
"""Points of the coarser level that a point takes its features from."""

FIRST_WIDTH_MM = 9.0
"""Width of the pull of moving points near the present guess, before training."""

FIRST_ALIKE = 1.0
"""Weight of the features' difference before training."""

FIRST_ODDS = -3.0
"""Log of the weight of having no partner, relative to a partner right at the guess, before training."""

LEAST_SHARE = 1e-3
"""A point without a partner still counts this much in the motion of its surroundings."""

LEAST_EDGE = 1e-2
"""Edges count as at least this long in the mean by inverse lengths."""


def carried(features: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
    """Return features (N, C) of coarse points at fine points (M, 3): the mean of the nearest, by inverse distance."""
    rows = neighbours(fine, coarse, NEAREST)
    weight = 1 / edges(fine, coarse, rows)[:, :, 3:].clamp(min=LEAST_EDGE)
    return (features[rows] * weight).sum(dim=1) / weight.sum(dim=1)


def _still(channels: int) -> nn.Linear:
    """Return a last layer that answers with no correction (3) and no preference (1) before training."""
    layer = nn.Linear(channels, 4)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class CostVolume(nn.Module):
    """How well each fixed point fits the moving points around it, and those around its neighbours.

    Wu et al., PointPWC-Net, ECCV 2020, section 3.2: a learnt cost for each pair of points, summed over the moving
    points near a fixed one with weights learnt from the way between them, then likewise over the fixed neighbours.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mine = nn.Linear(channels, channels)
        self.theirs = nn.Linear(channels, channels, bias=False)
        self.way = nn.Linear(4, channels, bias=False)
        self.cost = nn.Linear(channels, channels)
        self.across = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(SLOPE), nn.Linear(8, channels))
        self.along = nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(SLOPE), nn.Linear(8, channels))
        self.norm = nn.LayerNorm(channels)
        self.score = nn.Linear(channels, 1, bias=False)
        nn.init.zeros_(self.score.weight)
        self.log_width = nn.Parameter(torch.tensor(FIRST_WIDTH_MM).log())
        self.log_alike = nn.Parameter(torch.tensor(FIRST_ALIKE).log())
        self.odds = nn.Parameter(torch.tensor(FIRST_ODDS))

    def forward(self, mine: Tensor, theirs: Tensor, across: "Edges", along: "Edges") -> tuple[Tensor, Tensor, Tensor]:
        """Return costs (N, C) of features (N, C) and (M, C), the pull (N, 3), mm, and how sure it is (N,), of 1.

        ``across`` leads to the moving cloud, ``along`` stays. The pull is the mean way to the moving points, weighted
        by the costs, by how alike the features are, and by the distance, beside the chance that there is no partner.
        """
        pair = self.mine(mine)[:, None] + self.theirs(theirs)[across.rows] + self.way(across.vectors)
        cost = functional.leaky_relu(self.cost(functional.leaky_relu(pair, SLOPE)), SLOPE)
        patch = (self.across(across.vectors) * cost).mean(dim=1)
        both = (self.along(along.vectors) * patch[along.rows]).mean(dim=1)
        away = EDGE_MM * across.vectors[:, :, :3]
        apart = away.square().sum(dim=2) / (2 * self.log_width.exp().square())
        unlike = (mine[:, None] - theirs[across.rows]).square().mean(dim=2)
        score = self.score(cost)[:, :, 0] - apart - self.log_alike.exp() * unlike
        share = torch.softmax(torch.cat([score, self.odds.expand(len(mine), 1)], dim=1), dim=1)[:, :-1]
        sure = share.sum(dim=1)
        pull = (share[:, :, None] * away).sum(dim=1) / (sure[:, None] + 1e-6)
        return self.norm(both), pull, sure


class Edges:
    """Edges from points (N, 3) to their nearest points of a cloud: rows (N, K) and vectors (N, K, 4)."""

    def __init__(self, points: Tensor, others: Tensor, count: int) -> None:
        self.rows = neighbours(points, others, count)
        self.vectors = edges(points, others, self.rows)


class PointPWC(PointNetwork):
    """Features on levels of points, and at each level a motion from a cost volume around the coarser level's motion.

    Wu et al., PointPWC-Net, ECCV 2020. Here the points of a level are means in cells, and the motion of each level
    becomes a grid by splatting (Heinrich et al., ICCV 2023), which also carries it to the next level.
    """

    settings: PointPWCSettings

    def __init__(self, settings: PointPWCSettings) -> None:
        super().__init__(settings)
        widths = settings.channels
        self.first = FirstConvolution(widths[0])
        self.same = nn.ModuleList(EdgeConvolution(width, width) for width in widths)
        self.down = nn.ModuleList(EdgeConvolution(one, two, one) for one, two in itertools.pairwise(widths))
        self.volumes = nn.ModuleList(CostVolume(width) for width in widths)
        above = [*widths[1:], 0]
        self.flows = nn.ModuleList(
            EdgeConvolution(2 * width + more + 7, width) for width, more in zip(widths, above, strict=True)
        )
        self.corrections = nn.ModuleList(_still(width) for width in widths)

    def levels(self, fixed: Tensor, moving: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return both clouds at each level, fine first."""
        found = [(fixed, moving)]
        most = self.settings.points
        for share in self.settings.coarser:
            most = max(most // share, 1)
            found.append(thinned(*found[-1], most))
        return found

    def described(self, clouds: list[Tensor]) -> list[Tensor]:
        """Return the features (N, C) of a cloud's points at each level, fine first."""
        count = self.settings.neighbours
        found: list[Tensor] = []
        for number, points in enumerate(clouds):
            near = Edges(points, points, count)
            if not found:
                features = self.first(near.vectors)
            else:
                finer = Edges(points, clouds[number - 1], count)
                around = carried(found[-1], clouds[number - 1], points)
                features = self.down[number - 1](around, finer.rows, finer.vectors, found[-1])
            found.append(self.same[number](features, near.rows, near.vectors))
        return found

    def fields(self, fixed: Tensor, moving: Tensor, grid: Grid) -> list[Tensor]:
        """Return the motion after each level, coarse first, (1, 3, D, H, W), mm."""
        levels = self.levels(fixed, moving)
        mine, theirs = (self.described([pair[which] for pair in levels]) for which in (0, 1))
        found: list[Tensor] = []
        hidden = fixed.new_zeros((0, 0))
        for number in reversed(range(len(levels))):
            points, others = levels[number]
            now = sampled_vectors(grid, found[-1], points) if found else torch.zeros_like(points)
            along = Edges(points, points, self.settings.neighbours)
            across = Edges(points + now, others, self.settings.candidates)
            costs, pull, sure = self.volumes[number](mine[number], theirs[number], across, along)
            parts = [mine[number], costs, now / CORRECTION_MM, pull / CORRECTION_MM, sure[:, None]]
            if found:
                parts.append(carried(hidden, levels[number + 1][0], points))
            hidden = self.flows[number](torch.cat(parts, dim=1), along.rows, along.vectors)
            change = self.corrections[number](hidden)
            moves = now + pull + CORRECTION_MM * change[:, :3]
            weight = sure * torch.sigmoid(change[:, 3]) + LEAST_SHARE
            found.append(spread(points, moves, weight, grid, sigma_mm=self.settings.spreads_mm[number]))
        return found
