"""One resolution: how smooth the motion of a pair has to be, and how fine."""

import numpy as np
import pytest
from numpy.typing import NDArray

from lcsd.divroc.pair import CloudPair, schedule_of, smoothness_of
from lcsd.settings.register import RegisterSettings

Points = NDArray[np.float64]


def lattice(spacing: float) -> Points:
    edge = np.arange(12.0)
    return spacing * np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(-1, 3)


def smoothness(fixed: Points, moving: Points) -> float:
    return smoothness_of(CloudPair(fixed, moving, None, "cpu"), RegisterSettings(smoothness_mm2=10.0))


# In a lattice the nearest 6 neighbours are one spacing away, and most of the next 12 by the square root of 2.
@pytest.mark.parametrize(
    ("spacings", "factor"),
    [((1.5, 1.5), 1.0), ((3.0, 3.0), 18 / 2.6**2), ((3.0, 5.0), 32 / 2.6**2), ((20.0, 20.0), 20.0)],
)
def test_sparse_clouds_are_moved_more_smoothly(spacings: tuple[float, float], factor: float) -> None:
    assert smoothness(*(lattice(spacing) for spacing in spacings)) == pytest.approx(10.0 * factor)


def test_a_line_is_sparser_than_a_lattice_of_its_spacing() -> None:
    line = np.arange(200.0)[:, None] * [1.5, 0.0, 0.0]
    assert smoothness(lattice(1.5), lattice(1.5)) == 10.0
    assert smoothness(line, line) == pytest.approx(10.0 * (5 * 1.5 / 2.6) ** 2)


def test_a_cloud_of_fewer_points_than_neighbours_has_a_smoothness() -> None:
    assert smoothness(np.eye(3), np.eye(3) + 1.0) == 10.0


# The tenth neighbour in a lattice is one of the 12 at the square root of 2 spacings.
@pytest.mark.parametrize(
    ("spacings", "factor"),
    [((1.5, 1.5), 1.0), ((4.5, 4.5), 1.0), ((4.5, 6.0), 2**0.5 * 5.25 / 6.5), ((8.4, 8.4), 1.25)],
)
@pytest.mark.parametrize("effort", ["accurate", "fast"])
def test_sparse_clouds_have_coarser_levels(spacings: tuple[float, float], factor: float, effort: str) -> None:
    fixed, moving = (lattice(spacing) for spacing in spacings)
    settings = RegisterSettings(effort=effort)

    found = schedule_of(CloudPair(fixed, moving, None, "cpu"), settings)

    for level, named in zip(found, settings.schedule(), strict=True):
        assert (level.raster_mm, level.flow_mm) == pytest.approx((factor * named.raster_mm, factor * named.flow_mm))
        rest = {"raster_mm", "flow_mm", "iterations"}
        assert level.model_dump(exclude=rest) == named.model_dump(exclude=rest)
    assert sum(level.iterations for level in found) == sum(level.iterations for level in settings.schedule())


@pytest.mark.parametrize(("spacing", "steps"), [(8.4, [30, 30, 30, 40]), (8.6, [80, 80, 30, 40])])
def test_very_sparse_clouds_have_more_steps_on_coarse_levels(spacing: float, steps: list[int]) -> None:
    pair = CloudPair(lattice(spacing), lattice(spacing), None, "cpu")
    assert [level.iterations for level in schedule_of(pair, RegisterSettings(effort="fast"))] == steps
