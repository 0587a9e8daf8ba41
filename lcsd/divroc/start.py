"""Where the optimisation starts: an affine motion from the clouds' moments, or fitted to their densities."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from lcsd.divroc.cpu_adam import CpuAdam
from lcsd.divroc.cpu_level import CpuPull
from lcsd.divroc.motion import LayeredMotion
from lcsd.divroc.pair import CloudPair
from lcsd.settings.register import RegisterLevel, RegisterSettings

Points = NDArray[np.float64]

SCALE_RANGE = (0.7, 1.4)
"""Limits of the start's scale per axis: breathing changes a lung's height by a third at most,
a missing lobe changes the standard deviation more."""

FIT_SCALE_RANGE = (0.5, 1.6)
"""A fitted start that stretches more than this has lost its way, and the moments are taken: full expiration
shortens a lung to 0.64 at most in twelve real motions made half as large again."""

FIT_POINTS = 6_000
"""Points of each cloud that the affine fit sees: twelve numbers need no more."""

LEAST_FIT_POINTS = 200
"""Smaller clouds start from their moments: their densities are too coarse to be fitted."""

FIT_LEVELS = (
    RegisterLevel(raster_mm=8.0, flow_mm=8.0, sigma_voxels=2.0, iterations=60),
    RegisterLevel(raster_mm=5.0, flow_mm=5.0, sigma_voxels=1.5, iterations=40),
)
"""Rasters of the affine fit. Their Gaussians are wider than those of the free motion: an affine motion cannot
follow the wrong vessel, so it needs reach more than detail."""

FIT_RATE_MM = 1.0
"""First step of the fit, mm at ``LEVER_MM`` from the centre; it falls to a tenth by a cosine."""

LEVER_MM = 50.0
"""Distance at which a unit of the fitted slopes moves a point by 1 mm."""


def moments_start(fixed: Points, moving: Points, kind: str) -> LayeredMotion:
    """Return the motion that matches means and, unless ``"translation"``, standard deviations per axis.

    ``kind`` is ``"fitted"`` or ``"affine"``, ``"translation"``, or ``"none"``: no motion.
    """
    scale = np.ones(3)
    if kind in ("affine", "fitted"):
        spread, wanted = fixed.std(axis=0), moving.std(axis=0)
        usable = (spread > 0) & (wanted > 0)  # a flat cloud says nothing about its thin axis
        scale[usable] = np.clip(wanted[usable] / spread[usable], *SCALE_RANGE)
    centre = fixed.mean(axis=0)
    offset = np.zeros(3) if kind == "none" else moving.mean(axis=0) - centre
    return LayeredMotion(centre, np.diag(scale - 1), offset)


def starting_motion(pair: CloudPair, settings: RegisterSettings) -> LayeredMotion:
    """Return the affine motion that ``settings.start`` asks for."""
    start = moments_start(pair.fixed, pair.moving, settings.start)
    if settings.start != "fitted" or min(len(pair.fixed), len(pair.moving)) < LEAST_FIT_POINTS:
        return start
    # A squared or saturated difference would pull less on what is far off.
    plain = settings.model_copy(update={"method": "divroc", "saturation": 0.0, "norm": "l1"})
    thin, motion = pair.thinned(FIT_POINTS), start
    for level in FIT_LEVELS:
        motion = _fitted(thin, motion, level, plain)
    scales = np.linalg.svd(np.eye(3) + motion.slope, compute_uv=False)
    return motion if FIT_SCALE_RANGE[0] <= scales[-1] and scales[0] <= FIT_SCALE_RANGE[1] else start


def _fitted(pair: CloudPair, motion: LayeredMotion, level: RegisterLevel, settings: RegisterSettings) -> LayeredMotion:
    """Return the motion followed by the affine motion that brings the densities closest."""
    base = pair.fixed + motion.at(pair.fixed, device=pair.device)
    gradient = _gradient_of(pair, base, level, settings)
    centre = base.mean(axis=0)
    levers = np.c_[(base - centre) / LEVER_MM, np.ones(len(base))]
    change = np.zeros((4, 3))  # slopes along x, y, z, and a shift
    optimiser = CpuAdam(change)
    for iteration in range(level.iterations):
        rate = FIT_RATE_MM * (0.1 + 0.45 * (1 + math.cos(math.pi * iteration / level.iterations)))
        # einsum sums in an order that no number of threads changes.
        moved = base + np.einsum("nk,kc->nc", levers, change)
        optimiser.step(np.einsum("nk,nc->kc", levers, gradient(moved)), rate)
    slope, shift = change[:3] / LEVER_MM, change[3]
    turned = motion.slope + slope + motion.slope @ slope
    offset = motion.offset + (motion.centre + motion.offset - centre) @ slope + shift
    return LayeredMotion(motion.centre, turned, offset)


def _gradient_of(
    pair: CloudPair, base: Points, level: RegisterLevel, settings: RegisterSettings
) -> Callable[[Points], Points]:
    """Return the function from moved points (N, 3) to the gradient of their distance, shape (N, 3), per mm."""
    if pair.device == "cpu":
        pull = CpuPull(pair, base, level, settings)
        return lambda moved: pull(moved.astype(np.float32))[1].astype(np.float64)
    from lcsd.divroc.level import pull_of, pulled

    on_device = pull_of(pair, base, level, settings)
    return lambda moved: pulled(on_device, pair, moved)
