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

    def features(self, image: Tensor, *, step: int, sigma: float) -> Tensor:
        """Return MIND-SSC."""
        return mind.mind_ssc(image, step=step, sigma=sigma)

    def keypoint_scores(self, image: Tensor, mask: NDArray[np.bool_], *, sigma: float, erosion: int) -> Tensor:
        """Return the distinctiveness."""
        return foerstner.keypoint_scores(image, mask, sigma=sigma, erosion=erosion)

    def keypoints(self, scores: Tensor, *, cube: int, threshold: float) -> NDArray[np.int64]:
        """Return the maxima of the distinctiveness."""
        return foerstner.find_keypoints(scores, cube=cube, threshold=threshold)

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

    def sample(self, vectors: Tensor, points: F64) -> F64:
        """Return vectors at points."""
        return motion.sample(vectors, points)

    def warp(self, volumes: Tensor, vectors: Tensor) -> Tensor:
        """Return warped volumes."""
        return motion.warp(volumes, vectors, mib=self.mib)

    def upsampled(self, values: Tensor, shape: tuple[int, ...], *, step: int, low: tuple[int, ...]) -> Tensor:
        """Return values of nodes for all voxels."""
        return motion.upsampled(values, shape, step=step, low=low)

    def spline_at(self, spline: ThinPlateSpline, places: F64) -> F64:
        """Return a spline at places."""
        return motion.spline_at(spline, places, device=self.device, mib=self.mib)

    def normal_equations(
        self, fixed: Tensor, moving: Tensor, nodes: Tensor, places: Tensor, *, robust: float
    ) -> tuple[Tensor, Tensor]:
        """Return the normal equations of the nodes."""
        return refine.normal_equations(fixed, moving, nodes, places, robust=robust)

    def smooth(self, volumes: Tensor, taps: NDArray[np.float32]) -> Tensor:
        """Return smoothed volumes."""
        return smoothing.smooth(volumes, taps)

    def relax(self, values: Tensor, normal: Tensor, right: Tensor, smoothness: float, *, sweeps: int) -> Tensor:
        """Return the result of Gauss-Seidel sweeps."""
        return refine.relax(values, normal, right, smoothness, sweeps=sweeps)
