"""Settings of the point-cloud registration (DiVRoC) and of its extrapolator."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings


class RegisterLevel(Settings):
    """One resolution of the optimisation."""

    raster_mm: float = Field(gt=0, description="voxel of the rasterised clouds, mm")
    flow_mm: float = Field(gt=0, description="spacing of the displacement grid, mm")
    sigma_voxels: float = Field(gt=0, description="Gaussian over the rasters, voxels")
    iterations: int = Field(ge=1, le=10_000, description="Adam steps, count")


class RegisterSettings(Settings):
    """Point-cloud registration: DiVRoC distance, smooth displacement grid, Adam."""

    start: Literal["affine", "translation", "none"] = Field(
        "affine",
        description="start that matches the clouds' means and standard deviations per axis "
        "(affine), their means (translation), or none",
    )
    levels: tuple[RegisterLevel, ...] = Field(
        (
            RegisterLevel(raster_mm=6.0, flow_mm=10.0, sigma_voxels=1.0, iterations=30),
            RegisterLevel(raster_mm=4.0, flow_mm=7.0, sigma_voxels=1.0, iterations=30),
            RegisterLevel(raster_mm=2.5, flow_mm=6.0, sigma_voxels=0.8, iterations=30),
            RegisterLevel(raster_mm=2.0, flow_mm=5.0, sigma_voxels=0.8, iterations=40),
        ),
        description="resolutions from coarse to fine (raster_mm, flow_mm, sigma_voxels, "
        "iterations)",
    )
    passes: Literal[1, 2] = Field(
        2, description="runs of Adam, count; the second starts from the result of the first"
    )
    second_levels: tuple[RegisterLevel, ...] = Field(
        (RegisterLevel(raster_mm=2.0, flow_mm=7.0, sigma_voxels=0.8, iterations=40),),
        description="resolutions of the second run, as levels",
    )
    learning_rate_mm: float = Field(0.3, gt=0, description="first Adam step, mm")
    final_rate_share: float = Field(
        0.1, gt=0, le=1, description="last Adam step over the first, cosine between, of 1"
    )
    saturation: float = Field(
        2.0, gt=0, description="slope of the saturation per typical density of a cloud, no unit"
    )
    norm: Literal["l1", "l2"] = Field(
        "l1", description="difference of the rasters: absolute (l1) or squared (l2)"
    )
    flow_mean_width: int = Field(
        7, ge=1, description="odd width of the running mean over the displacement grid, voxels"
    )
    flow_mean_times: int = Field(2, ge=1, description="how often that mean is applied, count")
    smoothness: float = Field(
        0.5, ge=0,
        description="weight of the mean squared gradient of the motion against the distance, "
        "no unit",
    )  # fmt: skip

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
        """Return the levels of all passes in the order of the work."""
        return [*self.levels, *(self.second_levels if self.passes == 2 else ())]


class ExtrapolateSettings(Settings):
    """Dense motion from sparse motion vectors: normalised splats from fine to coarse."""

    finest_sigma_mm: float = Field(
        3.0, gt=0, description="standard deviation of the finest Gaussian, mm"
    )
    scales: int = Field(
        7, ge=1, le=12, description="Gaussians, each twice as wide as the one before, count"
    )
    trust: float = Field(
        0.5, gt=0,
        description="points within a Gaussian at which its mean outweighs the coarser one, count",
    )  # fmt: skip
    rounds: int = Field(
        4, ge=1, le=100, description="times the residual at the points is added again, count"
    )
