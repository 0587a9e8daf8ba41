"""Judge whether a pair of vessel masks is plausible: figures against limits.

LCSD500 discarded pairs whose vessel segmentation failed (Heinrich et al., ICCV 2023, supplement,
section 1); the rule is not published.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from lcsd.build.verdicts import verdict
from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.numerics.morphology import ML_PER_MM3, Mask, connected
from lcsd.settings.gates import GatesSettings, Limits

SECOND_LUNG_SHARE = 0.2  # a part of the lung mask with at least this share of the largest one is the other lung

BOTH_LUNGS_MM = 180.0
"""Two lungs that touch are together wider than this; one lung is narrower (about 130 mm in adults)."""


def split_lungs(lungs: Image) -> dict[str, Mask]:
    """Return the masks of both lungs by side, or of the only one.

    ``lungs`` is a mask (z, y, x) of any orientation. The result has ``left`` (larger x, LPS) and ``right``, or
    ``lung``, on the same grid, without small parts. Lungs that touch are separated by the sagittal plane
    through the mean of their voxels.
    """
    labels, sizes, order = connected(lungs.array)
    where = np.argwhere(lungs.array)
    x = lungs.grid.voxel_to_world(where[:, ::-1].astype(np.float64))[:, 0]
    of = labels[tuple(where.T)]
    if len(order) > 1 and sizes[order[1]] >= SECOND_LUNG_SHARE * sizes[order[0]]:
        sides = sorted(order[:2], key=lambda label: float(x[of == label].mean()))
        return {"left": labels == sides[1], "right": labels == sides[0]}
    main = labels == order[0]
    inside = x[of == order[0]]
    if np.ptp(inside) < BOTH_LUNGS_MM:
        return {"lung": main}
    left = np.zeros_like(main)
    left[tuple(where[(of == order[0]) & (x > inside.mean())].T)] = True
    return {"left": left, "right": main & ~left}


def scan_figures(vessels: Image, lungs: Image) -> dict[str, Any]:
    """Return the figures of one scan that the gates judge.

    ``vessels`` is a mask or labels, (z, y, x), ``lungs`` a mask on the same grid. The figures are ``points``: vessel
    voxels; ``lungs``: per lung its ``volume_ml``, ``vessels_ml`` and their ratio ``share``; ``balance``: the smaller
    share over the larger, None for one lung; ``inside``, ``largest``, ``border``: shares of voxels in the lungs, in
    the largest part (connected by faces, edges or corners) and in the outermost layer of the grid, of 1.

    Raises ``BadInputError`` if the grids differ or a mask is empty.
    """
    if not vessels.grid.same_as(lungs.grid):
        raise BadInputError(
            "vessels and lungs are on different grids",
            code="grid_mismatch",
            expected=lungs.grid.size,
            found=vessels.grid.size,
            remedy="give masks of one scan",
        )
    mask = vessels.array != 0
    for name, found in (("vessels", mask), ("lungs", lungs.array)):
        if not found.any():
            raise BadInputError(
                "the mask is empty",
                code=f"empty_{name}",
                field=name,
                found="0 voxels",
                remedy="check the scan and its segmentation",
            )
    voxel_ml = float(np.prod(vessels.grid.spacing)) * ML_PER_MM3
    sides = {name: _lung(mask, side, voxel_ml) for name, side in split_lungs(lungs).items()}
    shares = sorted(side["share"] for side in sides.values())
    count = int(mask.sum())
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    inner = int(mask[1:-1, 1:-1, 1:-1].sum())
    return {
        "points": count,
        "lungs": sides,
        "balance": shares[0] / shares[1] if len(shares) == 2 and shares[1] > 0 else None,
        "inside": float((mask & (lungs.array != 0)).sum() / count),
        "largest": float(np.bincount(labels.ravel())[1:].max() / count),
        "border": (count - inner) / count,
    }


def _lung(vessels: Mask, lung: Mask, voxel_ml: float) -> dict[str, float]:
    volume, inside = float(lung.sum()) * voxel_ml, float((vessels & lung).sum()) * voxel_ml
    return {"volume_ml": volume, "vessels_ml": inside, "share": inside / volume}


def judge(figures: Mapping[str, dict[str, Any]], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdicts on a pair.

    ``figures`` are those of the ``fixed`` and the ``moving`` scan (:func:`scan_figures`); the result has one
    verdict per gate and scan or lung. If only one lung was found, a required balance counts as 0.
    """
    found = []
    for scan, values in figures.items():
        found.append(verdict("points", values["points"], settings.points, of=scan))
        for side, lung in values["lungs"].items():
            found.append(verdict("share", lung["share"], settings.share, of=f"{scan} {side}"))
        if settings.balance != Limits():
            found.append(verdict("balance", values["balance"] or 0.0, settings.balance, of=scan))
        found += [
            verdict(name, values[name], getattr(settings, name), of=scan) for name in ("inside", "largest", "border")
        ]
    counts = sorted(values["points"] for values in figures.values())
    found.append(verdict("ratio", counts[0] / counts[-1], settings.ratio, of="pair"))
    return found
