"""Settings of the vessel mask."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings


class VesselsSettings(Settings):
    """Vessel mask; the defaults were chosen on the phantom's truth (seeds 0-9)."""

    backend: Literal["objectness"] = Field(
        "objectness", description="what segments: objectness (tubularity filter, built in)"
    )
    scales_mm: tuple[float, ...] = Field(
        (0.0, 1.5), min_length=1,
        description="Gaussian sigmas before the Hessian, mm; 0 takes the voxels as they are",
    )  # fmt: skip
    objectness_weight: float = Field(
        4.0, ge=0, description="HU of contrast that one unit of objectness (HU) is worth, no unit"
    )
    low_hu: float = Field(
        370.0, gt=0, description="score (contrast + weighted objectness) of a vessel voxel, HU"
    )
    high_hu: float = Field(
        500.0, gt=0, description="score that each vessel must reach somewhere, HU"
    )
    margin_mm: float = Field(
        2.0, ge=0, description="vessels lie further than this from voxels outside the lungs, mm"
    )
    min_volume_mm3: float = Field(
        20.0, ge=0, description="smaller connected pieces are noise, cubic mm"
    )

    @field_validator("scales_mm")
    @classmethod
    def _not_negative(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if min(scales) < 0:
            raise ValueError(f"scales_mm holds {min(scales)}; give sigmas of at least 0 mm")
        return scales
