"""A graph network that describes points, and soft correspondences that a smooth motion ties together."""

import torch
from torch import Tensor, nn

from lcsd.divroc.motion import sampled_vectors
from lcsd.geometry import Grid
from lcsd.networks.graph import EdgeConvolution, FirstConvolution, edges, neighbours
from lcsd.networks.grids import spread
from lcsd.networks.points import PointNetwork
from lcsd.settings.train import DGCNNSettings

FIRST_WIDTH_MM = 12.0
LAST_WIDTH_MM = 5.0
"""Width of the pull towards the present guess in the first and the last round, before training."""

FIRST_ALIKE = 1.0
"""Weight of the features' difference before training."""

FIRST_ODDS = -3.0
"""Log of the weight of having no partner, relative to a partner right at the guess, before training."""

LEAST_SHARE = 1e-3
"""A point without a partner still counts this much in the motion of its surroundings."""


class DGCNN(PointNetwork):
    """Soft correspondences between graphs of points, round after round around a smoother motion.

    Three edge convolutions describe each point (Wang et al., ACM TOG 2019). Its candidates are the nearest points of
    the other cloud. Each is weighted by the difference of the descriptions and by how far it is from where the present
    motion leads, beside the chance that there is no partner. The mean displacements become a motion by splatting
    (Heinrich et al., ICCV 2023), around which the next round looks.
    """

    settings: DGCNNSettings

    def __init__(self, settings: DGCNNSettings) -> None:
        super().__init__(settings)
        width, rounds = settings.channels, len(settings.spreads_mm)
        self.first = FirstConvolution(width)
        self.second = EdgeConvolution(width, width)
        self.third = EdgeConvolution(width, width)
        self.head = nn.Sequential(
            nn.Linear(3 * width, width), nn.LeakyReLU(0.2), nn.Linear(width, settings.outputs + 2)
        )
        widths = torch.linspace(FIRST_WIDTH_MM, LAST_WIDTH_MM, rounds)
        self.log_width = nn.Parameter(widths.log())
        self.log_alike = nn.Parameter(torch.full((rounds,), FIRST_ALIKE).log())
        self.odds = nn.Parameter(torch.full((rounds,), FIRST_ODDS))
        self.stride = nn.Parameter(torch.ones(rounds))

    def described(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return descriptions (N, F) of points (N, 3), and how much each counts as candidate and by its motion.

        The latter, (N, 2), are logarithms.
        """
        rows = neighbours(points, points, self.settings.neighbours)
        edge = edges(points, points, rows)
        one = self.first(edge)
        two = self.second(one, rows, edge)
        three = self.third(two, rows, edge)
        out = self.head(torch.cat([one, two, three], dim=1))
        return out[:, :-2], out[:, -2:]

    def fields(self, fixed: Tensor, moving: Tensor, grid: Grid) -> list[Tensor]:
        """Return the motion after each round, (1, 3, D, H, W), mm."""
        (mine, worth), (theirs, counts) = self.described(fixed), self.described(moving)
        now = torch.zeros_like(fixed)
        found: list[Tensor] = []
        for number, sigma_mm in enumerate(self.settings.spreads_mm):
            if number in (0, self.settings.renewed):
                rows = neighbours(fixed + now, moving, self.settings.candidates)
                away = moving[rows] - fixed[:, None]
                unlike = (mine[:, None] - theirs[rows]).square().mean(dim=2)
            apart = (away - now[:, None]).square().sum(dim=2) / (2 * self.log_width[number].exp().square())
            score = counts[rows, 0] - apart - self.log_alike[number].exp() * unlike
            score = torch.cat([score, self.odds[number].expand(len(fixed), 1)], dim=1)
            share = torch.softmax(score, dim=1)[:, :-1]
            paired = share.sum(dim=1)
            target = (share[:, :, None] * away).sum(dim=1) / (paired[:, None] + 1e-6)
            weight = paired * torch.sigmoid(worth[:, 1]) + LEAST_SHARE
            step = spread(fixed, target - now, weight, grid, sigma_mm=sigma_mm)
            motion = self.stride[number] * step
            found.append(motion if not found else found[-1] + motion)
            now = sampled_vectors(grid, found[-1], fixed)
        return found
