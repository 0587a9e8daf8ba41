"""Small builds that hold nothing but evaluations."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lcsd.evaluation.evaluate import LANDMARK_COLUMNS, evaluate_tre
from lcsd.geometry import Grid, RigidTransform
from lcsd.io.fields import DisplacementField
from lcsd.io.files import write_json, write_table
from lcsd.io.points import PointPairs

GRID = Grid((12, 11, 10), (4.0, 4.0, 4.0), (-20.0, -60.0, -30.0))
TRUE = np.array([4.0, 0.0, 3.0])

Score = Callable[..., Path]


def landmarks(seed: int, count: int) -> PointPairs:
    rng = np.random.default_rng(seed)
    fixed = GRID.voxel_to_world(rng.uniform(1, 9, size=(count, 3)))
    noise = rng.normal(0, 0.5, size=(count, 3))
    return PointPairs(fixed, fixed + TRUE + noise)


@pytest.fixture
def score(tmp_path: Path) -> Score:
    """A function that scores a shift on a case of a build and returns the build's folder."""

    def write(
        build: str,
        case: str,
        method: str,
        shift: float,
        *,
        seed: int | None = None,
        count: int = 30,
        moved: PointPairs | None = None,
        rigid: RigidTransform | None = None,
        **figures: object,
    ) -> Path:
        pairs = moved or landmarks(ord(case[0]) if seed is None else seed, count)
        vectors = np.full((*GRID.shape, 3), TRUE + np.array([0.0, shift, 0.0]), dtype=np.float32)
        field = DisplacementField(vectors, GRID)
        result = evaluate_tre(pairs, field=field, rigid=rigid, method=method)
        folder = tmp_path / build / "cases" / case / "evaluation"
        write_json(folder / f"{method}.json", result.figures() | figures)
        write_table(folder / f"{method}_landmarks.csv", LANDMARK_COLUMNS, result.rows())
        return tmp_path / build

    return write
