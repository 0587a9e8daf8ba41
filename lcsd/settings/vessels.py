"""Settings of the vessel mask."""

from typing import Literal

from pydantic import Field, field_validator

from lcsd.settings.base import Settings
from lcsd.settings.totalsegmentator import VesselTaskSettings


class ObjectnessSettings(Settings):
    """Tubularity filter; defaults chosen on phantoms and on a real chest CT moved by a real motion."""

    scales_mm: tuple[float, ...] = Field(
        (0.0,), min_length=1, description="Gaussian sigmas before the Hessian, mm; 0 uses the voxels as they are"
    )
    objectness_weight: float = Field(
        4.0, ge=0, description="weight of one unit of objectness relative to contrast, HU per HU, no unit"
    )
    max_share: float = Field(
        0.06,
        gt=0,
        lt=1,
        description="share of the lung's voxels with the largest scores (contrast + weighted objectness) that are "
        "vessel, no unit; margin_mm is left out",
    )
    noise_factor: float = Field(
        8.0, ge=0, description="smallest score of a vessel voxel, as a multiple of the scan's noise, no unit"
    )
    min_hu: float = Field(50.0, gt=0, description="smallest score of a vessel voxel, however low the noise, HU")
    sure_hu: float = Field(
        400.0,
        gt=0,
        description="voxels above this score are vessel even if that is more than max_share (consolidated lung), HU",
    )
    margin_mm: float = Field(3.2, ge=0, description="smallest distance of vessels from voxels outside the lungs, mm")
    min_volume_mm3: float = Field(10.0, ge=0, description="smaller connected pieces are removed as noise, cubic mm")

    @field_validator("scales_mm")
    @classmethod
    def _not_negative(cls, scales: tuple[float, ...]) -> tuple[float, ...]:
        if min(scales) < 0:
            raise ValueError(f"scales_mm holds {min(scales)}; give sigmas of at least 0 mm")
        return scales


class VesselsSettings(Settings):
    """Vessel mask."""

    backend: Literal["objectness", "totalsegmentator"] = Field(
        "objectness", description="objectness (tubularity filter, built in) or totalsegmentator (needs its weights)"
    )
    objectness: ObjectnessSettings = Field(ObjectnessSettings(), description="used if backend is objectness")
    totalsegmentator: VesselTaskSettings = Field(
        VesselTaskSettings(), description="used if backend is totalsegmentator"
    )
