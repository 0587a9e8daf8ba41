"""A periodic random texture that moves with the tissue."""

import numba as nb
import numpy as np
from numpy.typing import NDArray

TEXTURE_VOXELS = 96
TEXTURE_SPACING_MM = 1.6
# Two scales: secondary lobules and small unresolved vessels (fine), patches of perfusion (coarse).
FINE_SIGMA_MM, FINE_HU = 1.7, 24.0
COARSE_SIGMA_MM, COARSE_HU = 9.0, 14.0


def make_texture(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a periodic cube (z, y, x), float32 HU, of two smoothed white noises."""
    total = np.zeros((TEXTURE_VOXELS,) * 3)
    frequency = 2.0 * np.pi * np.fft.fftfreq(TEXTURE_VOXELS, TEXTURE_SPACING_MM)
    square = frequency[:, None, None] ** 2 + frequency[None, :, None] ** 2 + frequency[None, None, :] ** 2
    for sigma, level in ((FINE_SIGMA_MM, FINE_HU), (COARSE_SIGMA_MM, COARSE_HU)):
        white = np.fft.fftn(rng.standard_normal(total.shape))
        smooth = np.fft.ifftn(white * np.exp(-0.5 * square * sigma**2)).real
        smooth -= smooth.mean()
        total += level * smooth / smooth.std()
    return total.astype(np.float32)


@nb.njit(cache=True)
def texture_at(x: float, y: float, z: float, texture) -> float:  # type: ignore[no-untyped-def]
    """Trilinear value of the periodic texture at a body point."""
    n = texture.shape[0]
    fx, fy, fz = x / TEXTURE_SPACING_MM, y / TEXTURE_SPACING_MM, z / TEXTURE_SPACING_MM
    bx, by, bz = np.floor(fx), np.floor(fy), np.floor(fz)
    tx, ty, tz = fx - bx, fy - by, fz - bz
    i0, j0, k0 = int(bx) % n, int(by) % n, int(bz) % n
    i1, j1, k1 = (i0 + 1) % n, (j0 + 1) % n, (k0 + 1) % n
    low = (texture[k0, j0, i0] * (1 - tx) + texture[k0, j0, i1] * tx) * (1 - ty) + (
        texture[k0, j1, i0] * (1 - tx) + texture[k0, j1, i1] * tx
    ) * ty
    high = (texture[k1, j0, i0] * (1 - tx) + texture[k1, j0, i1] * tx) * (1 - ty) + (
        texture[k1, j1, i0] * (1 - tx) + texture[k1, j1, i1] * tx
    ) * ty
    return float(low * (1 - tz) + high * tz)
