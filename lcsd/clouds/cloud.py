"""Dense cloud: one point per voxel of a vessel mask, with the local radius of the vessel."""

from pathlib import Path
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.io.points import Cloud
from lcsd.numerics.morphology import squared_depth_mm2
from lcsd.settings.cloud import CloudSettings

RADIUS_OFFSET_VOXELS = 0.5
"""The vessel wall is half a voxel before the centre of the nearest background voxel."""

PART_VOXELS = 2_000
"""Voxels per part of the painting; a part takes a second where vessels are as wide as a lung."""

OPEN_BALL = 1.0 - 1e-6
"""Part of the squared radius that is inside; without it, rounding could count the surface of the ball as inside."""


@numba.njit(cache=True)
def _paint_thickness(
    depth: NDArray[np.float64], voxels: NDArray[np.int64], spacing: NDArray[np.float64], thickness: NDArray[np.float64]
) -> None:
    """Set each voxel to the largest depth of all inscribed balls that cover it."""
    shape = depth.shape
    for row in range(voxels.shape[0]):
        z, y, x = voxels[row, 0], voxels[row, 1], voxels[row, 2]
        radius = depth[z, y, x]
        reach_z = int(radius / spacing[0])
        reach_y = int(radius / spacing[1])
        reach_x = int(radius / spacing[2])
        for i in range(max(0, z - reach_z), min(shape[0], z + reach_z + 1)):
            for j in range(max(0, y - reach_y), min(shape[1], y + reach_y + 1)):
                for k in range(max(0, x - reach_x), min(shape[2], x + reach_x + 1)):
                    squared = ((i - z) * spacing[0]) ** 2 + ((j - y) * spacing[1]) ** 2 + ((k - x) * spacing[2]) ** 2
                    # The ball is open: its surface touches the nearest background voxel centre.
                    if squared < radius * radius * OPEN_BALL and thickness[i, j, k] < radius:
                        thickness[i, j, k] = radius


def local_radius(mask: NDArray[np.bool_], spacing: tuple[float, float, float]) -> NDArray[Any]:
    """Return the radius of the structure at each voxel of a mask (z, y, x), mm: that of the largest inner ball over it.

    It is 0 outside the mask; ``spacing`` is along x, y, z, mm. Local thickness, Hildebrand and Rüegsegger, J.
    Microscopy 185 (1997) 67. The image border counts as background.
    """
    spacing_zyx = np.asarray(spacing[::-1], dtype=np.float64)
    radius = np.zeros(mask.shape)
    for box in find_objects(mask.astype(np.uint8)):  # the only one: all voxels around it are background
        inside = mask[box]
        depth = np.sqrt(squared_depth_mm2(np.pad(inside, 1), spacing_zyx)[1:-1, 1:-1, 1:-1].astype(np.float64))
        thickness = np.zeros_like(depth)
        voxels = np.argwhere(inside)
        # A signal ends the command between two parts; compiled code does not see it.
        for start in range(0, len(voxels), PART_VOXELS):
            _paint_thickness(depth, voxels[start : start + PART_VOXELS], spacing_zyx, thickness)
        radius[box] = np.where(inside, thickness - RADIUS_OFFSET_VOXELS * spacing_zyx.min(), 0.0)
    return radius


def _check_volume(
    mask: NDArray[np.bool_], spacing: tuple[float, float, float], most_ml: float, file: Path | None
) -> None:
    """Refuse a mask of lungs or of the body, for which the radius would take hours."""
    volume_ml = float(np.count_nonzero(mask) * np.prod(spacing) / 1000)
    if volume_ml > most_ml:
        raise BadInputError(
            "the vessel mask is too large for vessels",
            code="too_much_vessel",
            file=file,
            expected=f"at most {most_ml:g} ml",
            found=f"{volume_ml:.0f} ml",
            remedy="give the mask of the vessels, not of the lungs; or raise cloud.max_volume_ml",
        )


def dense_cloud(
    vessels: Image,
    *,
    settings: CloudSettings | None = None,
    meta: dict[str, Any] | None = None,
    file: Path | None = None,
) -> Cloud:
    """Return one point per vessel voxel: its centre in LPS mm in raster order (z, y, x), with ``radius`` in mm.

    Labels above 1 (arteries, veins) are kept per point; ``meta`` is added to the cloud's metadata; errors name
    ``file``. Raises ``BadInputError`` without a vessel voxel (``empty_vessels``) or with too many
    (``too_much_vessel``).

    Heinrich et al., ICCV 2023, supplement section 1: the dense cloud is every coordinate of the vessel segmentation.
    """
    mask = vessels.array != 0
    if not mask.any():
        raise BadInputError(
            "the vessel mask is empty",
            code="empty_vessels",
            expected="at least one voxel",
            found="0 voxels",
            remedy="check the scan and its vessel mask",
        )
    spacing = vessels.grid.spacing
    _check_volume(mask, spacing, (settings or CloudSettings()).max_volume_ml, file)
    where = np.argwhere(mask)
    labels = vessels.array[mask]
    return Cloud(
        points=vessels.grid.voxel_to_world(where[:, ::-1].astype(np.float64)).astype(np.float32),
        radius=local_radius(mask, spacing)[mask].astype(np.float32),
        label=labels.astype(np.uint8) if labels.max() > 1 else None,
        meta={"stage": "cloud", "spacing_mm": list(spacing), **(meta or {})},
    )
