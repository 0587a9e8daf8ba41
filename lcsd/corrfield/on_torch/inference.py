"""Message passing on the tree of keypoints; see :mod:`lcsd.corrfield.inference`."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lcsd.corrfield.on_torch.batches import DOUBLE_BYTES, FLOAT_BYTES, batch_size, batches
from lcsd.corrfield.tree import Tree

I64 = NDArray[np.int64]


def min_convolve(volumes: Tensor, weights: Tensor) -> Tensor:
    """Return ``min over e of volumes[n, e] + weights[n] |d - e|^2`` of (N, D, D, D) and (N,), float64, axis by axis."""
    count, n = volumes.shape[:2]
    along = torch.arange(n, device=volumes.device)
    apart = (along[:, None] - along).square()
    cost = (weights[:, None, None] * apart).to(volumes.dtype)[..., None]
    result = volumes
    # Three turns of the axes (z, y, x) -> (y, x, z) restore their order.
    for _ in range(3):
        lowest = (result.reshape(count, 1, n, n * n) + cost).amin(dim=2)
        result = lowest.view(count, n, n, n).permute(0, 2, 3, 1)
    return result


def _message(belief: Tensor, length: Tensor) -> Tensor:
    """Return the messages of beliefs (N, D, D, D) along edges (N,), smallest value 0."""
    found = min_convolve(belief, 1.0 / length.double())
    return found - found.amin(dim=(1, 2, 3), keepdim=True)


def _levels(tree: Tree) -> list[I64]:
    """Return the points of each level below the root, first to last; siblings ascending."""
    bounds = zip(tree.levels[1:-1], tree.levels[2:], strict=True)
    return [np.sort(tree.order[first:last]) for first, last in bounds]


def _by_rank(parents: I64) -> Iterator[I64]:
    """Yield rows of ``parents`` in groups: first children, second children, and so on.

    No parent repeats in a group, so sums into parents have a fixed order.
    """
    order = np.argsort(parents, kind="stable")
    _, first, counts = np.unique(parents[order], return_index=True, return_counts=True)
    rank = np.arange(len(parents)) - np.repeat(first, counts)
    for number in range(int(counts.max())):
        yield order[rank == number]


def tree_marginals(cost: Tensor, tree: Tree, *, mib: float) -> Tensor:
    """Turn costs (K, D, D, D) into min-marginals on the tree; the result overwrites ``cost``.

    A level is done at once, in batches whose buffers take at most ``mib`` MiB.
    """
    width = cost.shape[1]
    length = torch.tensor(tree.length, device=cost.device)
    above = torch.tensor(tree.parent, device=cost.device)
    levels = _levels(tree)
    messages = torch.empty_like(cost)
    # Every source for every target along one axis, and beliefs before and after.
    each = FLOAT_BYTES * width**3 * (width + 4)

    def parts(points: I64) -> Iterator[Tensor]:
        return torch.tensor(points, device=cost.device).split(batch_size(each=each, mib=mib))

    for points in reversed(levels):
        for child in parts(points):
            messages[child] = _message(cost[child], length[child])
        for rows in _by_rank(tree.parent[points]):
            for child in parts(points[rows]):
                cost[above[child]] += messages[child]
    for points in levels:
        for child in parts(points):
            belief = cost[above[child]] - messages[child]
            cost[child] += _message(belief, length[child])
    return cost


def soft_minimum(marginals: Tensor, *, gamma: float, step: int, mib: float) -> NDArray[np.float64]:
    """Return the mean displacement (z, y, x) under softmax(-gamma * marginal), shape (K, 3).

    The buffers of a batch of points take at most ``mib`` MiB.
    """
    count, width = marginals.shape[:2]
    offset = step * (torch.arange(width, device=marginals.device).double() - width // 2)
    out = torch.empty((count, 3), dtype=torch.float64, device=marginals.device)
    for part in batches(count, each=3 * DOUBLE_BYTES * width**3, mib=mib):
        above = marginals[part] - marginals[part].amin(dim=(1, 2, 3), keepdim=True)
        weight = above.double().mul_(-gamma).exp_()
        total = weight.sum(dim=(1, 2, 3))
        for axis, others in enumerate([(2, 3), (1, 3), (1, 2)]):
            out[part, axis] = (weight.sum(dim=others) * offset).sum(dim=1) / total
    return out.cpu().numpy()
