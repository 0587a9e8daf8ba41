"""Pair the labelled points of two scans."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.io.points import PointPairs
from lcsd.names import SCANS, PairBy

SHOWN = 5
"""Most labels in an error."""

SHOWN_LENGTH = 40
"""Most characters of a label in an error."""


@dataclass(frozen=True)
class PointList:
    """Points of one scan."""

    points: NDArray[np.float64]  # shape (N, 3), LPS mm; only points with a position
    labels: tuple[str, ...] | None = None  # one per point, or None if the file has none
    notes: tuple[str, ...] | None = None  # free text per point (Slicer's description), or None
    unset: tuple[str, ...] = ()  # labels without a position yet
    name: str = ""  # of the list; Slicer starts its own labels with it


class Paired(NamedTuple):
    """Pairs from two lists, and what was left out."""

    pairs: PointPairs
    notes: tuple[str, ...]
    """Text per pair: the notes of both points."""
    unset: tuple[str, ...]
    """Labels in both lists that have no position in one of them."""


def check_unique(labels: tuple[str, ...], *, file: Path | None) -> None:
    """Raise ``BadInputError`` for a repeated label (``duplicate_id``, unless empty) or several lines (``bad_id``)."""
    seen: set[str] = set()
    for number, label in enumerate(labels, 1):
        if label and label.splitlines() != [label]:
            raise BadInputError(
                "the landmark id has several lines",
                code="bad_id",
                file=file,
                field=f"point {number}",
                found=repr(label[:SHOWN_LENGTH]),
                remedy="give it an id with one line",
            )
        if label and label in seen:
            raise BadInputError(
                "the landmark id is repeated",
                code="duplicate_id",
                file=file,
                field=f"point {number}, id {label}",
                remedy="give every landmark its own id",
            )
        seen.add(label)


def _all_labels(part: PointList) -> tuple[str, ...]:
    return (*(part.labels or ()), *part.unset)


def _numbers(part: PointList) -> tuple[str, ...] | None:
    """Return the numbers in labels that Slicer made from the list's name (F-1, F-2, ...), or None."""
    prefix = re.escape(part.name) + r"[-_]"
    made = [re.fullmatch(prefix + r"(\d+)", label) for label in _all_labels(part)]
    return tuple(m[1] for m in made if m) if part.name and made and all(made) else None


def _keys(fixed: PointList, moving: PointList, files: tuple[Path, Path]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return keys that pair both lists, unset ones last; refuse ``missing_id`` and ``duplicate_id``."""
    numbers = _numbers(fixed), _numbers(moving)
    if numbers[0] is not None and numbers[1] is not None:
        for part, file in zip(numbers, files, strict=True):
            check_unique(part or (), file=file)
        return numbers[0], numbers[1]
    labels = _all_labels(fixed), _all_labels(moving)
    for part, file in zip(labels, files, strict=True):
        if "" in part:
            raise BadInputError(
                "the landmark has no id",
                code="missing_id",
                file=file,
                field=f"point {part.index('') + 1}",
                remedy="give every landmark its own id, or pair by row (--pair-by row)",
            )
    return labels


def _some(labels: set[str]) -> str:
    shown = sorted(labels)[:SHOWN]
    return ", ".join(shown) + (", ..." if len(labels) > SHOWN else "")


def pair_lists(fixed: PointList, moving: PointList, *, by: PairBy = "label", files: tuple[Path, Path | None]) -> Paired:
    """Return the pairs of two lists.

    By ``label``, points pair by equal labels if both lists have labels, and by equal numbers if Slicer made all labels
    from the lists' names; by ``row``, by equal positions in the lists. ``files`` are for errors; the second is None if
    one file holds both lists.

    Raises ``BadInputError`` if a label is repeated (``duplicate_id``), has several lines (``bad_id``) or, if points are
    paired by it, is empty (``missing_id``); if the lists differ in labels (``unpaired_ids``) or lengths
    (``unequal_counts``); or if there is no pair (``empty_table``).
    """
    for part, file in ((fixed, files[0]), (moving, files[1] or files[0])):
        check_unique(_all_labels(part), file=file)
    if by == "row" or fixed.labels is None or moving.labels is None:
        return _by_row(fixed, moving, files)
    keys = _keys(fixed, moving, (files[0], files[1] or files[0]))
    # Row of each label; None without a position.
    here, there = (
        {key: row if row < len(part.points) else None for row, key in enumerate(own)}
        for part, own in zip((fixed, moving), keys, strict=True)
    )
    if here.keys() != there.keys():
        only = (here.keys() - there.keys(), there.keys() - here.keys())
        raise BadInputError(
            "some landmarks are in one list only",
            code="unpaired_ids",
            file=files[1] or files[0],
            expected="the same ids in both lists",
            found="; ".join(
                f"only in the {name}: {_some(set(labels))}" for name, labels in zip(SCANS, only, strict=True) if labels
            ),
            remedy="add or delete points, or pair by row (--pair-by row)",
        )
    kept = {
        label: (row, other) for label, row in here.items() if row is not None and (other := there[label]) is not None
    }
    _check_some(len(kept), files)
    rows = [row for row, _ in kept.values()]
    others = [other for _, other in kept.values()]
    return Paired(
        PointPairs(fixed.points[rows], moving.points[others], ids=tuple(kept)),
        _notes(fixed, moving, rows, others),
        tuple(label for label in here if label not in kept),
    )


def _check_some(pairs: int, files: tuple[Path, Path | None]) -> None:
    if pairs == 0:
        raise BadInputError(
            "no landmark has a position in both scans",
            code="empty_table",
            file=files[0],
            expected="at least one",
            found=0,
            remedy="place the points, and save both lists",
        )


def _by_row(fixed: PointList, moving: PointList, files: tuple[Path, Path | None]) -> Paired:
    if len(fixed.points) != len(moving.points):
        raise BadInputError(
            "the lists have different numbers of points",
            code="unequal_counts",
            file=files[1] or files[0],
            expected=f"{len(fixed.points)} as in the fixed list",
            found=len(moving.points),
            remedy="give every landmark a position in both scans",
        )
    _check_some(len(fixed.points), files)
    rows = list(range(len(fixed.points)))
    ids = fixed.labels if fixed.labels is not None else moving.labels
    return Paired(PointPairs(fixed.points, moving.points, ids=ids), _notes(fixed, moving, rows, rows), ())


def _notes(fixed: PointList, moving: PointList, rows: list[int], others: list[int]) -> tuple[str, ...]:
    return tuple(
        " ".join(
            part.notes[row] for part, row in ((fixed, a), (moving, b)) if part.notes is not None and part.notes[row]
        )
        for a, b in zip(rows, others, strict=True)
    )
