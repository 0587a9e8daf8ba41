"""Plausibility of a pair of vessel masks: figures against limits.

LCSD500 discarded pairs whose vessel segmentation failed (Heinrich et al., ICCV 2023, supplement,
section 1); by which rule is not published.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import ndimage

from lcsd.build.verdicts import verdict
from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.numerics.morphology import Mask
from lcsd.settings.gates import GatesSettings, Limits

SECOND_LUNG_SHARE = 0.2
"""A part of the lung mask this large against the largest is the other lung."""

BOTH_LUNGS_MM = 180.0
"""Lungs that touch are wider than this together; one lung is narrower (about 130 mm in adults)."""

ML_PER_MM3 = 1e-3


def split_lungs(lungs: Image) -> dict[str, Mask]:
    """Return the masks of both lungs by side, or of the one there is.

    Lungs that touch are parted by the sagittal plane through the middle of their voxels.

    Parameters
    ----------
    lungs
        Lung mask, (z, y, x), any orientation.

    Returns
    -------
    dict
        ``left`` (larger x, LPS) and ``right``, or ``lung``; on the same grid, without crumbs.
    """
    labels, count = ndimage.label(lungs.array)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    order = np.argsort(-sizes, kind="stable")
    where = np.argwhere(lungs.array)
    x = lungs.grid.voxel_to_world(where[:, ::-1].astype(np.float64))[:, 0]
    of = labels[tuple(where.T)]
    if count > 1 and sizes[order[1]] >= SECOND_LUNG_SHARE * sizes[order[0]]:
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

    Parameters
    ----------
    vessels
        Vessel mask or labels, (z, y, x).
    lungs
        Lung mask on the same grid.

    Returns
    -------
    dict
        ``points``: vessel voxels; ``lungs``: per lung its ``volume_ml``, ``vessels_ml`` and their
        ratio ``share``; ``balance``: the lesser share over the greater, none of one lung;
        ``inside``, ``largest``, ``border``: voxels within the lungs, in the largest connected piece
        (also by edges and corners) and in the grid's outermost layer, of 1.

    Raises
    ------
    BadInputError
        If the masks lie on different grids or one is empty.
    """
    if not vessels.grid.same_as(lungs.grid):
        raise BadInputError(
            "vessels and lungs lie on different grids",
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
                remedy="look at the scan and its segmentation",
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

    Parameters
    ----------
    figures
        Figures of the ``fixed`` and the ``moving`` scan (:func:`scan_figures`).

    Returns
    -------
    list
        One entry per gate and what it was measured on (:func:`lcsd.build.verdicts.verdict`). A
        balance that is asked for and cannot be had, since one lung was found, counts as 0.
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
