"""Whether the slices of a volume lie beside each other as those of one scan do: odd slices, seams, order, repeats."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.images import Image

Stack = NDArray[np.float32]
"""Slices of means of blocks of pixels, (slice, row, column), or a figure of each slice."""

SEAM_WINDOW = 5  # slices on each side whose median difference is usual
SEAM_ENDS = 3
"""Slices at each end that are not compared: resampling leaves half empty ones there."""

BODY_HU = -500.0  # more is no air, in the mean of a block

NOISY_VALUES = 64  # a slice with noise has more different values

SEAM_SAMPLES = 48  # blocks along each axis of a slice whose means are compared
SEAM_CHANGE_HU = 4.0  # mean difference of two averaged slices that is never unusual

ODD_RATIO = 2.5
"""Difference of a slice to both neighbours, over that of these two or of slices around. In four public scans it is at
most 0.62; a slice of one of them that is blank or upside down has 14, one with 100 HU too much 4.8."""

NEXT_BUT_ONE = 1.5
"""Difference of a slice to the next but one at a seam counts that many times: it is usually larger."""


def slice_axis(volume: Image, *, stacked: bool) -> int:
    """Return the axis (0 is x) along which slices lie: z as scanned, or the one nearest to head and feet."""
    return 2 if stacked else int(np.abs(volume.grid.matrix[2]).argmax())


def averaged(volume: Image, *, stacked: bool) -> Stack:
    """Return slices of up to ``SEAM_SAMPLES`` x ``SEAM_SAMPLES`` pixels, each the mean of a block: noise is small.

    Slices are along the axis of :func:`slice_axis`.
    """
    stack = np.moveaxis(volume.array, 2 - slice_axis(volume, stacked=stacked), 0)
    rows, columns = (-(-count // SEAM_SAMPLES) for count in stack.shape[1:])
    down, across = stack.shape[1] // rows, stack.shape[2] // columns
    blocks = (plane[: down * rows, : across * columns].reshape(down, rows, across, columns) for plane in stack)
    return np.stack([block.mean(axis=(1, 3), dtype=np.float32) for block in blocks])


def check_odd_slices(stack: Stack, source: Path) -> None:
    """Refuse a volume in which one slice does not fit between its neighbours, which fit each other.

    So do slices that are blank, of another scale, or turned. Several in a row are a seam (:func:`largest_seam`).
    ``stack`` as of :func:`averaged`. Raises ``BadInputError`` (``odd_slice``).
    """
    near, far = _apart(stack, 1), _apart(stack, 2)
    for index in range(1, len(stack) - 1):
        usual = max(float(far[index - 1]), _usual(near, [index - 1, index]))
        ratio = float(min(near[index - 1], near[index])) / usual
        if ratio > ODD_RATIO:
            raise BadInputError(
                "a slice does not fit between its neighbours",
                code="odd_slice",
                file=source,
                field=f"slice {index + 1} of {len(stack)}",
                expected=f"at most {ODD_RATIO:g} times the usual difference",
                found=f"{ratio:.1f} times",
                remedy="export the scan again; the slice may be blank, turned or of another scale",
            )


def largest_seam(stack: Stack) -> tuple[float, int]:
    """Return how much two neighbouring slices differ at most, over the usual difference there, and the second's index.

    ``stack`` as of :func:`averaged`. A single slice with an artefact is no seam: its neighbours are alike. Two
    acquisitions that were put together where the body has moved make one. (1, 0) for few slices. Where slices of air
    end a volume, as in one that was resampled, what lies near them is not judged: there the scan ends, and not always
    in a plane.
    """
    near, far = _apart(stack, 1), _apart(stack, 2)
    found = (1.0, 0)
    first, last = _filled(stack)
    for index in range(first + SEAM_ENDS, last - SEAM_ENDS):
        across = [index - 1, index]  # differences to the next but one that a seam after this slice enlarges
        ratio = min(near[index] / _usual(near, [index]), NEXT_BUT_ONE * far[across].min() / _usual(far, across))
        found = max(found, (float(ratio), index + 1))
    return found


def largest_disorder(stack: Stack) -> tuple[float, int]:
    """Return how much two neighbouring slices differ at most, over one of them and the next but one, and their second.

    In a scan, the next but one differs more: a ratio above 1 says that two slices, near each other or not, were
    exchanged, or that one does not belong there. Where the body moved (:func:`largest_seam`), all three differ.
    ``stack`` as of :func:`averaged`; (0, 0) for few slices; ends are not judged, as in :func:`largest_seam`.
    """
    near, far = _apart(stack, 1), _apart(stack, 2)
    found = (0.0, 0)
    first, last = _filled(stack)
    for index in range(first + SEAM_ENDS, last - SEAM_ENDS):
        usual = max(float(far[index - 1 : index + 1].min()), SEAM_CHANGE_HU)
        found = max(found, (float(near[index]) / usual, index + 1))
    return found


def repeated_slices(volume: Image, stack: Stack, *, stacked: bool) -> list[int]:
    """Return the indices of slices that hold the very values of the slice before them.

    Noise makes any two slices differ, so slices of a few values are not judged. ``volume``, ``stacked`` and ``stack``
    are those of :func:`averaged`.
    """
    planes = np.moveaxis(volume.array, 2 - slice_axis(volume, stacked=stacked), 0)
    same = (int(k) + 1 for k in np.flatnonzero(_apart(stack, 1) == 0))
    return [k for k in same if np.array_equal(planes[k], planes[k - 1]) and len(np.unique(planes[k])) > NOISY_VALUES]


def _apart(stack: Stack, lag: int) -> Stack:
    """Return the mean difference of each slice to the one that is ``lag`` further."""
    return np.abs(stack[lag:] - stack[:-lag]).mean(axis=(1, 2))


def _filled(stack: NDArray[np.float32]) -> tuple[int, int]:
    """Return the first and the last slice that are judged: those of the volume, or well within slices of air."""
    body = (stack > BODY_HU).mean(axis=(1, 2))
    last = len(stack) - 1
    if not body.any():
        return 0, 0
    full = np.flatnonzero(body >= np.median(body[body > 0]) / 2)
    begin = 0 if body[0] > 0 else int(full[0]) + SEAM_WINDOW
    return begin, last if body[-1] > 0 else int(full[-1]) - SEAM_WINDOW


def _usual(apart: NDArray[np.float32], without: list[int]) -> float:
    """Return the median of the differences around some of them."""
    around = [i for i in range(without[0] - SEAM_WINDOW, without[-1] + SEAM_WINDOW + 1) if i not in without]
    return max(float(np.median(apart[[i for i in around if 0 <= i < len(apart)]])), SEAM_CHANGE_HU)
