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
from lcsd.lungs.gates import split_lungs
from lcsd.numerics.morphology import ML_PER_MM3, Mask
from lcsd.settings.gates import GatesSettings, Limits
from lcsd.vessels.vessels import contrast_hu


def scan_figures(vessels: Image, lungs: Image, image: Image | None = None) -> dict[str, Any]:
    """Return the figures of one scan that the gates judge.

    ``vessels`` is a mask or labels, (z, y, x), ``lungs`` a mask on the same grid. The figures are ``points``: vessel
    voxels; ``lungs``: per lung its ``volume_ml``, ``vessels_ml`` and their ratio ``share``; ``balance``: the smaller
    share over the larger, None for one lung; ``inside``, ``largest``, ``border``: shares of voxels in the lungs, in
    the largest part (connected by faces, edges or corners) and in the outermost layer of the grid, of 1; and with
    ``image``, the scan on the same grid, ``contrast_hu``, see :func:`lcsd.vessels.vessels.contrast_hu`.

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
    count = int(np.count_nonzero(mask))
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    inner = int(np.count_nonzero(mask[1:-1, 1:-1, 1:-1]))
    return {
        "points": count,
        "lungs": sides,
        "balance": shares[0] / shares[1] if len(shares) == 2 and shares[1] > 0 else None,
        "inside": float(np.count_nonzero(mask & (lungs.array != 0)) / count),
        "largest": float(np.bincount(labels[mask]).max() / count),
        "border": (count - inner) / count,
        "contrast_hu": None if image is None else contrast_hu(image, vessels, lungs),
    }


def _lung(vessels: Mask, lung: Mask, voxel_ml: float) -> dict[str, float]:
    volume, inside = (float(np.count_nonzero(part)) * voxel_ml for part in (lung, vessels & lung))
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
        if values["contrast_hu"] is not None:
            found.append(verdict("vessel_contrast_hu", values["contrast_hu"], settings.vessel_contrast_hu, of=scan))
    counts = sorted(values["points"] for values in figures.values())
    found.append(verdict("ratio", counts[0] / counts[-1], settings.ratio, of="pair"))
    return found
