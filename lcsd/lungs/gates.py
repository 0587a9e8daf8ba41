"""Judge whether the lungs of a pair are plausible: figures of both masks in their scans against limits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lcsd.build.verdicts import verdict
from lcsd.geometry import Grid
from lcsd.io.images import Image, check_same_grid
from lcsd.io.tables import as_number
from lcsd.lungs.parts import along, level_share, outside_share
from lcsd.lungs.sides import BOTH_LUNGS_MM
from lcsd.numerics.morphology import ML_PER_MM3, Mask, connected
from lcsd.settings.gates import GatesSettings

SECOND_LUNG_SHARE = 0.2  # a part of the lung mask with at least this share of the largest one is the other lung


def split_lungs(lungs: Image) -> dict[str, Mask]:
    """Return the masks of both lungs by side, or of the only one.

    ``lungs`` is a mask (z, y, x) of any orientation. The result has ``left`` (larger x, LPS) and ``right``, or
    ``lung``, on the same grid, without small parts. Lungs that touch are separated by the sagittal plane
    through the mean of their voxels.
    """
    labels, sizes, order = connected(lungs.array)
    main = labels == order[0]
    if len(order) > 1 and sizes[order[1]] >= SECOND_LUNG_SHARE * sizes[order[0]]:
        other = labels == order[1]
        first, second = (float(along(part, lungs.grid, 0).mean()) for part in (main, other))
        return {"left": main, "right": other} if first > second else {"left": other, "right": main}
    x = along(main, lungs.grid, 0)
    if np.ptp(x) < BOTH_LUNGS_MM:
        return {"lung": main}
    left = np.zeros_like(main)
    left[main] = x > x.mean()
    return {"left": left, "right": main & ~left}


MM2_PER_CM2 = 100.0
ML_PER_LITRE = 1000.0


def scan_figures(scan: Image, lungs: Image) -> dict[str, Any]:
    """Return the figures of one scan's lungs that the gates judge.

    ``scan`` is CT in HU, ``lungs`` a mask on its grid, (z, y, x) of any orientation. The figures are ``volumes_l``:
    litres of each lung by side (:func:`split_lungs`), none if the mask is empty; ``median_hu`` inside; ``sides_cm2``
    and ``ends_cm2``: area of lung at the edge of the reconstructed field, and the larger one on the first or the last
    slice; ``level`` and ``outside``, see :func:`level_share` and :func:`outside_share`. Raises ``BadInputError``
    (``grid_mismatch``) if the grids differ.
    """
    check_same_grid(lungs.grid, scan.grid)
    mask = lungs.array != 0
    litres = float(np.prod(scan.grid.spacing)) * ML_PER_MM3 / ML_PER_LITRE
    sides = split_lungs(Image(mask, lungs.grid)) if mask.any() else {}
    edge, ends = _edges(scan, mask)
    return {
        "volumes_l": {name: float(np.count_nonzero(side)) * litres for name, side in sides.items()},
        "median_hu": float(np.median(scan.array[mask])) if mask.any() else 0.0,
        "sides_cm2": edge,
        "ends_cm2": ends,
        "level": level_share(sides, lungs.grid),
        "outside": outside_share(scan, lungs) if sides else 0.0,
    }


def _edges(scan: Image, mask: Mask) -> tuple[float, float]:
    """Return the area of lung at the sides of the field and on its larger end, cm2."""
    along = head_axis(scan.grid)
    steps = scan.grid.spacing[::-1]
    inside = np.moveaxis(mask, along, 0)
    height, *plane = (steps[along], *(step for axis, step in enumerate(steps) if axis != along))
    ends = max(inside[0].sum(), inside[-1].sum()) * plane[0] * plane[1]
    # Each lung voxel at the edge counts with its face across the slice.
    width = float(np.mean(plane))
    sides = inside[:, _rim(np.moveaxis(scan.array, along, 0))].sum() * width * height
    return float(sides) / MM2_PER_CM2, float(ends) / MM2_PER_CM2


def head_axis(grid: Grid) -> int:
    """Return the axis of an array (z, y, x) that is nearest to the direction from foot to head."""
    return 2 - int(np.abs(grid.matrix[2]).argmax())


def _rim(slices: NDArray[Any]) -> Mask:
    """Return the pixels at the edge of the field: the border of a slice, and next to padding outside a round field.

    Padding is what has the lowest value of the scan in every slice.
    """
    padding = slices.max(axis=0) <= slices.min()
    # Air alone may be one value, as in phantoms: then the border counts, which is what lies beyond it.
    outside = np.pad(padding, 1, constant_values=True)
    return np.asarray(ndimage.binary_dilation(outside)[1:-1, 1:-1] & ~padding)


def judge(figures: Mapping[str, dict[str, Any]], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdicts on the lungs of a pair.

    ``figures`` are those of the ``fixed`` and the ``moving`` scan (:func:`scan_figures`); the result has one verdict
    per gate and scan, and one per lung for what changes between the scans.
    """
    found = []
    for scan, values in figures.items():
        of_scan = {
            "lungs": len(values["volumes_l"]),
            "lung_volume_l": sum(values["volumes_l"].values()),
            "lung_hu": values["median_hu"],
            "lung_sides_cm2": values["sides_cm2"],
            "lung_ends_cm2": values["ends_cm2"],
            "lung_outside": values["outside"],
        }
        found += [verdict(name, value, getattr(settings, name), of=scan) for name, value in of_scan.items()]
        if values["level"] is not None:
            found.append(verdict("lung_level", values["level"], settings.lung_level, of=scan))
    first, second = (values["volumes_l"] for values in figures.values())
    for side in sorted({*first, *second}):
        change = _ratio(first.get(side, 0.0), second.get(side, 0.0))
        found.append(verdict("lung_change", change, settings.lung_change, of=side))
    if first.keys() == second.keys() == {"left", "right"}:
        balances = [volumes["right"] / volumes["left"] for volumes in (first, second)]
        found.append(verdict("lung_balance_change", _ratio(*balances), settings.lung_balance_change, of="pair"))
    return found


def judge_fit(scan: str, facts: Mapping[str, Any], settings: GatesSettings) -> list[dict[str, Any]]:
    """Return the verdicts on a given mask; ``facts`` are those that ``lcsd lungs`` recorded.

    None for a mask that was not given, or is trusted.
    """
    fit = facts.get("fit", {})
    names = {name: as_number(fit.get(name)) for name in ("misfit", "excess", "missed")}
    return [
        verdict(f"mask_{name}", value, getattr(settings, f"mask_{name}"), of=scan)
        for name, value in names.items()
        if value is not None
    ]


def _ratio(first: float, second: float) -> float:
    return min(first, second) / max(first, second) if max(first, second) > 0 else 0.0
