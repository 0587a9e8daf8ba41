"""Settings of the point-cloud registration (DiVRoC), its baselines and its extrapolator."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings


class RegisterLevel(Settings):
    """One resolution of the optimisation."""

    raster_mm: float = Field(gt=0, description="voxel of the rasterised clouds, mm")
    flow_mm: float = Field(gt=0, description="spacing of the displacement grid, mm")
    sigma_voxels: float = Field(gt=0, description="Gaussian over the rasters, voxels")
    iterations: int = Field(ge=1, le=10_000, description="Adam steps, count")


def _levels(*rows: tuple[float, float, float, int]) -> tuple[RegisterLevel, ...]:
    return tuple(
        RegisterLevel(raster_mm=raster, flow_mm=flow, sigma_voxels=sigma, iterations=steps)
        for raster, flow, sigma, steps in rows
    )


class CpdSettings(Settings):
    """Coherent point drift (Myronenko and Song, 2010), by the package pycpd."""

    points: int = Field(
        2000,
        ge=10,
        le=20_000,
        description="points of each cloud that take part; memory and time grow with their square, count",
    )
    beta_mm: float = Field(60.0, gt=0, description="width of the Gaussian that couples motion, mm")
    stiffness: float = Field(1000.0, gt=0, description="weight of coherent motion (lambda), no unit")
    outliers: float = Field(0.1, ge=0, lt=1, description="assumed share of points without partner, of 1")
    iterations: int = Field(100, ge=1, description="rounds of expectation maximisation, count")


class RegisterSettings(Settings):
    """Point-cloud registration: DiVRoC distance, smooth displacement grid, Adam."""

    method: Literal["divroc", "chamfer", "cpd"] = Field(
        "divroc",
        description="what pulls the clouds together: rasterised densities (divroc), nearest "
        "neighbours (chamfer, same motion and optimiser), coherent point drift (cpd, extra)",
    )
    effort: Literal["accurate", "fast"] = Field(
        "accurate", description="which levels run: levels and second_levels, or fast_levels"
    )
    start: Literal["affine", "translation", "none"] = Field(
        "affine",
        description="start that matches the clouds' means and standard deviations per axis "
        "(affine), their means (translation), or none",
    )
    levels: tuple[RegisterLevel, ...] = Field(
        _levels((6.0, 10.0, 1.0, 30), (4.0, 7.0, 1.0, 30), (2.5, 6.0, 0.8, 30), (2.0, 5.0, 0.8, 40)),
        description="resolutions from coarse to fine (raster_mm, flow_mm, sigma_voxels, iterations)",
    )
    passes: Literal[1, 2] = Field(2, description="runs of Adam, count; the second starts from the result of the first")
    second_levels: tuple[RegisterLevel, ...] = Field(
        _levels((1.2, 4.0, 0.8, 40)), description="resolutions of the second run, as levels"
    )
    fast_levels: tuple[RegisterLevel, ...] = Field(
        _levels((6.0, 10.0, 1.0, 25), (2.5, 4.0, 0.8, 35)), description="resolutions where effort is fast, as levels"
    )
    learning_rate_mm: float = Field(0.3, gt=0, description="first Adam step, mm")
    final_rate_share: float = Field(0.1, gt=0, le=1, description="last Adam step over the first, cosine between, of 1")
    stop_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="a level ends early when its objective fell by less than this share of itself "
        "over the last 10 steps; 0 runs all steps, of 1",
    )
    max_points: int = Field(
        300_000,
        ge=100,
        description="larger clouds are thinned to a random subset of this size for the "
        "optimisation; the motion is given at all points, count",
    )
    saturation: float = Field(
        0.5,
        ge=0,
        description="slope of the saturation per typical density of a cloud; 0 compares the "
        "densities themselves, no unit",
    )
    norm: Literal["l1", "l2"] = Field("l1", description="difference of the rasters: absolute (l1) or squared (l2)")
    balance: float = Field(
        0.3,
        ge=0,
        le=1,
        description="share of the local point density that is divided out, so that the hilum does "
        "not outweigh the periphery, of 1",
    )
    use_labels: bool = Field(True, description="compare each structure with its own kind where both clouds have labels")
    symmetric: bool = Field(
        False, description="move both clouds to the middle by one velocity field, whose inverse is known"
    )
    flow_mean_width: int = Field(
        7, ge=1, description="odd width of the running mean over the displacement grid, voxels"
    )
    flow_mean_times: int = Field(2, ge=1, description="how often that mean is applied, count")
    smoothness_mm2: float = Field(
        40.0, ge=0, description="weight of the motion's mean squared second derivatives against the distance, square mm"
    )
    extrapolator: Literal["own", "divroc", "knn", "tps"] = Field(
        "own",
        description="dense field from the motion of the points: the method's own model (own), "
        "normalised splats (divroc), mean of near points (knn), thin-plate spline (tps)",
    )
    cpd: CpdSettings = Field(CpdSettings(), description="where method is cpd")

    @field_validator("levels", "second_levels", "fast_levels")
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
        """Return the levels of all passes in the order of the work."""
        if self.effort == "fast":
            return [*self.fast_levels]
        return [*self.levels, *(self.second_levels if self.passes == 2 else ())]

    def most_steps(self) -> int:
        """Return the most steps that the method takes: the length of a progress bar."""
        if self.method == "cpd":
            return self.cpd.iterations
        return sum(level.iterations for level in self.schedule())


class ExtrapolateSettings(Settings):
    """Dense motion from sparse motion vectors: the smoothest grid that passes near them."""

    finest_mm: float = Field(4.0, gt=0, description="spacing of the finest grid, mm")
    levels: int = Field(5, ge=1, le=8, description="grids, each twice as coarse as the next, count")
    stiffness_mm: float = Field(
        0.1,
        gt=0,
        description="weight of the squared second derivatives over the volume against the squared "
        "residuals of the points, mm",
    )
    rounds: int = Field(3, ge=1, le=100, description="times the residual at the points is solved for again, count")
    steps: int = Field(20, ge=1, le=10_000, description="conjugate gradient steps of each solution at most, count")
