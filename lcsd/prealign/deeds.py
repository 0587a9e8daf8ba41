"""Rigid alignment by the external program ``linearBCV`` (method ``deeds``).

Both whole scans are resampled to the common grid, after a shift that aligns the centres of the lungs. The matrix of the
program, in voxels of that grid, becomes a rigid transform in mm. :mod:`lcsd.prealign.linear_bcv` describes the
conventions of the program.
"""

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import WorkError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.files import sha256
from lcsd.io.images import Image
from lcsd.prealign.common import Alignment, common_grid, resample_hu
from lcsd.prealign.linear_bcv import SETTING, find_program, run_linear_bcv
from lcsd.settings.prealign import PrealignSettings

ROTATION_TOLERANCE = 1e-3
"""Largest difference of the singular values of the linear part from 1. For a rigid fit of the program it is 1e-6, and
for an affine fit of a thorax to its own rotated image 1e-2; 1e-3 moves no point of a lung by more than 0.2 mm."""


def align(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    start: RigidTransform,
    settings: PrealignSettings,
    threads: int | None = None,
) -> Alignment:
    """Return the rigid transform (fixed LPS to moving LPS) that ``linearBCV`` finds.

    The scans are in HU on any grids; the mask, bool, not empty, on the grid of ``fixed``, gives the common grid its
    place. ``start`` maps fixed LPS to moving LPS. ``threads`` are the program's; None: as the environment says. The
    figures have the path and SHA-256 of the executable, because it reports no version.

    Errors as :func:`.linear_bcv.find_program`, :func:`.linear_bcv.run_linear_bcv` and :func:`rigid_from_voxels`.
    """
    program = find_program(settings.linear_bcv)
    grid = common_grid(fixed_mask, settings)
    matrix = run_linear_bcv(
        program,
        resample_hu(fixed, grid),
        resample_hu(moving, grid, transform=start),
        limit_s=settings.linear_bcv_limit_s,
        threads=threads,
    )
    return Alignment(
        start.compose(rigid_from_voxels(matrix, grid)),
        {"linear_bcv_path": str(program), "linear_bcv_sha256": sha256(program)},
    )


def rigid_from_voxels(matrix: NDArray[np.float64], grid: Grid) -> RigidTransform:
    """Return the rigid transform in LPS mm nearest to a matrix (4, 4) that maps voxel indices (i, j, k, 1) of ``grid``.

    The grid is isotropic, so that a rotation of voxels is a rotation of millimetres; any direction. The nearest
    rotation in the least-squares sense is ``U V^T`` of the singular value decomposition. The middle of the grid maps to
    the same point as by the matrix.

    Raises ``WorkError`` (``not_rigid``) if the linear part is not a rotation within ``ROTATION_TOLERANCE``.
    """
    u, values, vt = np.linalg.svd(matrix[:3, :3])
    rotation = u @ vt
    mirrored = np.linalg.det(rotation) < 0
    if mirrored or np.abs(values - 1).max() > ROTATION_TOLERANCE:
        raise WorkError(
            "linearBCV did not return a rigid transform",
            code="not_rigid",
            expected=f"a rotation: singular values within {ROTATION_TOLERANCE:g} of 1",
            found="a reflection" if mirrored else f"{values.min():.4g} to {values.max():.4g}",
            remedy=f"set {SETTING} to a linearBCV that supports -R 1 (early versions ignore it), "
            "or set prealign.method to blocks",
        )
    middle = (np.asarray(grid.size) - 1) / 2
    target = matrix[:3, :3] @ middle + matrix[:3, 3]
    # Row a: image of the unit vector along world axis a.
    turned = grid.voxel_vectors_to_world(grid.world_vectors_to_voxel(np.eye(3)) @ rotation.T)
    world_rotation = turned.T
    translation = grid.voxel_to_world(target) - world_rotation @ grid.voxel_to_world(middle)
    return RigidTransform(world_rotation, translation)
