"""A proposal's files are all there or none, and never written over."""

from pathlib import Path

import numpy as np
import pytest

from lcsd.errors import BadInputError, WorkError
from lcsd.io.points import PointPairs
from lcsd.landmarks import proposal_files
from lcsd.landmarks.propose import Proposal

POINTS = np.array([[1.0, 2, 3], [4, 5, 6]])
FOUND = Proposal(PointPairs(POINTS, POINTS + 1, ids=("1", "2")), np.array([0.5, np.inf]))
NAMES = ("fixed a", "moving b")


def test_a_failure_leaves_no_half_of_a_proposal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise WorkError("disk full", code="cannot_write")

    with monkeypatch.context() as patched:
        patched.setattr(proposal_files, "write_point_pairs", full)
        with pytest.raises(WorkError):
            proposal_files.write_proposal(tmp_path, FOUND, NAMES)
    assert list(tmp_path.iterdir()) == []
    proposal_files.write_proposal(tmp_path, FOUND, NAMES)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("name", ["fixed.mrk.json", "moving.mrk.json", "proposal.csv"])
def test_any_file_of_a_proposal_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("hours of work")
    for write in (
        lambda: proposal_files.write_proposal(tmp_path, FOUND, NAMES),
        lambda: proposal_files.write_blind(tmp_path, POINTS, NAMES),
    ):
        with pytest.raises(BadInputError, match="not_empty"):
            write()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "hours of work"
