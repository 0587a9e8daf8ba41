"""Chamfer distance: the mean distance of each point to the nearest point of the other cloud."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor


class ChamferDistance:
    """The Chamfer distance of any cloud to one target cloud (M, 3), mm, in units of ``scale_mm``.

    ``(mean_a min_b |a - b| + mean_b min_a |a - b|) / 2``, by k-d trees; the neighbours are taken as given in the
    gradient. The tree of the moved cloud is made anew at each call, so cost grows as N log N. The baseline of Heinrich
    et al., ICCV 2023.
    """

    def __init__(self, target: NDArray[np.float64], *, scale_mm: float) -> None:
        self._points = target
        self._tree = cKDTree(target)
        self._scale_mm = scale_mm

    def __call__(self, moved: Tensor) -> Tensor:
        """Return the distance of points (N, 3), mm, as a scalar, differentiably."""
        places = moved.detach().cpu().numpy()
        ahead = self._tree.query(places, workers=-1)[1]
        back = cKDTree(places).query(self._points, workers=-1)[1]
        target = torch.as_tensor(self._points, dtype=moved.dtype, device=moved.device)
        to_target = _length(moved - target[torch.as_tensor(ahead, device=moved.device)])
        to_moved = _length(moved[torch.as_tensor(back, device=moved.device)] - target)
        return 0.5 * (to_target.mean() + to_moved.mean()) / self._scale_mm


def _length(vectors: Tensor) -> Tensor:
    """Return the norm of vectors (N, 3); its gradient at 0 is 0."""
    squared = vectors.square().sum(dim=1)
    zero = squared == 0
    return torch.where(zero, squared, torch.where(zero, torch.ones_like(squared), squared).sqrt())
