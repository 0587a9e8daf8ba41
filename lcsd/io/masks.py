"""What the values of a mask mean: one place judges every mask that is read."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError

SOFT_RANGE = (-0.35, 1.35)
"""Values of a soft mask; a spline overshoots 0 and 1 by up to a third at corners."""

HALF = 0.5  # a voxel of a soft mask is inside from here on

MOST_LABELS = 6
"""Labels of a lung mask: two lungs, five lobes, and one for mismatches; maps of all organs have more."""


def inside(values: NDArray[Any], *, file: Path, keep_labels: bool = False) -> NDArray[Any]:
    """Return the voxels of a mask (z, y, x), bool, or its labels.

    0 is outside. Whole numbers above 0 are inside; fractions are a soft mask, inside from 0.5 on. ``keep_labels`` keeps
    whole numbers, of any count, and returns a soft mask as uint8. Raises ``BadInputError`` (``mask_values``) for
    negative whole numbers, fractions that leave the range of a soft mask, and more than six labels.
    """
    low, high = float(values.min()), float(values.max())
    if np.issubdtype(values.dtype, np.floating) and bool((values != np.rint(values)).any()):
        if low < SOFT_RANGE[0] or high > SOFT_RANGE[1]:
            raise _unclear(file, f"fractions from {low:.4g} to {high:.4g}")
        found = values >= HALF
        return found.astype(np.uint8) if keep_labels else found
    if low < 0:
        raise _unclear(file, f"whole numbers from {low:.0f} to {high:.0f}")
    if keep_labels:
        return values
    labels = count_labels(values)
    if labels > MOST_LABELS:
        raise _unclear(file, f"{labels} labels or more, up to {high:.0f}")
    return values != 0


def count_labels(values: NDArray[Any]) -> int:
    """Return how many different whole numbers above 0 there are; counting ends after the seventh."""
    rest = values[values > 0]
    count = 0
    while len(rest) and count <= MOST_LABELS:
        rest = rest[rest != rest[0]]
        count += 1
    return count


def _unclear(file: Path, found: str) -> BadInputError:
    return BadInputError(
        "the values of the mask are not clear",
        code="mask_values",
        file=file,
        field="data",
        expected=f"0 outside and 1 inside, at most {MOST_LABELS} labels of the lungs, or a soft mask from 0 to 1",
        found=found,
        remedy="select the labels of the lungs, or apply a threshold, and save 0 and 1",
    )
