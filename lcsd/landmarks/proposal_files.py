"""Write the folder of a proposal: lists for 3D Slicer and our table."""

from pathlib import Path

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.points import PointPairs, write_point_pairs
from lcsd.landmarks.lists import PointList
from lcsd.landmarks.propose import Points, Proposal
from lcsd.landmarks.slicer import write_markups

FIXED, MOVING, TABLE = "fixed.mrk.json", "moving.mrk.json", "proposal.csv"


def check_new(folder: Path) -> None:
    """Raise ``BadInputError`` (``not_empty``) if a folder has a proposal: a person may have worked on it for hours."""
    for name in (FIXED, MOVING, TABLE):
        if (folder / name).exists():
            raise BadInputError(
                "a proposal exists already and may have been corrected",
                code="not_empty",
                file=folder / name,
                expected="a new folder",
                remedy="give another folder, or move the lists",
            )


def _write(folder: Path, fixed: PointList, moving: PointList, table: PointPairs | None = None) -> None:
    """Write all files or none: an incomplete proposal would block the next one."""
    check_new(folder)
    try:
        write_markups(folder / FIXED, [fixed])
        write_markups(folder / MOVING, [moving])
        if table is not None:
            write_point_pairs(folder / TABLE, table)
    except BaseException:
        for name in (FIXED, MOVING, TABLE):
            (folder / name).unlink(missing_ok=True)
        raise


def write_blind(folder: Path, points: Points, names: tuple[str, str]) -> None:
    """Write points (N, 3), LPS mm, and a moving list of their labels without positions (``names`` of both)."""
    labels = tuple(str(n + 1) for n in range(len(points)))
    _write(folder, PointList(points, labels, name=names[0]), PointList(points[:0], (), unset=labels, name=names[1]))


def write_proposal(folder: Path, found: Proposal, names: tuple[str, str]) -> None:
    """Write both lists (``names``), with the doubt in the notes of the moving one, and the table."""
    pairs = found.pairs
    notes = tuple(f"doubt {value:.1f} mm" if np.isfinite(value) else "outside the follow-up" for value in found.doubt)
    moving = PointList(pairs.moving, pairs.ids, notes, name=names[1])
    _write(folder, PointList(pairs.fixed, pairs.ids, name=names[0]), moving, pairs)
