"""Find slices of several acquisitions under one series UID: by their headers, and by their content.

Two breath-holds, phases or kernels whose slices alternate form a regular stack, and no position tells them
apart. Scanners that move the table between rotations number each rotation, so different numbers alone are fine.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.images import Image
from lcsd.scans.slices import Slice, refused

MARKS = (
    "AcquisitionNumber",
    "AcquisitionDate",
    "IrradiationEventUID",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "SeriesNumber",
)
"""Elements that differ between acquisitions."""

PAUSE_S = 4.0
"""Slices of one breath-hold follow each other faster, also of scanners that move the table between rotations."""

FEW = 4
"""At most so many acquisitions are breath-holds; more are rotations of one scan."""

ALTERNATING = 0.9
"""Share of slices whose neighbour is of another group, from which on groups alternate strictly."""

WINDOW = 10  # slices whose median difference counts
LAGS = (2, 3, 4)
LEAST_RATIO = {2: 0.9, 3: 0.8, 4: 0.8}
"""Least usual difference of slices that many apart, over the largest of closer slices. In five public scans it is at
least 1.29 at lag 2 and 1.10 at lag 4; where every second slice of one is shifted by 2.5 mm, it is 0.53 at lag 2."""

LEAST_CHANGE_HU = 0.5  # mean difference of two slices below which nothing moved; noise alone makes more than 5

NOISE_RATIO, NOISE_SHARE = 3.0, 0.05
"""Change of sharpness from slice to slice over that to the next but one, and over the sharpness itself. In five public
scans they are at most 0.9 and 0.04; with every second slice smoothed by 0.7 pixels, 9.7 and 0.35."""

JUMP_RATIO = 1.8
"""Difference of two slices over that of their neighbours. Within three public scans of whole chests it is at most 1.25;
where the body is shifted by six slices, 2.9."""

SEAM_WINDOW = 5  # slices on each side whose median difference is usual
SEAM_ENDS = 3
"""Slices at each end that are not compared: resampling leaves half empty ones there."""

BODY_HU = -500.0  # more is no air, in the mean of a block

SEAM_SAMPLES = 48  # blocks along each axis of a slice whose means are compared
SEAM_CHANGE_HU = 4.0  # mean difference of two averaged slices that is never unusual

ODD_RATIO = 2.5
"""Difference of a slice to both neighbours, over that of these two or of slices around. In four public scans it is at
most 0.62; a slice of one of them that is blank or upside down has 14, one with 100 HU too much 4.8."""

NEXT_BUT_ONE = 1.5
"""Difference of a slice to the next but one at a seam counts that many times: it is usually larger."""

SAMPLES = 64  # pixels along each axis of a slice that are compared


def check_acquisitions(slices: Sequence[Slice]) -> None:
    """Refuse sorted slices of several acquisitions that overlap; the message names no values.

    Raises ``BadInputError`` (``mixed_acquisitions``).
    """
    times = _times(slices, "AcquisitionTime")
    for name in () if _is_one_sweep(times) else MARKS:
        keys = ["/".join(part.header.texts(name)) for part in slices]
        if _overlap(keys):
            raise _mixed(slices, keys, name)
    keys = _groups(times)
    if len(set(keys)) <= FEW and _overlap(keys):
        raise _mixed(slices, keys, "AcquisitionTime")
    if _zigzags(times):
        raise _mixed(slices, [str(index % 2) for index in range(len(slices))], "AcquisitionTime")
    # Exporters may write the time of the export, in any order; only a strict alternation is evidence.
    keys = _groups(_times(slices, "ContentTime"))
    if len(set(keys)) <= FEW and _overlap(keys) and _runs(keys) > ALTERNATING * len(keys):
        raise _mixed(slices, keys, "ContentTime")


def _mixed(slices: Sequence[Slice], keys: Sequence[str], name: str) -> BadInputError:
    odd = next(i for i in range(1, len(keys)) if keys[i] != keys[0])
    counts = " and ".join(str(keys.count(key)) for key in sorted(set(keys), key=keys.index)[:FEW])
    return refused(
        slices[odd].path,
        "slices of several acquisitions lie between each other under one series UID",
        code="mixed_acquisitions",
        field=name,
        expected="slices of one acquisition, or one acquisition after the other",
        found=f"{counts} slices that overlap",
        remedy="sort the files by this element and give one acquisition",
    )


def _runs(keys: Sequence[str]) -> int:
    return 1 + sum(first != second for first, second in itertools.pairwise(keys))


def _overlap(keys: Sequence[str]) -> bool:
    """Return whether slices with one key lie between those with another, or at the same position.

    A key that some slices lack tells nothing.
    """
    return "" not in keys and 1 < len(set(keys)) < min(len(keys), _runs(keys))


def _times(slices: Sequence[Slice], name: str) -> list[float]:
    """Return seconds of a day, or NaN."""
    found = []
    for part in slices:
        stamp = part.header.text("AcquisitionDateTime") if name == "AcquisitionTime" else ""
        text = stamp[8:].split("+")[0].split("-")[0] or part.header.text(name)
        try:
            found.append(int(text[:2]) * 3600 + int(text[2:4]) * 60 + float(text[4:] or 0))
        except ValueError:
            found.append(float("nan"))
    return found


def _is_one_sweep(times: Sequence[float]) -> bool:
    """Return whether the table moved once along all slices: times that only grow, or only fall."""
    steps = np.diff(times)
    return bool(len(set(times)) > len(times) // 2 and ((steps >= 0).all() or (steps <= 0).all()))


def _zigzags(times: Sequence[float]) -> bool:
    """Return whether times go up and down from slice to slice, as those of two sweeps that alternate."""
    signs = np.sign(np.diff(times))
    return len(signs) > WINDOW and float((signs[1:] * signs[:-1] < 0).mean()) > ALTERNATING


def _groups(times: Sequence[float]) -> list[str]:
    """Return a key per slice: times without a pause between them have the same; none if a time is missing."""
    if not np.isfinite(times).all():
        return [""] * len(times)
    order = np.argsort(times, kind="stable")
    number = np.empty(len(times), dtype=int)
    number[order] = np.concatenate([[0], np.cumsum(np.diff(np.asarray(times)[order]) > PAUSE_S)])
    return [str(value) for value in number]


def slice_axis(volume: Image, *, stacked: bool) -> int:
    """Return the axis (0 is x) along which slices lie: z as scanned, or the one nearest to head and feet."""
    return 2 if stacked else int(np.abs(volume.grid.matrix[2]).argmax())


def check_alternation(volume: Image, source: Path, *, stacked: bool) -> None:
    """Refuse a volume in which slices differ more from their neighbours than from farther slices.

    ``stacked``: slices are along z, as scanned. A volume may have them along any axis, so those along the axis nearest
    to head and feet count, and it may have been resampled, which alternates the noise. Raises ``BadInputError``
    (``alternating_slices``).
    """
    stack = np.moveaxis(volume.array, 2 - slice_axis(volume, stacked=stacked), 0)
    lag, ratio = _least_ratio(_thinned(stack))
    if ratio < LEAST_RATIO[lag]:
        expected = f"slices {lag} apart that differ at least {LEAST_RATIO[lag]:g} times as much as closer ones"
        raise _alternating(source, expected, f"{ratio:.2f} times")
    if stacked:
        sharpness = np.array([np.abs(np.diff(plane.astype(np.int32), axis=1)).mean() for plane in stack])
        near, far = np.median(np.abs(np.diff(sharpness))), np.median(np.abs(sharpness[2:] - sharpness[:-2]))
        if near > NOISE_RATIO * far and near > NOISE_SHARE * np.median(sharpness):
            found = f"changes of {near:.3g} HU from each to the next"
            raise _alternating(source, "the same sharpness in all slices", found)


def _thinned(stack: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return about ``SAMPLES`` x ``SAMPLES`` pixels of each slice."""
    rows, columns = (max(1, count // SAMPLES) for count in stack.shape[1:])
    return stack[:, ::rows, ::columns].astype(np.float32)


def _least_ratio(stack: NDArray[np.float32]) -> tuple[int, float]:
    """Return the lag whose usual difference is smallest over that of closer slices, by its limit, and the ratio."""
    span = min(WINDOW, len(stack) - LAGS[-1])
    if span < 2:
        return LAGS[0], np.inf
    usual = {}
    for lag in (1, *LAGS):
        apart = np.array([np.abs(a - b).mean() for a, b in zip(stack[lag:], stack, strict=False)])
        windows = np.lib.stride_tricks.sliding_window_view(apart, span)
        # A median: one slice with an artefact differs from all others.
        usual[lag] = np.median(windows[: len(stack) - LAGS[-1] - span + 1], axis=1)
    found = []
    for lag in LAGS:
        closer = np.max([usual[other] for other in usual if other < lag], axis=0)
        ratio = np.divide(usual[lag], closer, out=np.full_like(closer, np.inf), where=closer > LEAST_CHANGE_HU)
        found.append((float(ratio.min()) / LEAST_RATIO[lag], lag, float(ratio.min())))
    _, lag, ratio_found = min(found)
    return lag, ratio_found


def check_odd_slices(volume: Image, source: Path, *, stacked: bool) -> None:
    """Refuse a volume in which one slice does not fit between its neighbours, which fit each other.

    So do slices that are blank, of another scale, or turned. Several in a row are a seam (:func:`largest_seam`).
    ``stacked`` as in :func:`check_alternation`. Raises ``BadInputError`` (``odd_slice``).
    """
    stack = _averaged(np.moveaxis(volume.array, 2 - slice_axis(volume, stacked=stacked), 0))
    near, far = (np.abs(stack[lag:] - stack[:-lag]).mean(axis=(1, 2)) for lag in (1, 2))
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


def _alternating(source: Path, expected: str, found: str) -> BadInputError:
    return BadInputError(
        "slices of two acquisitions or reconstructions alternate",
        code="alternating_slices",
        file=source,
        expected=expected,
        found=found,
        remedy="separate the acquisitions and give one of them",
    )


def check_borders(volume: NDArray[np.int16], slices: Sequence[Slice]) -> None:
    """Refuse a stack of a few acquisitions, one after the other, whose content jumps where they meet.

    Raises ``BadInputError`` (``mixed_acquisitions``).
    """
    stack = _thinned(volume)
    apart = np.array([np.abs(a - b).mean() for a, b in zip(stack[1:], stack, strict=False)])
    keys = {name: ["/".join(part.header.texts(name)) for part in slices] for name in MARKS}
    keys["AcquisitionTime"] = _groups(_times(slices, "AcquisitionTime"))
    for name, values in keys.items():
        borders = [i for i in range(len(apart)) if values[i] != values[i + 1]]
        if not 1 <= len(borders) < FEW:
            continue
        for border in borders:
            around = np.delete(apart, borders)[max(0, border - WINDOW // 2) : border + WINDOW // 2]
            usual = max(float(np.median(around)) if around.size else 0.0, LEAST_CHANGE_HU)
            if apart[border] > JUMP_RATIO * usual:
                raise refused(
                    slices[border + 1].path,
                    "the body moved between two acquisitions under one series UID",
                    code="mixed_acquisitions",
                    field=name,
                    expected=f"at most {JUMP_RATIO:g} times the usual difference of neighbouring slices",
                    found=f"{apart[border] / usual:.2g} times",
                    remedy="give a series of one breath-hold",
                )


def largest_seam(volume: Image, *, stacked: bool) -> tuple[float, int]:
    """Return how much two neighbouring slices differ at most, over the usual difference there, and the second's index.

    Slices are along the axis as in :func:`check_alternation`; blocks of pixels are averaged, so that noise does not
    count. A single slice with an artefact is no seam: its neighbours are alike. Two acquisitions that were put together
    where the body has moved make one. (1, 0) for few slices. Where slices of air end a volume, as in one that was
    resampled, what lies near them is not judged: there the scan ends, and not always in a plane.
    """
    stack = _averaged(np.moveaxis(volume.array, 2 - slice_axis(volume, stacked=stacked), 0))
    near, far = (np.abs(stack[lag:] - stack[:-lag]).mean(axis=(1, 2)) for lag in (1, 2))
    found = (1.0, 0)
    first, last = _filled(stack)
    for index in range(first + SEAM_ENDS, last - SEAM_ENDS):
        across = [index - 1, index]  # differences to the next but one that a seam after this slice enlarges
        ratio = min(near[index] / _usual(near, [index]), NEXT_BUT_ONE * far[across].min() / _usual(far, across))
        found = max(found, (float(ratio), index + 1))
    return found


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


def _averaged(stack: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return slices of up to ``SEAM_SAMPLES`` x ``SEAM_SAMPLES`` pixels, each the mean of a block."""
    rows, columns = (-(-count // SEAM_SAMPLES) for count in stack.shape[1:])
    down, across = stack.shape[1] // rows, stack.shape[2] // columns
    blocks = (plane[: down * rows, : across * columns].reshape(down, rows, across, columns) for plane in stack)
    return np.stack([block.mean(axis=(1, 3), dtype=np.float32) for block in blocks])
