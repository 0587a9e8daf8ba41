"""Agreement of observers: distances between two sets of the same landmarks."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lcsd.errors import BadInputError
from lcsd.evaluation.statistics import summarise
from lcsd.io.points import PointPairs
from lcsd.landmarks.lists import SHOWN, check_unique


def distances(
    first: PointPairs, second: PointPairs, *, files: tuple[Path | None, Path | None] = (None, None)
) -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """Return the ids of landmarks and the distances between their positions in two files.

    Ids are in the order of the first file. Distances are in mm, shape (N, 3): of the fixed positions, of the moving
    positions, and of the motions (moving minus fixed). Raises ``BadInputError`` if a file has no ids
    (``missing_column``), an id is repeated, or an id is in one file only (``unpaired_ids``).
    """
    for pairs, file in zip((first, second), files, strict=True):
        if pairs.ids is None or not all(pairs.ids):
            raise BadInputError(
                "landmarks are compared by id, and a row has none",
                code="missing_column",
                file=file,
                field="id",
                expected="an id in every row",
            )
        check_unique(pairs.ids, file=file)
    ids, others = first.ids or (), second.ids or ()
    single = sorted(set(ids) ^ set(others))
    if single:
        raise BadInputError(
            "ids are in one file only",
            code="unpaired_ids",
            file=files[1],
            expected="the same ids in both files",
            found=", ".join(single[:SHOWN]) + (", ..." if len(single) > SHOWN else ""),
        )
    order = [others.index(name) for name in ids]
    fixed = second.fixed[order] - first.fixed
    moving = second.moving[order] - first.moving
    apart = [np.linalg.norm(part, axis=1) for part in (fixed, moving, moving - fixed)]
    return ids, np.stack(apart, axis=1)


def agreement(apart: NDArray[np.float64]) -> dict[str, Any]:
    """Return count and statistics of distances (N, 3) from :func:`distances`, JSON-serialisable."""
    figures: dict[str, Any] = {"landmarks": len(apart)}
    for column, side in enumerate(("fixed", "moving", "motion")):
        figures |= summarise(apart[:, column]).figures(side, "mm")
    return figures
