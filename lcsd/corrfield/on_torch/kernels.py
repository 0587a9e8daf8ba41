"""corrfield's kernels on a torch device: the large arrays stay there."""
# ruff: noqa: D102 - the protocol documents the methods

from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.corrfield.on_torch import cost, foerstner, inference, mind, motion, refine, smoothing
from lcsd.corrfield.on_torch.batches import BATCH_MIB

Array = NDArray[Any]


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
        self.cost_volumes = partial(cost.cost_volumes, mib=batch_mib)
        self.tree_marginals = partial(inference.tree_marginals, mib=batch_mib)
        self.soft_minimum = partial(inference.soft_minimum, mib=batch_mib)
        self.warp = partial(motion.warp, mib=batch_mib)
        self.spline_at = partial(motion.spline_at, device=self.device, mib=batch_mib)

    def upload(self, array: Array) -> Tensor:
        return torch.tensor(np.ascontiguousarray(array), device=self.device)

    def download(self, volume: Tensor) -> Array:
        return volume.cpu().numpy()

    def zeros(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(shape, dtype=torch.float32, device=self.device)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def average_mirrored(self, there: Tensor, back: Tensor) -> Tensor:
        return there.add_(back.flip(1, 2, 3)).mul_(0.5)
