"""Settings of the point-cloud registration (DiVRoC), its baselines and its extrapolator."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings
from lcsd.settings.gates import Limits
from lcsd.settings.train import NETWORKS

UNTRUSTED_MM = 5.0
"""A point with a larger expected error is untrusted: it may well be on another vessel."""


class RegisterLevel(Settings):
    """One resolution of the optimisation."""

    raster_mm: float = Field(gt=0, description="voxel size of the rasterised clouds, mm")
    flow_mm: float = Field(gt=0, description="spacing of the displacement grid, mm")
    sigma_voxels: float = Field(gt=0, description="Gaussian over the rasters, voxels")
    iterations: int = Field(ge=1, le=10_000, description="Adam steps, count")
    sparse_iterations: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Adam steps for clouds whose tenth neighbours are further away than 12 mm, as keypoints' are: "
        "their stiffer motion takes longer; null: iterations, count",
    )
    contrast: float = Field(1.0, ge=0, description="saturation of this level, as a multiple, no unit")
    reach_mm: float | None = Field(
        None,
        gt=0,
        description="points that are further from the other cloud than this plus both clouds' spacing "
        "do not pull, so that a missing branch does not draw its neighbours; null lets all pull, mm",
    )
    points: int | None = Field(
        None, ge=100, description="larger clouds are thinned to this many points at this level; null keeps all, count"
    )


def _level(
    raster: float,
    flow: float,
    sigma: float,
    steps: int,
    *,
    contrast: float = 1.0,
    reach: float,
    points: int | None = None,
    sparse_steps: int | None = None,
) -> RegisterLevel:
    return RegisterLevel(
        raster_mm=raster,
        flow_mm=flow,
        sigma_voxels=sigma,
        iterations=steps,
        sparse_iterations=sparse_steps,
        contrast=contrast,
        reach_mm=reach,
        points=points,
    )


class CpdSettings(Settings):
    """Coherent point drift (Myronenko and Song, 2010), by the package pycpd."""

    points: int = Field(
        2000,
        ge=10,
        le=20_000,
        description="points of each cloud that are used; memory and time grow with their square, count",
    )
    beta_mm: float = Field(60.0, gt=0, description="width of the Gaussian that couples the motion of points, mm")
    stiffness: float = Field(1000.0, gt=0, description="weight of coherent motion (lambda), no unit")
    outliers: float = Field(0.1, ge=0, lt=1, description="assumed share of points without a partner, of 1")
    iterations: int = Field(100, ge=1, description="rounds of expectation maximisation, count")


class TransportSettings(Settings):
    """Optimal transport (Feydy et al., AISTATS 2019), by the package geomloss."""

    points: int = Field(
        2000,
        ge=10,
        le=20_000,
        description="points of each cloud that are used; time and memory grow with their square, count",
    )
    blur_mm: float = Field(2.0, gt=0, description="width of the entropic blur of the plan, mm")
    reach_mm: float | None = Field(
        30.0,
        gt=0,
        description="mass that would have to travel farther is left out instead, so that a missing branch "
        "pulls nothing; null moves all of it, mm",
    )


class RegisterSettings(Settings):
    """Point-cloud registration: DiVRoC distance, smooth displacement grid, Adam."""

    method: Literal["divroc", "chamfer", "ot", "cpd", "unet", "dgcnn", "pointpwc"] = Field(
        "divroc",
        description="distance between the clouds: rasterised densities (divroc), nearest neighbours (chamfer) or "
        "optimal transport (ot; needs an extra), both with the same motion model and optimiser; coherent point "
        "drift (cpd; needs an extra); or a network whose guess divroc starts from (unet, dgcnn, pointpwc)",
    )
    effort: Literal["accurate", "fast", "none"] = Field(
        "accurate",
        description="which levels run: levels, and second_levels from their result (accurate), levels alone (fast), or "
        "none: the start, or the guess of the network, is the result",
    )
    start: Literal["fitted", "affine", "translation", "none"] = Field(
        "fitted",
        description="start that matches the densities of the clouds by an affine motion (fitted), their means and "
        "standard deviations along each axis (affine), only their means (translation), or nothing (none)",
    )
    levels: tuple[RegisterLevel, ...] = Field(
        (
            _level(6.0, 10.0, 1.0, 30, contrast=0.0, reach=8.0, points=20_000, sparse_steps=80),
            _level(4.0, 7.0, 1.0, 30, contrast=0.4, reach=6.0, points=20_000, sparse_steps=80),
            _level(2.5, 6.0, 0.8, 30, reach=5.0, points=50_000),
            _level(2.0, 5.0, 0.8, 40, reach=4.0),
        ),
        description="resolutions from coarse to fine (raster_mm, flow_mm, sigma_voxels, iterations and, "
        "if not the defaults, sparse_iterations, contrast, reach_mm, points); rasters and grids are up to 1.25 times "
        "as coarse for clouds whose tenth neighbours are further away than 6.5 mm",
    )
    second_levels: tuple[RegisterLevel, ...] = Field(
        (_level(1.2, 4.0, 0.8, 40, reach=4.0),), description="resolutions of the second run, like levels"
    )
    learning_rate_mm: float = Field(0.3, gt=0, description="first Adam step, mm")
    final_rate_share: float = Field(
        0.1, gt=0, le=1, description="last Adam step relative to the first, of 1; a cosine lies between them"
    )
    stop_share: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="a level ends early if its objective changed by less than this share during the last 10 steps, "
        "of 1; 0 runs all steps",
    )
    max_points: int = Field(
        300_000,
        ge=100,
        description="larger clouds are reduced to a random subset of this size for the optimisation, count; the motion "
        "is computed for all points",
    )
    saturation: float = Field(
        0.5,
        ge=0,
        description="slope of the saturation per typical density of a cloud, no unit; 0 compares the densities "
        "themselves",
    )
    norm: Literal["l1", "l2"] = Field("l1", description="difference of the rasters: absolute (l1) or squared (l2)")
    balance: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the local point density that is divided out, of 1, so that the hilum does not dominate "
        "the periphery",
    )
    use_labels: bool = Field(
        True, description="compare each structure only with its own kind if both clouds have labels"
    )
    symmetric: bool = Field(
        False, description="move both clouds to the middle by one velocity field, whose inverse is known"
    )
    halfway_mm: float | None = Field(
        6.5,
        ge=0,
        description="clouds whose tenth neighbours are at least this far away are compared halfway: each level moves "
        "either cloud by half of what it adds; null: only the fixed cloud moves, mm",
    )
    flow_mean_width: int = Field(
        7, ge=1, description="odd width of the running mean over the displacement grid, voxels"
    )
    flow_mean_times: int = Field(2, ge=1, description="how often this mean is applied, count")
    smoothness_mm2: float = Field(
        40.0,
        ge=0,
        description="weight of the motion's mean squared second derivatives relative to the distance, square mm; "
        "clouds whose tenth neighbours are further away than 2.6 mm get more, by the square of that distance, up to 20 "
        "times",
    )
    extrapolator: Literal["own", "divroc", "knn", "tps"] = Field(
        "own",
        description="how the motion of the points becomes a dense field: by the method's own model (own), normalised "
        "splats (divroc), mean of near points (knn), or thin-plate spline (tps)",
    )
    trust: Literal["auto", "backward", "forward", "none"] = Field(
        "auto",
        description="what the expected error of each point is estimated from: the registration and a fast one of the "
        "moving cloud to the fixed one (backward), the registration alone (forward; less certain), or nothing (none); "
        "auto is backward, and forward if effort is fast",
    )
    untrusted_share: Limits = Field(
        Limits(warn_above=0.05),
        description=f"share of the fixed points whose expected error is above {UNTRUSTED_MM:g} mm, of 1; {{}} is off",
    )
    ot: TransportSettings = Field(TransportSettings(), description="used if method is ot")
    cpd: CpdSettings = Field(CpdSettings(), description="used if method is cpd")

    @field_validator("levels", "second_levels")
    @classmethod
    def _some_levels(cls, levels: tuple[RegisterLevel, ...]) -> tuple[RegisterLevel, ...]:
        if not levels:
            raise ValueError("no level; give at least one resolution")
        return levels

    @field_validator("flow_mean_width")
    @classmethod
    def _odd(cls, width: int) -> int:
        if width % 2 == 0:
            raise ValueError(f"flow_mean_width ({width}) is even; a mean needs a middle voxel")
        return width

    def schedule(self) -> list[RegisterLevel]:
        """Return the levels of all runs of Adam in the order of the work."""
        if self.effort == "none":
            return []
        return [*self.levels, *(self.second_levels if self.effort == "accurate" else ())]

    def check(self) -> Literal["backward", "forward"] | None:
        """Return what expected errors are estimated from; None: nothing, or the method was not calibrated."""
        if self.trust == "none" or self.effort == "none" or self.method not in ("divroc", *NETWORKS):
            return None
        if self.trust == "auto":
            return "forward" if self.effort == "fast" else "backward"
        return self.trust

    def learnt(self) -> bool:
        """Return whether the method needs a network."""
        return self.method in NETWORKS


class ExtrapolateSettings(Settings):
    """Dense motion from sparse motion vectors: the smoothest grid that passes near them."""

    finest_mm: float = Field(4.0, gt=0, description="spacing of the finest grid, mm")
    levels: int = Field(5, ge=1, le=8, description="grids, each twice as coarse as the next, count")
    stiffness_mm: float = Field(
        0.1,
        gt=0,
        description="weight of the squared second derivatives over the volume relative to the squared residuals of the "
        "points, mm",
    )
    rounds: int = Field(3, ge=1, le=100, description="further solutions for the residual at the points, count")
    steps: int = Field(
        20, ge=1, le=10_000, description="largest number of conjugate gradient steps of each solution, count"
    )
