"""Rigid alignment by the chosen method: transform, both scans on the common grid, figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lcsd.errors import BadInputError
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.images import Image, check_same_grid, resample
from lcsd.prealign.common import Alignment, centroid, common_grid, resample_hu, row_ends, world_points
from lcsd.settings.prealign import PrealignSettings


@dataclass(frozen=True)
class Prealigned:
    """A pair on the common grid: scans in HU, float32 (z, y, x), and lungs as bool masks.

    ``rigid`` maps a point of the common space (the fixed scan's LPS) to the moving scan's LPS. ``report`` has the
    figures for ``prealign.json``, units in the names.
    """

    fixed: Image
    moving: Image
    fixed_mask: Image
    moving_mask: Image
    rigid: RigidTransform
    report: dict[str, Any]


def prealign(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    moving_mask: Image,
    settings: PrealignSettings | None = None,
    threads: int | None = None,
) -> Prealigned:
    """Return both scans and masks on the common grid, rigidly aligned.

    The scans are CT in HU on any grids and frames, the masks bool lungs on the grid of their scan. ``threads`` are the
    external program's (method ``deeds``); None: as the environment says.

    Raises ``BadInputError`` if a mask is empty (``empty_lungs``) or not on its scan's grid; further errors as ``align``
    of the chosen method.
    """
    settings = settings or PrealignSettings()
    for scan, mask, name in ((fixed, fixed_mask, "fixed"), (moving, moving_mask, "moving")):
        check_same_grid(mask.grid, scan.grid)
        if not mask.array.any():
            raise BadInputError("the lung mask is empty", code="empty_lungs", field=f"{name} mask")
    grid = common_grid(fixed_mask, settings)
    centred = RigidTransform(np.eye(3), centroid(moving_mask) - centroid(fixed_mask))
    found = _align(
        fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, start=centred, settings=settings, threads=threads
    )
    rigid = found.rigid
    on_grid = resample(fixed_mask, grid, nearest=True)
    aligned = resample(moving_mask, grid, transform=rigid, nearest=True)
    before = resample(moving_mask, grid, transform=centred, nearest=True)
    report = _report(rigid, grid, fixed_mask) | {
        **found.figures,
        "method": settings.method,
        "dice_centred": _dice(on_grid, before),
        "dice_aligned": _dice(on_grid, aligned),
        "centre_distance_mm": round(
            float(np.linalg.norm(rigid.apply(centroid(fixed_mask)) - centroid(moving_mask))), 4
        ),
        "fixed_lung_inside": _inside(fixed_mask, grid, RigidTransform.identity()),
        "moving_lung_inside": _inside(moving_mask, grid, rigid.inverse()),
    }
    return Prealigned(
        fixed=resample_hu(fixed, grid),
        moving=resample_hu(moving, grid, transform=rigid),
        fixed_mask=on_grid,
        moving_mask=aligned,
        rigid=rigid,
        report={key: report[key] for key in sorted(report)},
    )


def _align(
    fixed: Image,
    moving: Image,
    *,
    fixed_mask: Image,
    moving_mask: Image,
    start: RigidTransform,
    settings: PrealignSettings,
    threads: int | None,
) -> Alignment:
    """Return the result of the chosen method; only its module is loaded."""
    if settings.method == "deeds":
        from lcsd.prealign import deeds

        return deeds.align(fixed, moving, fixed_mask=fixed_mask, start=start, settings=settings, threads=threads)
    if settings.method == "corrfield":
        from lcsd.prealign import corrfield

        return corrfield.align(fixed, moving, fixed_mask=fixed_mask, start=start, settings=settings)
    from lcsd.prealign import blocks

    return blocks.align(fixed, moving, fixed_mask=fixed_mask, moving_mask=moving_mask, start=start, settings=settings)


def _dice(first: Image, second: Image) -> float:
    total = int(np.count_nonzero(first.array) + np.count_nonzero(second.array))
    return round(2 * int(np.count_nonzero(first.array & second.array)) / total, 6) if total else 0.0


def _inside(mask: Image, grid: Grid, to_grid: RigidTransform) -> float:
    """Return the share of the mask inside the grid."""
    if grid.contains(to_grid.apply(row_ends(mask))).all():
        return 1.0
    world = to_grid.apply(world_points(mask.array, mask.grid))
    return round(float(grid.contains(world).mean()), 6)


def _report(rigid: RigidTransform, grid: Grid, fixed_mask: Image) -> dict[str, Any]:
    middle = centroid(fixed_mask)
    cosine = np.clip((np.trace(rigid.rotation) - 1) / 2, -1.0, 1.0)
    return {
        "rotation_deg": round(float(np.degrees(np.arccos(cosine))), 4),
        # At the centre of the lungs: at the origin it would depend on the frame of the scanner.
        "translation_mm": [round(float(v), 4) for v in rigid.apply(middle) - middle],
        "grid_size": list(grid.size),
        "grid_spacing_mm": list(grid.spacing),
        "grid_origin_mm": [round(v, 6) for v in grid.origin],
    }
