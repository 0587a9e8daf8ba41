"""Foerstner keypoints: points with image structure along all three axes."""

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate1d, maximum_filter

from lcsd.corrfield.smoothing import gaussian_taps, smooth
from lcsd.errors import BadInputError

GRADIENT = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12.0
"""Five-point central difference, exact for cubic polynomials."""

TRUNCATE_SIGMAS = 1.5
"""The Gaussian of the structure tensor is cut here, as in the published program."""

TINY = 1e-12
"""The distinctiveness of a flat region is 0 instead of 0/0."""

TENSOR_AXES = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Entries of the structure tensor, as pairs of axes (z, y, x)."""


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _harmonic(tensor: NDArray[np.float32], out: NDArray[np.float32]) -> None:
    """Set ``out (N,)`` to ``1 / trace(S^-1)`` of tensors (6, N): zz, yy, xx, zy, zx, yx."""
    zz, yy, xx, zy, zx, yx = tensor[0], tensor[1], tensor[2], tensor[3], tensor[4], tensor[5]
    for i in numba.prange(out.size):
        minor_z = yy[i] * xx[i] - yx[i] * yx[i]
        minor_y = zz[i] * xx[i] - zx[i] * zx[i]
        minor_x = zz[i] * yy[i] - zy[i] * zy[i]
        determinant = (
            zz[i] * minor_z - zy[i] * (zy[i] * xx[i] - yx[i] * zx[i]) + zx[i] * (zy[i] * yx[i] - yy[i] * zx[i])
        )
        minors = minor_z + minor_y + minor_x
        out[i] = max(determinant / minors, 0.0) if minors > TINY else 0.0


def distinctiveness(image: NDArray[np.float32], *, sigma: float) -> NDArray[np.float32]:
    """Return how well a point can be located, ``1 / trace(S^-1)`` of the structure tensor S.

    Image and result have shape (z, y, x); ``sigma`` is the tensor's Gaussian in voxels. The unit is (intensity /
    voxel)^2, and it is 0 where the image is constant along an axis. ``trace(S^-1)`` is the sum of the principal 2 x 2
    minors over the determinant.
    """
    slopes = [correlate1d(image, GRADIENT, axis=axis, mode="nearest") for axis in range(3)]
    tensor = np.empty((len(TENSOR_AXES), *image.shape), np.float32)
    for product, (a, b) in zip(tensor, TENSOR_AXES, strict=True):
        np.multiply(slopes[a], slopes[b], out=product)
    del slopes
    tensor = smooth(tensor, gaussian_taps(sigma, truncate=TRUNCATE_SIGMAS))
    out = np.empty(image.shape, np.float32)
    _harmonic(tensor.reshape(6, -1), out.reshape(-1))
    return out


def keypoint_scores(
    image: NDArray[np.float32], mask: NDArray[np.bool_], *, sigma: float, erosion: int = 1
) -> NDArray[np.float32]:
    """Return the distinctiveness of the voxels (z, y, x) of an eroded mask, 0 elsewhere.

    ``sigma`` is the structure tensor's Gaussian in voxels. Errors as :func:`interior`.
    """
    inside, box = interior(mask, sigma=sigma, erosion=erosion)
    scores = np.zeros(image.shape, np.float32)
    scores[box] = distinctiveness(image[box], sigma=sigma) * inside[box]
    return scores


def interior(mask: NDArray[np.bool_], *, sigma: float, erosion: int) -> tuple[NDArray[np.bool_], tuple[slice, ...]]:
    """Return an eroded mask, and the box of the image on which its scores depend.

    The mask loses its outermost voxels (six-neighbourhood) ``erosion`` times. Raises ``BadInputError`` (``empty_mask``)
    if nothing is left.
    """
    inside = binary_erosion(mask, iterations=erosion)
    where = np.argwhere(inside)
    if not len(where):
        raise BadInputError(
            "the mask has no interior",
            code="empty_mask",
            field="mask",
            expected=f"at least one voxel after {erosion} erosions",
            found="0 voxels",
        )
    # Only the surroundings of the lung matter.
    margin = int(np.ceil(TRUNCATE_SIGMAS * sigma)) + len(GRADIENT) // 2 + 1
    low = np.maximum(where.min(axis=0) - margin, 0)
    high = where.max(axis=0) + margin + 1
    return inside, tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))


def find_keypoints(scores: NDArray[np.float32], *, nms_radius: int, threshold: float) -> NDArray[np.int64]:
    """Return the voxels with the largest distinctiveness in a cube of edge ``2 nms_radius + 1`` around them.

    Indices (z, y, x), shape (K, 3), raster order; all equal maxima above ``threshold`` are kept. Raises
    ``BadInputError`` (``no_keypoints``) if there is none.
    """
    kept = (scores == maximum_filter(scores, size=2 * nms_radius + 1, mode="constant")) & (scores > threshold)
    points = np.argwhere(kept)
    check_found(points, threshold=threshold, highest=float(scores.max()))
    return points


def check_found(points: NDArray[np.int64], *, threshold: float, highest: float) -> None:
    """Raise ``BadInputError`` (``no_keypoints``) without points; ``highest`` is the largest distinctiveness."""
    if not len(points):
        raise BadInputError(
            "the image has no distinctive keypoint",
            code="no_keypoints",
            field="distinctiveness",
            expected=f"> {threshold:g}",
            found=f"{highest:g} at most",
            remedy="check that the mask covers the lung",
        )
