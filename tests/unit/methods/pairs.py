"""A small pair of textured volumes that differ by a known smooth motion, on a grid of any orientation."""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from lcsd.geometry import Grid
from lcsd.io.fields import DisplacementField
from lcsd.io.images import Image
from lcsd.methods.pair import Pair
from tests.grids import GRIDS

NEEDS_ANTS = pytest.mark.skipif(find_spec("ants") is None, reason="antspyx is not installed")
"""antspyx has no build for Python 3.13."""

BORDER = 6
"""Voxels around the region that is scored."""


@dataclass(frozen=True)
class Made:
    """A pair and where its fixed points truly lie."""

    pair: Pair
    truth: np.ndarray  # displacements (z, y, x, 3), LPS mm
    inside: np.ndarray  # scored voxels

    def errors(self, field: DisplacementField) -> tuple[float, float]:
        """Return the mean error before and after, mm."""
        off = np.linalg.norm(field.vectors - self.truth, axis=-1)[self.inside]
        return float(np.linalg.norm(self.truth, axis=-1)[self.inside].mean()), float(off.mean())


def make_pair(name: str, size: tuple[int, int, int] = (40, 36, 32), *, masks: bool = True) -> Made:
    """Return texture of 1.5 voxels that moves by up to 2.5 voxels."""
    grid = Grid(size, (3.0, 3.0, 3.0), (-30.0, 12.5, -700.0), GRIDS[name].direction)
    pad = 8
    texture = gaussian_filter(np.random.default_rng(3).normal(size=[n + 2 * pad for n in grid.shape]), 1.5)
    texture = texture / texture.std() * 150 - 600
    places = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in grid.shape), indexing="ij"))
    middle = np.array(grid.shape).reshape(3, 1, 1, 1) / 2
    bump = np.exp(-((places - middle) ** 2).sum(axis=0) / (2 * 8.0**2))
    motion = np.stack([2.0 * bump, -1.5 * bump, 0.3 - 1.8 * bump])  # voxels along z, y, x; no two alike
    moving = texture[pad:-pad, pad:-pad, pad:-pad]
    fixed = map_coordinates(texture, places + motion + pad, order=1)
    inside = np.zeros(grid.shape, bool)
    inside[BORDER:-BORDER, BORDER:-BORDER, BORDER:-BORDER] = True
    lungs = Image(inside, grid) if masks else None
    truth = grid.voxel_vectors_to_world(np.moveaxis(motion[::-1], 0, -1))
    return Made(Pair(Image(fixed, grid), Image(moving, grid), lungs, lungs), truth, inside)
