"""The folder of a proposal: lists for 3D Slicer and our table, all of them or none."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lcsd.errors import BadInputError
from lcsd.io.points import write_point_pairs
from lcsd.landmarks.lists import PointList
from lcsd.landmarks.propose import Points, Proposal
from lcsd.landmarks.slicer import write_markups

FIXED, MOVING, TABLE = "fixed.mrk.json", "moving.mrk.json", "proposal.csv"


def check_new(folder: Path) -> None:
    """Raise ``BadInputError`` (``not_empty``) if a folder holds a file of a proposal.

    Somebody may have corrected its lists for hours.
    """
    for name in (FIXED, MOVING, TABLE):
        if (folder / name).exists():
            raise BadInputError(
                "a proposal is there already, perhaps corrected",
                code="not_empty",
                file=folder / name,
                expected="a new folder",
                remedy="name another one, or move the lists away",
            )


@contextlib.contextmanager
def _all_or_none(folder: Path) -> Iterator[None]:
    """Remove what the block has written if it fails: half a proposal would refuse the next."""
    check_new(folder)
    try:
        yield
    except BaseException:
        for name in (FIXED, MOVING, TABLE):
            (folder / name).unlink(missing_ok=True)
        raise


def write_blind(folder: Path, points: Points, names: tuple[str, str]) -> None:
    """Write points (N, 3), LPS mm, and a moving list of their labels without positions.

    Parameters
    ----------
    names
        Of the fixed and the moving list.

    Raises
    ------
    BadInputError
        As :func:`check_new`.
    """
    labels = tuple(str(n + 1) for n in range(len(points)))
    with _all_or_none(folder):
        write_markups(folder / FIXED, [PointList(points, labels, name=names[0])])
        write_markups(folder / MOVING, [PointList(points[:0], (), unset=labels, name=names[1])])


def write_proposal(folder: Path, found: Proposal, names: tuple[str, str]) -> None:
    """Write both lists, the doubt in the notes of the moving one, and the table.

    Parameters
    ----------
    names
        Of the fixed and the moving list.

    Raises
    ------
    BadInputError
        As :func:`check_new`.
    """
    pairs = found.pairs
    notes = tuple(f"doubt {value:.1f} mm" if np.isfinite(value) else "outside the follow-up" for value in found.doubt)
    with _all_or_none(folder):
        write_markups(folder / FIXED, [PointList(pairs.fixed, pairs.ids, name=names[0])])
        write_markups(folder / MOVING, [PointList(pairs.moving, pairs.ids, notes, name=names[1])])
        write_point_pairs(folder / TABLE, pairs)
