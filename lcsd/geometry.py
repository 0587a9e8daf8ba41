"""Frames of a scan: voxel indices, world millimetres (LPS), normalised coordinates.

Only this module converts coordinates between frames.

* *voxel*: continuous indices ``(i, j, k)`` along x, y, z; voxel centres are integers.
* *world*: LPS millimetres, the frame of ITK and DICOM: ``p = origin + D diag(spacing) v``.
* *normalised*: ``(x, y, z)`` in ``[-1, 1]`` as in :func:`torch.nn.functional.grid_sample` with
  ``align_corners=False``: -1 and 1 are the outer faces of the first and last voxel.

Every conversion takes ``(..., 3)`` numpy arrays or torch tensors and returns the same kind.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError

Points = TypeVar("Points", bound=Any)
"""A numpy array or a torch tensor of shape (..., 3), components x, y, z."""

Vector = tuple[float, float, float]

DIRECTION_TOLERANCE = 1e-3
"""Largest deviation of ``D^T D`` from identity; float32 headers and DICOM cosines round to 1e-6."""

SAME_GRID_TOLERANCE_MM = 1e-3
"""Corresponding corner voxels of equal grids are closer than this."""

LPS_FROM_RAS = np.array([-1.0, -1.0, 1.0])
"""Sign of each axis between LPS and RAS; its own inverse."""

LPS_SIGNS = {"lps": np.ones(3), "ras": LPS_FROM_RAS, "las": np.array([1.0, -1.0, 1.0])}
"""Sign of each axis from a space, named by the ends that its axes point to, to LPS."""


@lru_cache(maxsize=1024)
def _on_device(data: bytes, shape: tuple[int, ...], dtype: Any, device: Any) -> Any:
    """Return float64 bytes as a torch tensor; cached, because a CUDA graph cannot copy to the device."""
    import torch

    values = np.frombuffer(data).reshape(shape)
    return torch.tensor(values, dtype=dtype, device=device)


def constant_like(values: NDArray[Any], points: Points) -> Any:
    """Return ``values`` as the array kind, dtype and device of ``points``."""
    if hasattr(points, "new_tensor"):  # a torch tensor, recognised without importing torch
        if points.is_cuda:
            data = np.ascontiguousarray(values, dtype=np.float64)
            return _on_device(data.tobytes(), data.shape, points.dtype, points.device)
        return points.new_tensor(values)
    return values.astype(np.result_type(points, np.float32), copy=False)


def _applied(matrix: NDArray[np.float64], points: Points) -> Points:
    """Return a 3 x 3 matrix times each of the points (..., 3).

    Most grids are not turned: then one product for each number gives the same bits as a product of matrices, faster.
    """
    diagonal = matrix.diagonal()
    if np.array_equal(matrix, np.diag(diagonal)):
        return points * constant_like(diagonal, points)
    return points @ constant_like(matrix.T, points)


def flip_lps_ras(points: Points) -> Points:
    """Return points or vectors (..., 3) in LPS given RAS, or in RAS given LPS."""
    return points * constant_like(LPS_FROM_RAS, points)


def _check_spacing(spacing: Vector) -> None:
    if not np.isfinite(spacing).all() or min(spacing) <= 0:
        raise BadInputError(
            "the voxel spacing must be positive", code="bad_spacing", field="spacing", expected="> 0 mm", found=spacing
        )


@dataclass(frozen=True)
class Grid:
    """The voxel lattice of a volume in world space.

    Raises ``BadInputError`` (``bad_size``, ``bad_spacing``, ``sheared_affine``) unless sizes and spacings are positive
    and the direction is orthonormal.
    """

    size: tuple[int, int, int]
    """Number of voxels along x, y, z. The array of the volume has shape ``size[::-1]``."""
    spacing: Vector
    """Distance of voxel centres along each axis, mm."""
    origin: Vector
    """LPS mm of the centre of voxel (0, 0, 0)."""
    direction: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    """Row-major 3 x 3 direction cosines; column a is the world direction of voxel axis a."""

    def __post_init__(self) -> None:
        if len(self.size) != 3 or min(self.size) < 1:
            raise BadInputError(
                "the image size must be three positive numbers", code="bad_size", field="size", found=self.size
            )
        _check_spacing(self.spacing)
        deviation = np.abs(self.matrix.T @ self.matrix - np.eye(3)).max()
        if not np.isfinite(self.origin).all() or not deviation <= DIRECTION_TOLERANCE:
            raise BadInputError(
                "the image axes must be orthogonal unit vectors (sheared or broken header)",
                code="sheared_affine",
                field="direction",
                expected=f"D^T D = I within {DIRECTION_TOLERANCE}",
                found=f"{deviation:.3g}",
                remedy="resample the image to an orthogonal grid",
            )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Direction cosines, shape (3, 3)."""
        return np.asarray(self.direction, dtype=np.float64).reshape(3, 3)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (z, y, x) of the array on this grid."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def voxel_to_world_matrix(self) -> NDArray[np.float64]:
        """The 3 x 3 matrix ``D diag(spacing)``."""
        return self.matrix * np.asarray(self.spacing)

    @property
    def _inverse(self) -> NDArray[np.float64]:
        return np.asarray(np.linalg.inv(self.voxel_to_world_matrix), dtype=np.float64)

    @property
    def centre(self) -> NDArray[np.float64]:
        """World position of the middle of the grid, LPS mm, shape (3,)."""
        return self.voxel_to_world((np.asarray(self.size) - 1) / 2)

    def voxel_to_world(self, voxels: Points) -> Points:
        """Return LPS mm of continuous voxel indices (x, y, z), shape (..., 3)."""
        turned = _applied(self.voxel_to_world_matrix, voxels)
        return turned + constant_like(np.asarray(self.origin), voxels)

    def world_to_voxel(self, world: Points) -> Points:
        """Return continuous voxel indices (x, y, z) of LPS mm, shape (..., 3)."""
        return _applied(self._inverse, world - constant_like(np.asarray(self.origin), world))

    def voxel_to_normalised(self, voxels: Points) -> Points:
        """Return ``grid_sample`` coordinates of voxel indices, both (x, y, z), (..., 3)."""
        size = constant_like(np.asarray(self.size, dtype=np.float64), voxels)
        return (2 * voxels + 1) / size - 1

    def normalised_to_voxel(self, normalised: Points) -> Points:
        """Return voxel indices of ``grid_sample`` coordinates, both (x, y, z), (..., 3)."""
        size = constant_like(np.asarray(self.size, dtype=np.float64), normalised)
        return ((normalised + 1) * size - 1) / 2

    def voxel_to_corner_aligned(self, voxels: Points) -> Points:
        """Return ``grid_sample`` coordinates with ``align_corners=True`` of voxel indices, both (x, y, z), (..., 3).

        -1 and 1 are the centres of the first and last voxel. An axis of one voxel counts as two, since it has no scale.
        """
        return voxels * (2 / constant_like(self._steps, voxels)) - 1

    def corner_aligned_to_voxel(self, normalised: Points) -> Points:
        """Return voxel indices of ``grid_sample`` coordinates with ``align_corners=True``; the inverse."""
        return (normalised + 1) * constant_like(self._steps, normalised) / 2

    @property
    def _steps(self) -> NDArray[np.float64]:
        """Voxels between the centres of the first and last voxel, shape (3,)."""
        return np.maximum(np.asarray(self.size, dtype=np.float64) - 1, 1)

    def world_to_normalised(self, world: Points) -> Points:
        """Return ``grid_sample`` coordinates (x, y, z) of LPS mm, shape (..., 3)."""
        return self.voxel_to_normalised(self.world_to_voxel(world))

    def normalised_slopes_to_world(self, slopes: Points) -> Points:
        """Return the gradient per mm along LPS of one per unit of ``grid_sample`` coordinates, shape (..., 3)."""
        size = constant_like(np.asarray(self.size, dtype=np.float64), slopes)
        return _applied(self._inverse.T, 2 * slopes / size)

    def normalised_to_world(self, normalised: Points) -> Points:
        """Return LPS mm of ``grid_sample`` coordinates (x, y, z), shape (..., 3)."""
        return self.voxel_to_world(self.normalised_to_voxel(normalised))

    def voxel_vectors_to_world(self, vectors: Points) -> Points:
        """Return displacements in mm along LPS of displacements in voxels, shape (..., 3)."""
        return _applied(self.voxel_to_world_matrix, vectors)

    def world_vectors_to_voxel(self, vectors: Points) -> Points:
        """Return displacements in voxels of displacements in LPS mm, shape (..., 3)."""
        return _applied(self._inverse, vectors)

    def planes(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Yield each slice's number z and the LPS mm of its voxels, shape (y, x, 3): all at once take much memory."""
        x, y = np.meshgrid(*(np.arange(n, dtype=np.float64) for n in self.size[:2]), indexing="xy")
        for z in range(self.size[2]):
            yield z, self.voxel_to_world(np.stack([x, y, np.full_like(x, z)], axis=-1))

    def contains(self, world: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which LPS points (N, 3) are in a voxel of the grid, shape (N,)."""
        voxels = self.world_to_voxel(world)
        within = (voxels >= -0.5) & (voxels <= np.asarray(self.size) - 0.5)
        return np.asarray(within.all(axis=-1))

    def corners(self) -> NDArray[np.float64]:
        """Return LPS mm of the 8 corner voxel centres, shape (8, 3)."""
        last = np.asarray(self.size) - 1
        corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        return self.voxel_to_world(corners * last.astype(np.float64))

    def same_as(self, other: "Grid") -> bool:
        """Return whether both grids have the same voxels at the same positions."""
        if self.size != other.size:
            return False
        apart = np.abs(self.corners() - other.corners()).max()
        return bool(apart <= SAME_GRID_TOLERANCE_MM)

    def affine_ras(self) -> NDArray[np.float64]:
        """Return the 4 x 4 NIfTI affine: voxel indices (x, y, z) to RAS mm."""
        affine = np.eye(4)
        affine[:3, :3] = self.voxel_to_world_matrix * LPS_FROM_RAS[:, None]
        affine[:3, 3] = np.asarray(self.origin) * LPS_FROM_RAS
        return affine

    def part(self, first: NDArray[np.integer[Any]], size: Sequence[int]) -> "Grid":
        """Return the lattice of ``size`` voxels from voxel ``first``, both (x, y, z); it may leave the grid."""
        x, y, z = (int(count) for count in size)
        return replace(self, size=(x, y, z), origin=_triple(self.voxel_to_world(first.astype(np.float64))))

    @classmethod
    def from_affine_ras(cls, affine: NDArray[np.float64], size: tuple[int, int, int]) -> "Grid":
        """Return the grid of a NIfTI affine (voxel to RAS mm, 4 x 4) and size (x, y, z)."""
        lps = np.asarray(affine, dtype=np.float64)[:3] * LPS_FROM_RAS[:, None]
        spacing = np.linalg.norm(lps[:, :3], axis=0)
        # The constructor reports a zero column, which is a broken header.
        direction = lps[:, :3] / np.where(spacing > 0, spacing, 1.0)
        return cls(
            size=size,
            spacing=_triple(spacing),
            origin=_triple(lps[:, 3]),
            direction=tuple(float(value) for value in direction.ravel()),
        )

    @classmethod
    def centred(cls, centre: NDArray[np.float64], *, size: tuple[int, int, int], spacing_mm: float) -> "Grid":
        """Return an isotropic, axis-aligned grid around ``centre`` (LPS mm)."""
        half = (np.asarray(size) - 1) / 2 * spacing_mm
        return cls(size=size, spacing=(spacing_mm, spacing_mm, spacing_mm), origin=_triple(np.asarray(centre) - half))

    @classmethod
    def covering(cls, other: "Grid", spacing_mm: float) -> "Grid":
        """Return the grid of isotropic voxels that covers the box of another grid.

        Orientation and middle are those of ``other``. Along each axis there are as few voxels of
        ``spacing_mm`` as reach both outer faces of ``other``: the faces of both grids agree where the
        spacing divides the extent, else this grid is up to half a voxel larger on each side.

        Raises
        ------
        BadInputError
            ``spacing_mm`` is not a positive number (``bad_spacing``).
        """
        spacing = (spacing_mm, spacing_mm, spacing_mm)
        _check_spacing(spacing)
        extent = np.asarray(other.size) * np.asarray(other.spacing)
        # Spacings of headers are rounded to float32: 336.00001 mm are 112 voxels of 3 mm.
        count = np.maximum(np.ceil((extent - SAME_GRID_TOLERANCE_MM) / spacing_mm), 1).astype(int)
        first = other.centre - other.matrix @ ((count - 1) / 2 * spacing_mm)
        size = (int(count[0]), int(count[1]), int(count[2]))
        return cls(size=size, spacing=spacing, origin=_triple(first), direction=other.direction)


def _triple(values: NDArray[np.float64]) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


@dataclass(frozen=True)
class RigidTransform:
    """A rotation (3, 3), determinant 1, and translation (3,), mm, of LPS points: ``y = R x + t``."""

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def apply(self, points: Points) -> Points:
        """Return the transformed LPS points, shape (..., 3)."""
        turned = points @ constant_like(self.rotation, points).T
        return turned + constant_like(self.translation, points)

    def inverse(self) -> "RigidTransform":
        """Return the inverse transform."""
        back = self.rotation.T
        return RigidTransform(back, -back @ self.translation)

    def compose(self, first: "RigidTransform") -> "RigidTransform":
        """Return the transform that applies ``first``, then this one."""
        return RigidTransform(self.rotation @ first.rotation, self.rotation @ first.translation + self.translation)

    @classmethod
    def identity(cls) -> "RigidTransform":
        """Return the identity."""
        return cls(np.eye(3), np.zeros(3))


def fit_rigid(
    source: NDArray[np.float64], target: NDArray[np.float64], *, weights: NDArray[np.float64] | None = None
) -> RigidTransform:
    """Return the least-squares rigid transform between corresponding points (N, 3), N >= 3, LPS mm.

    Squared distances have positive ``weights`` (N,), all equal by default. Kabsch, Acta Crystallographica A32 (1976)
    922: singular value decomposition of the covariance; the sign of the last axis excludes reflections.
    """
    middle_source = np.average(source, axis=0, weights=weights)
    middle_target = np.average(target, axis=0, weights=weights)
    away = target - middle_target
    if weights is not None:
        away = away * weights[:, None]
    covariance = (source - middle_source).T @ away
    u, _, vt = np.linalg.svd(covariance)
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = vt.T @ sign @ u.T
    return RigidTransform(rotation, middle_target - rotation @ middle_source)
