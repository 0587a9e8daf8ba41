"""Vessels of a real lung that move as a real lung did: a small part of ``benchmarks.divroc.real_motion``."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.divroc.anatomies import Anatomy, real_anatomy
from benchmarks.divroc.real_motion import OFF_MM, made_case, plausible_motion
from lcsd.divroc.register import register_clouds

MOTION = "113"
"""One of the motions that took no part in the choice of defaults."""

pytestmark = [pytest.mark.real_data, pytest.mark.slow, pytest.mark.xdist_group("real_motion")]


@pytest.fixture(scope="module")
def vessels(real_data: Path) -> Anatomy:
    folder = real_data / "right_lung"
    return real_anatomy(folder / "moving.nii.gz", folder / "moving_mask.nii.gz")


@pytest.mark.parametrize(("kind", "most_mm", "most_off"), [("voxels", 1.0, 0.01), ("lines", 1.5, 0.06)])
def test_error_at_known_motion(
    real_data: Path,
    vessels: Anatomy,
    kind: str,
    most_mm: float,
    most_off: float,
    record_property: Callable[[str, object], None],
) -> None:
    move, _, determinant = plausible_motion(real_data, MOTION, vessels.lines, 1.0)
    assert determinant > 0.1
    fixed, moving, targets = made_case(vessels, move, kind, "missing 10 %", seed=1)
    assert np.linalg.norm(fixed - targets, axis=1).mean() > 8
    found = register_clouds(fixed, moving)
    off = np.linalg.norm(found.moved_points - targets, axis=1)
    record_property(f"{kind}_mean_mm", round(float(off.mean()), 2))
    assert off.mean() < most_mm
    assert (off > OFF_MM).mean() < most_off
    assert found.folding_percent < 0.01
    assert found.trust is not None
    assert np.corrcoef(np.log(found.trust.expected_mm), np.log(off + 0.1))[0, 1] > 0.2
