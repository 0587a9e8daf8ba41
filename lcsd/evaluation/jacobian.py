"""Quality of a displacement field: how much it stretches space and where it folds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.images import DisplacementField, Image, resample

SLAB = 16
"""Slices worked on at a time: keeps the nine derivatives of a full-size field below 200 MB."""


@dataclass(frozen=True)
class FieldQuality:
    """Figures of ``det J``, ``J = I + du/dx``, over the voxels of a region.

    Parameters
    ----------
    voxels
        Number of voxels in the region.
    folding_voxels
        Voxels with ``det J <= 0``.
    std_log_jacobian
        Population standard deviation of ``log(det J)`` over the other voxels; None if all fold.
    min_jacobian, mean_jacobian
        Smallest and mean ``det J`` in the region.
    """

    voxels: int
    folding_voxels: int
    std_log_jacobian: float | None
    min_jacobian: float
    mean_jacobian: float

    @property
    def folding_percent(self) -> float:
        """Share of voxels with ``det J <= 0``, percent."""
        return 100.0 * self.folding_voxels / self.voxels


def _along(vectors: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Return the derivative along an array axis per voxel; 0 where there is one voxel only."""
    if vectors.shape[axis] == 1:
        return np.zeros_like(vectors)
    derivative: NDArray[np.float64] = np.gradient(vectors, axis=axis)
    return derivative


def _slab_determinant(
    vectors: NDArray[np.float64], inverse: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``det(I + du/dx)`` of a block (z, y, x, 3); ``inverse`` maps world to voxel."""
    # Column a of du/dv is the derivative along voxel axis a (x, y, z); chain rule to world.
    by_voxel = np.stack([_along(vectors, axis) for axis in (2, 1, 0)], axis=-1)
    jacobian = by_voxel @ inverse
    jacobian += np.eye(3)
    (a, b, c), (d, e, f), (g, h, i) = np.moveaxis(jacobian, (-2, -1), (0, 1))
    determinant: NDArray[np.float64] = (
        a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    )
    return determinant


def jacobian_determinant(field: DisplacementField) -> NDArray[np.float64]:
    """Return ``det(I + du/dx)`` at every voxel of a displacement field.

    Returns
    -------
    NDArray
        Shape (z, y, x), float64, no unit: 1 keeps the volume, 2 doubles it, <= 0 is a fold.

    Notes
    -----
    Derivatives are central differences, one-sided at the border, taken along the voxel axes and
    turned to world axes by ``du/dx = (du/dv) (D diag(spacing))^-1``, so oblique and anisotropic
    grids are right. Exact for affine fields.
    """
    inverse = np.asarray(np.linalg.inv(field.grid.voxel_to_world_matrix), np.float64)
    depth = field.grid.shape[0]
    result = np.empty(field.grid.shape)
    for start in range(0, depth, SLAB):
        stop = min(start + SLAB, depth)
        # One slice more on both sides makes the slab's differences those of the whole field.
        low, high = max(start - 1, 0), min(stop + 1, depth)
        block = _slab_determinant(np.asarray(field.vectors[low:high], np.float64), inverse)
        result[start:stop] = block[start - low : stop - low]
    return result


def field_quality(field: DisplacementField, *, mask: Image | None = None) -> FieldQuality:
    """Return how smooth a displacement field is and how often it folds.

    Parameters
    ----------
    field
        Displacement field, mm.
    mask
        Region, usually the fixed lung mask, on any grid (sampled by nearest voxel); the whole
        field if None.

    Raises
    ------
    BadInputError
        If no voxel of the mask lies in the field.
    """
    determinant = jacobian_determinant(field)
    inside = determinant
    if mask is not None:
        region = Image(mask.array != 0, mask.grid)
        if not mask.grid.same_as(field.grid):
            region = resample(region, field.grid, nearest=True)
        inside = determinant[region.array]
    values = inside.ravel()
    if not len(values):
        raise BadInputError(
            "mask and field do not overlap", code="no_overlap", field="mask",
            expected="at least one voxel of the mask inside the field", found="0 voxels",
            remedy="give the fixed lung mask in the same space as the field",
        )  # fmt: skip
    good = values[values > 0]
    return FieldQuality(
        voxels=len(values),
        folding_voxels=len(values) - len(good),
        std_log_jacobian=float(np.log(good).std()) if len(good) else None,
        min_jacobian=float(values.min()),
        mean_jacobian=float(values.mean()),
    )
