"""Settings of the vessel mask."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings
from lcsd.settings.totalsegmentator import VesselTaskSettings


class ObjectnessSettings(Settings):
    """Tubularity filter; defaults chosen on phantoms and on a real chest CT moved by a real motion."""

    scales_mm: tuple[float, ...] = Field(
        (0.0,), min_length=1, description="Gaussian sigmas before the Hessian, mm; 0 takes the voxels as they are"
    )
    objectness_weight: float = Field(
        4.0, ge=0, description="HU of contrast that one unit of objectness (HU) is worth, no unit"
    )
    noise_factor: float = Field(
        23.0,
        ge=0,
        description="a vessel voxel's score (contrast + weighted objectness) is above this many times "
        "the scan's noise, no unit",
    )
    least_hu: float = Field(
        200.0, gt=0, description="a vessel voxel's score is at least this, however low the noise, HU"
    )
    seed_factor: float = Field(
        1.25, ge=1, description="each vessel reaches this many times the voxels' threshold somewhere, no unit"
    )
    branch_factor: float = Field(
        7.0,
        gt=0,
        description="as noise_factor, for faint branches that are connected to a vessel; a value of at least "
        "noise_factor adds none, no unit",
    )
    min_branch_mm3: float = Field(300.0, ge=0, description="smaller faint branches are left out, cubic mm")
    margin_mm: float = Field(3.2, ge=0, description="vessels lie further than this from voxels outside the lungs, mm")
    min_volume_mm3: float = Field(10.0, ge=0, description="smaller connected pieces are noise, cubic mm")

    @field_validator("scales_mm")
    @classmethod
    def _not_negative(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if min(scales) < 0:
            raise ValueError(f"scales_mm holds {min(scales)}; give sigmas of at least 0 mm")
        return scales


class VesselsSettings(Settings):
    """Vessel mask."""

    backend: Literal["objectness", "totalsegmentator"] = Field(
        "objectness",
        description="what segments: objectness (tubularity filter, built in) or totalsegmentator (needs its weights)",
    )
    objectness: ObjectnessSettings = Field(ObjectnessSettings(), description="where backend is objectness")
    totalsegmentator: VesselTaskSettings = Field(VesselTaskSettings(), description="where backend is totalsegmentator")
