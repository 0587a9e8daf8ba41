"""Record where landmarks come from: predicted, corrected by a person, or set by a person."""

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.points import ORIGIN_PATTERN, PointPairs
from lcsd.landmarks.lists import Paired

MANUAL = "manual"
CORRECTED, PREDICTED = "corrected", "predicted"

REVIEWED = "reviewed"
"""Word in a point's description: a person checked the point and left it unchanged."""


def predicted(method: str) -> str:
    """Return the origin for a method. Raises ``BadInputError`` if its name is empty or has white space."""
    origin = f"{PREDICTED}:{method}"
    if not ORIGIN_PATTERN.fullmatch(origin):
        raise BadInputError(
            "invalid name of a method",
            code="bad_origin",
            field="method",
            expected="text without white space",
            found=repr(method),
        )
    return origin


def mark_origins(read: Paired, proposed: PointPairs, *, moved_mm: float) -> PointPairs:
    """Return landmarks with their origin, found by comparison with the proposal.

    ``read`` has the landmarks and notes as the person returned them. The origin is ``corrected:METHOD`` if the point
    moved by more than ``moved_mm`` in either scan or its note has the word ``reviewed``; the proposal's
    (``predicted:METHOD``) if it was left; ``manual`` if the id is new. Raises ``BadInputError`` for missing ids or a
    proposal without origins.
    """
    if read.pairs.ids is None or proposed.ids is None or proposed.origin is None:
        raise BadInputError(
            "landmarks and proposal are compared by id",
            code="missing_column",
            field="id, origin",
            expected="ids in both, and origins in the proposal",
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
