"""Where landmarks come from: predicted, corrected by a person, or set by a person."""

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.points import ORIGIN_PATTERN, PointPairs
from lcsd.landmarks.lists import Paired

MANUAL = "manual"
CORRECTED, PREDICTED = "corrected", "predicted"

REVIEWED = "reviewed"
"""A point whose description has this word was looked at and left where it was."""


def predicted(method: str) -> str:
    """Return the origin of a landmark as a method proposed it.

    Raises
    ------
    BadInputError
        If the name of the method is empty or has white space.
    """
    origin = f"{PREDICTED}:{method}"
    if not ORIGIN_PATTERN.fullmatch(origin):
        raise BadInputError(
            "not the name of a method",
            code="bad_origin",
            field="method",
            expected="text without white space",
            found=repr(method),
        )
    return origin


def mark_origins(read: Paired, proposed: PointPairs, *, moved_mm: float) -> PointPairs:
    """Return landmarks with their origin, told by comparing them with what was proposed.

    Parameters
    ----------
    read
        Landmarks as they come back, with their notes.
    proposed
        The proposal, with ids, weight and origin ``predicted:METHOD``.
    moved_mm
        A landmark that moved further in either scan was corrected.

    Returns
    -------
    PointPairs
        ``corrected:METHOD`` where a point was moved or its note has the word ``reviewed``; the
        proposal's origin where it was left; ``manual`` where the id is new.

    Raises
    ------
    BadInputError
        If ids are missing in either, or the proposal says nothing of its origin.
    """
    if read.pairs.ids is None or proposed.ids is None or proposed.origin is None:
        raise BadInputError(
            "landmarks and proposal are compared by id",
            code="missing_column",
            field="id, origin",
            expected="ids in both, and the origin in the proposal",
            remedy="give the CSV that lcsd landmarks propose wrote",
        )
    rows = {name: row for row, name in enumerate(proposed.ids)}
    origins = []
    for n, name in enumerate(read.pairs.ids):
        row = rows.get(name)
        if row is None:
            origins.append(MANUAL)
            continue
        apart = max(
            float(np.linalg.norm(read.pairs.fixed[n] - proposed.fixed[row])),
            float(np.linalg.norm(read.pairs.moving[n] - proposed.moving[row])),
        )
        before = proposed.origin[row]
        seen = apart > moved_mm or REVIEWED in read.notes[n].lower().split()
        method = before.partition(":")[2]
        origins.append(f"{CORRECTED}:{method}" if seen and method else before)
    return PointPairs(read.pairs.fixed, read.pairs.moving, read.pairs.ids, origin=tuple(origins))
