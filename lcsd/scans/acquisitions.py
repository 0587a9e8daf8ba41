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
from lcsd.scans.neighbours import slice_axis
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
