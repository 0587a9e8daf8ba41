"""docs/evaluation.md defines every column and key, and no other."""

import re
from pathlib import Path

import numpy as np

from lcsd.evaluation.accuracy import COMPARISON_COLUMNS, SUMMARY_COLUMNS, TRE_COLUMNS
from lcsd.evaluation.compare import CASE_COLUMNS, ROW_COLUMNS
from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
from lcsd.io.points import PointPairs

PAGE = Path(__file__).resolve().parents[3] / "docs" / "evaluation.md"


def test_every_figure_is_defined() -> None:
    part = PAGE.read_text(encoding="utf-8").split("| column or key |")[1]
    defined = [name for line in part.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    pairs = PointPairs(np.eye(4, 3), np.eye(4, 3))
    keys = evaluate_tre(pairs, correspondences=pairs).figures()
    columns = (TRE_COLUMNS, SUMMARY_COLUMNS, COMPARISON_COLUMNS, ROW_COLUMNS, CASE_COLUMNS, LANDMARK_COLUMNS, keys)
    assert sorted(defined) == sorted({name for part in columns for name in part})
