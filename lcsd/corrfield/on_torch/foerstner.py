"""Foerstner keypoints; see :mod:`lcsd.corrfield.foerstner` for the definition."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lcsd.corrfield.foerstner import GRADIENT, TENSOR_AXES, TINY, TRUNCATE_SIGMAS, check_found, interior
from lcsd.corrfield.on_torch.smoothing import correlate, extended, smooth
from lcsd.corrfield.smoothing import gaussian_taps


def distinctiveness(image: Tensor, *, sigma: float) -> Tensor:
    """Return ``1 / trace(S^-1)`` of the structure tensor S of an image (z, y, x), float32."""
    # Double, as on the CPU: large, nearly equal numbers are subtracted.
    exact, reach = image.double(), len(GRADIENT) // 2
    slopes = [correlate(extended(exact, reach, axis), GRADIENT, axis).to(torch.float32) for axis in range(3)]
    products = torch.stack([slopes[a] * slopes[b] for a, b in TENSOR_AXES])
    zz, yy, xx, zy, zx, yx = smooth(products, gaussian_taps(sigma, truncate=TRUNCATE_SIGMAS))
    minors = (yy * xx - yx * yx) + (zz * xx - zx * zx) + (zz * yy - zy * zy)
    determinant = zz * (yy * xx - yx * yx) - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)
    score = (determinant / minors).clamp_(min=0)
    return torch.where(minors > TINY, score, torch.zeros_like(score))


def keypoint_scores(image: Tensor, mask: NDArray[np.bool_], *, sigma: float, erosion: int) -> Tensor:
    """Return the scores of :func:`lcsd.corrfield.foerstner.keypoint_scores`."""
    inside, box = interior(mask, sigma=sigma, erosion=erosion)
    scores = torch.zeros_like(image)
    within = torch.tensor(inside[box], device=image.device)
    scores[box] = distinctiveness(image[box], sigma=sigma) * within
    return scores


def find_keypoints(scores: Tensor, *, nms_radius: int, threshold: float) -> NDArray[np.int64]:
    """Return the keypoints of :func:`lcsd.corrfield.foerstner.find_keypoints`."""
    highest = scores[None]
    for axis in range(3):
        size, padding = [1, 1, 1], [0, 0, 0]
        size[axis], padding[axis] = 2 * nms_radius + 1, nms_radius
        highest = functional.max_pool3d(highest, size, stride=1, padding=padding)
    found = torch.nonzero((scores == highest[0]) & (scores > threshold))
    points: NDArray[np.int64] = found.cpu().numpy()
    check_found(points, threshold=threshold, highest=float(scores.max()))
    return points
