"""corrfield's kernels on a torch device: the large arrays stay there."""
# ruff: noqa: D102 - the protocol documents the methods

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.corrfield.on_torch import cost, foerstner, inference, mind, motion, refine, smoothing
from lcsd.corrfield.on_torch.batches import BATCH_MIB
from lcsd.corrfield.tree import Tree
from lcsd.numerics.tps import ThinPlateSpline

Array = NDArray[Any]
F64 = NDArray[np.float64]


class TorchKernels:
    """The :class:`lcsd.corrfield.kernels.Kernels` of a torch device.

    ``cpu`` gives the values of ``cuda`` slowly, for the tests. ``batch_mib`` bounds the buffers of a batch; no result
    depends on it.
    """

    features = staticmethod(mind.mind_ssc)
    keypoint_scores = staticmethod(foerstner.keypoint_scores)
    keypoints = staticmethod(foerstner.find_keypoints)
    sample = staticmethod(motion.sample)
    upsampled = staticmethod(motion.upsampled)
    normal_equations = staticmethod(refine.normal_equations)
    smooth = staticmethod(smoothing.smooth)
    relax = staticmethod(refine.relax)

    def __init__(self, device: str, *, batch_mib: float = BATCH_MIB) -> None:
        self.device = torch.device(device)
        self.mib = batch_mib

    def upload(self, array: Array) -> Tensor:
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    def download(self, volume: Tensor) -> Array:
        return volume.cpu().numpy()

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def cost_volumes(
        self, source: Tensor, target: Tensor, points: F64, *, radius: int, step: int, patch_radius: int, alpha: float
    ) -> Tensor:
        return cost.cost_volumes(
            source, target, points, radius=radius, step=step, patch_radius=patch_radius, alpha=alpha, mib=self.mib
        )

    def tree_marginals(self, cost: Tensor, tree: Tree) -> Tensor:
        return inference.tree_marginals(cost, tree, mib=self.mib)

    def soft_minimum(self, marginals: Tensor, *, gamma: float, step: int) -> F64:
        return inference.soft_minimum(marginals, gamma=gamma, step=step, mib=self.mib)

    def average_mirrored(self, there: Tensor, back: Tensor) -> Tensor:
        return there.add_(back.flip(1, 2, 3)).mul_(0.5)

    def warp(self, volumes: Tensor, vectors: Tensor) -> Tensor:
        return motion.warp(volumes, vectors, mib=self.mib)

    def spline_at(self, spline: ThinPlateSpline, places: F64) -> F64:
        return motion.spline_at(spline, places, device=self.device, mib=self.mib)
