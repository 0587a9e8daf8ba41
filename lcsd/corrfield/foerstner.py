"""Foerstner keypoints: points where the image has structure along all three axes."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, correlate1d, gaussian_filter, maximum_filter

from lcsd.errors import BadInputError

GRADIENT = np.array([1.0, -8.0, 0.0, 8.0, -1.0]) / 12.0
"""Five-point central difference, exact for cubic polynomials."""

TRUNCATE_SIGMAS = 1.5
"""The Gaussian of the structure tensor ends here, as in the published program."""

TINY = 1e-12
"""Keeps the distinctiveness of a flat region at 0 instead of 0/0."""


def distinctiveness(image: NDArray[np.float32], *, sigma: float) -> NDArray[np.float32]:
    """Return how well a point can be located, ``1 / trace(S^-1)`` of the structure tensor S.

    Parameters
    ----------
    image
        Shape (z, y, x), intensity.
    sigma
        Gaussian of the structure tensor, voxels.

    Returns
    -------
    NDArray
        Shape (z, y, x), squared intensity per voxel; 0 where the image is constant along an axis.

    Notes
    -----
    ``trace(S^-1)`` is the sum of the principal 2 x 2 minors over the determinant.
    """
    slopes = [correlate1d(image, GRADIENT, axis=axis, mode="nearest") for axis in range(3)]

    def smooth(a: int, b: int) -> NDArray[np.float32]:
        product = slopes[a] * slopes[b]
        result: NDArray[np.float32] = gaussian_filter(
            product, sigma, mode="nearest", truncate=TRUNCATE_SIGMAS
        )
        return result

    zz, yy, xx = smooth(0, 0), smooth(1, 1), smooth(2, 2)
    zy, zx, yx = smooth(0, 1), smooth(0, 2), smooth(1, 2)
    minor_z, minor_y, minor_x = yy * xx - yx**2, zz * xx - zx**2, zz * yy - zy**2
    determinant = zz * minor_z - zy * (zy * xx - yx * zx) + zx * (zy * yx - yy * zx)
    minors = minor_z + minor_y + minor_x
    found = np.where(minors > TINY, determinant / np.maximum(minors, TINY), 0.0)
    return np.maximum(found, 0.0).astype(np.float32)


def find_keypoints(
    image: NDArray[np.float32],
    mask: NDArray[np.bool_],
    *,
    sigma: float,
    cube: int,
    threshold: float,
) -> NDArray[np.int64]:
    """Return the voxels of a mask whose distinctiveness is the largest within a cube around them.

    Parameters
    ----------
    image, mask
        Shape (z, y, x). Points lie in the mask eroded by one voxel.
    sigma
        Gaussian of the structure tensor, voxels.
    cube
        Half the edge of the cube, voxels: a point is the largest of ``(2 cube + 1)^3``.
    threshold
        Least distinctiveness, squared intensity per voxel.

    Returns
    -------
    NDArray
        Shape (K, 3), indices (z, y, x), raster order. Equal maxima are all kept.

    Raises
    ------
    BadInputError
        If no point reaches the threshold.
    """
    inside = binary_erosion(mask)
    # The keypoints of a lung need only its surroundings.
    where = np.argwhere(inside)
    if not len(where):
        raise BadInputError(
            "the mask has no interior", code="empty_mask", field="mask",
            expected="a voxel whose six neighbours are in the mask", found="none",
        )  # fmt: skip
    margin = cube + int(np.ceil(TRUNCATE_SIGMAS * sigma)) + len(GRADIENT) // 2 + 1
    low = np.maximum(where.min(axis=0) - margin, 0)
    high = where.max(axis=0) + margin + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    score = np.where(inside[box], distinctiveness(image[box], sigma=sigma), 0.0)
    highest = float(score.max())
    kept = (score == maximum_filter(score, size=2 * cube + 1, mode="constant")) & (
        score > threshold
    )
    if not kept.any():
        raise BadInputError(
            "no keypoint is distinctive enough", code="no_keypoints", field="distinctiveness",
            expected=f"> {threshold:g}", found=f"{highest:g} at most",
            remedy="check that the image shows structure inside the mask",
        )  # fmt: skip
    return np.argwhere(kept) + low
