"""Expected error of a registration at each fixed point, without landmarks.

Nothing here knows the true motion. What can be seen without it (:func:`evidence`) is turned into millimetres by a model
that ``python -m benchmarks.divroc.trust`` fits to registrations of known motion (``trust.json``).
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from lcsd.divroc.checks import places_of
from lcsd.divroc.filters import gaussian_taps, smoothed
from lcsd.divroc.motion import LayeredMotion, clamped, covering_grid, fit_affine
from lcsd.divroc.optimise import optimise
from lcsd.divroc.pair import CloudPair, median_spacing, tenth_neighbours
from lcsd.divroc.places import sampled, splatted
from lcsd.settings.register import UNTRUSTED_MM, RegisterLevel, RegisterSettings

Points = NDArray[np.float64]
Values = NDArray[np.float64]

MODEL = "trust.json"
"""The fitted model, beside this module."""

CAP_MM = 20.0
"""Distances count up to this: beyond, a vessel has no counterpart at all."""

RASTER_MM = 4.0
"""Voxels of local means, a third of the narrowest Gaussian's reach."""

NEAR_MM = 6.0
"""Gaussian of local means around a point: a subtree."""

AROUND_MM = 15.0
"""Gaussian of wider local means: a segment of a lung."""

DENSITY_RASTER_MM = 2.5
DENSITY_SIGMA_MM = 2.5
"""Voxels and Gaussian of the densities that are compared: the width of a vessel of the periphery."""

EXPLAINED_MM = 1.0
"""A vessel is explained if its distance to the other cloud is at most this plus both clouds' spacing."""

EXPLAINED_POINTS = 5
"""Explained points that must be near: a single one may be chance."""

LEAST = 0.02
"""Evidence counts from this on: the model takes its logarithm."""

DENSE_MM, SPARSE_MM = 3.5, 6.0
"""Distances to the tenth neighbour, mean of both clouds, up to which they are all voxels of vessels, and from which
they are centre lines; each form has a model, and between them the models are blended. The nearest neighbour does not
tell them apart: on a lattice of 1.5 mm it is as far as on a centre line."""

BACKWARD_POINTS = 20_000
"""Points of each cloud in the backward run, which only has to find the same vessels again."""

BACKWARD_LEVELS = (
    RegisterLevel(raster_mm=6.0, flow_mm=10.0, sigma_voxels=1.0, iterations=25, contrast=0.0, reach_mm=8.0),
    RegisterLevel(raster_mm=2.5, flow_mm=4.0, sigma_voxels=0.8, iterations=35, reach_mm=5.0),
)
"""Resolutions of the backward run. The model was fitted with them: fit it again after a change."""


class LocalMeans:
    """Gaussian means of values (C, N) at points (N, 3), seen from other points (M, 3), LPS mm."""

    def __init__(self, points: Points, values: Values, seen_from: Points) -> None:
        grid = covering_grid(np.concatenate([points, seen_from]), spacing_mm=RASTER_MM, margin_mm=RASTER_MM)
        weights = np.concatenate([values, np.ones((1, len(points)))]).astype(np.float32)
        self._sums = splatted(grid.world_to_normalised(points).astype(np.float32), weights, grid.shape)
        self._at = clamped(grid, seen_from.astype(np.float32))

    def within(self, sigma_mm: float) -> Values:
        """Return the means weighted by a Gaussian, shape (C, M); ``CAP_MM`` where no point is near."""
        sums = smoothed(self._sums, gaussian_taps(sigma_mm / RASTER_MM))
        *totals, weight = sampled(sums, self._at).astype(np.float64)
        seen = weight > np.finfo(np.float32).eps
        means: Values = np.where(seen, np.stack(totals) / np.where(seen, weight, 1.0), CAP_MM)
        return means


def density_difference(moved: Points, moving: Points) -> Values:
    """Return how much the clouds' densities differ around each moved point: 0 (equal) to 1 (apart), shape (N,)."""
    both = np.concatenate([moved, moving])
    margin = 3 * DENSITY_SIGMA_MM
    grid = covering_grid(both, spacing_mm=DENSITY_RASTER_MM, margin_mm=margin)
    taps = gaussian_taps(DENSITY_SIGMA_MM / DENSITY_RASTER_MM)
    densities = []
    for cloud in (moved, moving):
        places = grid.world_to_normalised(cloud).astype(np.float32)
        density = smoothed(splatted(places, np.ones((1, len(cloud)), np.float32), grid.shape), taps)
        seen = np.sort(sampled(density, places)[0])
        densities.append(np.tanh(0.5 * density / seen[(len(seen) - 1) // 2]))
    compared = np.concatenate([np.abs(densities[0] - densities[1]), densities[0] + densities[1]])
    around = smoothed(compared, gaussian_taps(AROUND_MM / DENSITY_RASTER_MM))
    apart, total = sampled(around, clamped(grid, moved.astype(np.float32))).astype(np.float64)
    return apart / np.maximum(total, np.finfo(np.float32).tiny)


def disagreement(fixed: Points, moved: Points) -> Values:
    """Return the local spread of the motion around each fixed point, without what is affine, mm, shape (N,)."""
    vectors = moved - fixed
    beyond = (vectors - fit_affine(fixed, vectors).at(fixed)).T
    mean = LocalMeans(fixed, np.concatenate([beyond, beyond**2]), fixed).within(AROUND_MM)
    return np.sqrt(np.maximum(mean[3:].sum(axis=0) - (mean[:3] ** 2).sum(axis=0), 0.0))


def evidence(fixed: Points, moving: Points, moved: Points, returned: Points | None = None) -> dict[str, Values]:
    """Return what can be seen of a registration's error at each fixed point, by name, shape (N,) each.

    ``fixed`` and ``moved`` have shape (N, 3), ``moving`` (M, 3), LPS mm; ``returned`` are the moved points after a
    registration backward, (N, 3). Larger is worse, everywhere:

    - ``return_mm``: distance of each point from where it returns to; ``return_near_mm``, ``return_around_mm``: its
      local means. Left out without ``returned``.
    - ``gap_near_mm``, ``gap_around_mm``: distance of moved points to the moving cloud, local means.
    - ``missed_near_mm``, ``missed_around_mm``: distance of moving points to the moved cloud, local means.
    - ``difference``: of the densities around, 0 to 1.
    - ``unexplained_mm``: distance to the nearest vessels that have a counterpart.
    - ``disagreement_mm``: local spread of the motion.
    - ``apart_mm``: distance to the tenth neighbour, mean of both clouds.
    """
    trees = cKDTree(moved), cKDTree(moving)
    spacing = median_spacing(cKDTree(fixed)) + median_spacing(trees[1])
    gap, missed = (np.minimum(trees[1 - at].query(trees[at].data)[0], CAP_MM) for at in (0, 1))
    found = {
        **_means("gap", gap, moved, moved),
        **_means("missed", missed, moving, moved),
        "difference": density_difference(moved, moving),
        "disagreement_mm": disagreement(fixed, moved),
        "apart_mm": np.full(len(fixed), tenth_neighbours(fixed, moving)),
    }
    limit = spacing + EXPLAINED_MM
    explained = (gap < limit) & (found["gap_near_mm"] < limit) & (found["missed_near_mm"] < limit)
    found["unexplained_mm"] = _distance_to_some(moved[explained], moved)
    if returned is not None:
        off = np.minimum(np.linalg.norm(returned - fixed, axis=1), CAP_MM)
        found |= {"return_mm": off, **_means("return", off, moved, moved)}
    return found


def _means(name: str, values: Values, points: Points, seen_from: Points) -> dict[str, Values]:
    """Return the local means of values (N,) at points, seen from others, by name."""
    means = LocalMeans(points, values[None], seen_from)
    return {f"{name}_near_mm": means.within(NEAR_MM)[0], f"{name}_around_mm": means.within(AROUND_MM)[0]}


def _distance_to_some(explained: Points, points: Points) -> Values:
    """Return the distance of each point to the ``EXPLAINED_POINTS``-th explained one, ``CAP_MM`` at most."""
    if len(explained) < EXPLAINED_POINTS:
        return np.full(len(points), CAP_MM)
    distance = cKDTree(explained).query(points, k=[EXPLAINED_POINTS])[0][:, 0]
    capped: Values = np.minimum(distance, CAP_MM)
    return capped


class TrustModel:
    """Turns evidence into errors, mm: monotone in each piece of evidence, and additive in the logarithm.

    ``content`` has ``base``; ``terms``: for each name of evidence the logarithms ``at`` and what each ``adds``,
    interpolated linearly; and ``errors``: for each sum of ``at`` the ``quantiles`` of the errors' logarithm beyond it.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self._base = float(content["base"])
        self._terms = {name: (np.array(term["at"]), np.array(term["adds"])) for name, term in content["terms"].items()}
        self._at = np.array(content["errors"]["at"])
        self._quantiles = np.array(content["errors"]["quantiles"]).T

    def total(self, found: Mapping[str, Values]) -> Values:
        """Return the sum of all terms for each point, shape (N,)."""
        parts = [np.interp(np.log(np.maximum(found[name], LEAST)), *term) for name, term in self._terms.items()]
        total: Values = self._base + np.sum(parts, axis=0)
        return total

    def possible(self, found: Mapping[str, Values]) -> Values:
        """Return equally likely errors of each point, ascending, shape (N, Q), mm."""
        total = self.total(found)
        beyond = np.stack([np.interp(total, self._at, quantile) for quantile in self._quantiles], axis=1)
        errors: Values = np.exp(total[:, None] + beyond)
        return errors


@dataclass(frozen=True)
class BlendedModel:
    """A model for dense clouds and one for sparse clouds."""

    dense: TrustModel
    sparse: TrustModel

    def possible(self, found: Mapping[str, Values]) -> Values:
        """Return equally likely errors of each point, ascending, shape (N, Q), mm."""
        share = np.clip((found["apart_mm"] - DENSE_MM) / (SPARSE_MM - DENSE_MM), 0, 1)[:, None]
        errors: Values = self.dense.possible(found) ** (1 - share) * self.sparse.possible(found) ** share
        return errors


def blended(content: Mapping[str, Any]) -> BlendedModel:
    """Return the two models of a content with the keys ``dense`` and ``sparse``."""
    return BlendedModel(TrustModel(content["dense"]), TrustModel(content["sparse"]))


@functools.cache
def trust_model(effort: str, check: str) -> BlendedModel:
    """Return the model fitted to registrations of an effort, with a backward run (``check`` ``"backward"``) or not."""
    text = resources.files("lcsd.divroc").joinpath(MODEL).read_text(encoding="utf-8")
    return blended(json.loads(text)["models"][effort][check])


@dataclass(frozen=True)
class Trust:
    """How far a registration is expected to be off."""

    expected_mm: NDArray[np.float32]  # mean error that is expected at each fixed point, shape (N,)
    median_mm: float  # half of the points are expected to be off by less
    p95_mm: float  # 95 % of the points are expected to be off by less

    @property
    def untrusted_share(self) -> float:
        """Share of the points whose expected error is above ``UNTRUSTED_MM``, of 1."""
        return float((self.expected_mm > UNTRUSTED_MM).mean())


def judged(possible: Values) -> Trust:
    """Return the expected errors of points from their equally likely errors, shape (N, Q), mm."""
    median, p95 = np.quantile(possible, (0.5, 0.95))
    return Trust(possible.mean(axis=1).astype(np.float32), float(median), float(p95))


def backward_motion(pair: CloudPair, settings: RegisterSettings) -> LayeredMotion:
    """Return a quick registration of the moving cloud to the fixed one."""
    labels = None if pair.labels is None else pair.labels[::-1]
    back = CloudPair(pair.moving, pair.fixed, labels, pair.device).thinned(BACKWARD_POINTS)
    quick = {"effort": "fast", "levels": BACKWARD_LEVELS, "halfway_mm": None, "symmetric": False}
    return optimise(back, settings.model_copy(update=quick))[0]


def expected_error(
    fixed: Points, moving: Points, moved: Points, *, back: LayeredMotion | None, device: str, settings: RegisterSettings
) -> Trust | None:
    """Return how far a registration is expected to be off; None if ``settings`` ask for nothing or another method.

    ``fixed`` and ``moved`` have shape (N, 3), ``moving`` (M, 3), LPS mm; ``back`` is the :func:`backward_motion`, which
    ``settings`` may leave out. Points at one place count once.
    """
    check = settings.check()
    if check is None:
        return None
    rows, at = places_of(fixed)
    moved = moved[rows]
    returned = None if back is None else moved + back.at(moved, device=device)
    found = evidence(fixed[rows], moving[places_of(moving)[0]], moved, returned)
    trust = judged(trust_model(settings.effort, check).possible(found))
    return replace(trust, expected_mm=trust.expected_mm[at])
