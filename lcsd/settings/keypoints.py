"""Settings of the sparse cloud (kNN density and non-maximum suppression)."""

from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class KeypointsSettings(Settings):
    """Sparse cloud by kNN density estimation and non-maximum suppression."""

    k: int = Field(29, ge=1, description="neighbours of the density, including the point itself, count")
    j: int = Field(
        15,
        ge=1,
        description="neighbours among which a keypoint has the largest density, including the point itself, count",
    )
    sigma_start: float = Field(0.7, gt=0, description="first density weight, 1/voxel")
    sigma_step: float = Field(0.1, gt=0, description="increment of the density weight, 1/voxel")
    sigma_limit: float = Field(5.0, gt=0, description="last density weight tried, 1/voxel")
    min_points: int = Field(9000, ge=1, description="smallest number of points to keep, count")
    tie_tolerance: float = Field(
        1e-9, ge=0, lt=1e-3, description="relative difference below which two densities are equal, no unit"
    )
    on_shortage: Literal["error", "all"] = Field(
        "all",
        description="if min_points cannot be reached: stop with an error (error), or keep all points and record a "
        "warning (all)",
    )

    @model_validator(mode="after")
    def _consistent(self) -> "KeypointsSettings":
        if self.j > self.k:
            raise ValueError(f"j ({self.j}) must not exceed k ({self.k}); lower j or raise k")
        if self.sigma_limit < self.sigma_start:
            raise ValueError(
                f"sigma_limit ({self.sigma_limit}) is below sigma_start ({self.sigma_start}); raise sigma_limit"
            )
        return self
