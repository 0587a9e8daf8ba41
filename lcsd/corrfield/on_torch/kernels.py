"""corrfield's kernels on a torch device: the large arrays stay there."""

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

    Parameters
    ----------
    device
        Name of the device, ``"cuda"``; ``"cpu"`` gives the same values slowly, for the tests.
    batch_mib
        Bound on the buffers of a batch, MiB; changes no result.
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
        """Return a copy on the device, of the same type."""
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    def download(self, volume: Tensor) -> Array:
        """Return a volume as a numpy array."""
        return volume.cpu().numpy()

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        """Return zeros, float32."""
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def wait(self) -> None:
        """Return when the device has done all its work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def cost_volumes(
        self, source: Tensor, target: Tensor, points: F64, *, radius: int, step: int, patch_radius: int, alpha: float
    ) -> Tensor:
        """Return the cost of every displacement."""
        return cost.cost_volumes(
            source, target, points, radius=radius, step=step, patch_radius=patch_radius, alpha=alpha, mib=self.mib
        )

    def tree_marginals(self, cost: Tensor, tree: Tree) -> Tensor:
        """Turn costs into min-marginals."""
        return inference.tree_marginals(cost, tree, mib=self.mib)

    def soft_minimum(self, marginals: Tensor, *, gamma: float, step: int) -> F64:
        """Return the displacements of the softmax."""
        return inference.soft_minimum(marginals, gamma=gamma, step=step, mib=self.mib)

    def average_mirrored(self, there: Tensor, back: Tensor) -> Tensor:
        """Turn ``there`` into its mean with the mirrored ``back``."""
        return there.add_(back.flip(1, 2, 3)).mul_(0.5)

    def warp(self, volumes: Tensor, vectors: Tensor) -> Tensor:
        """Return warped volumes."""
        return motion.warp(volumes, vectors, mib=self.mib)

    def spline_at(self, spline: ThinPlateSpline, places: F64) -> F64:
        """Return a spline at places."""
        return motion.spline_at(spline, places, device=self.device, mib=self.mib)
