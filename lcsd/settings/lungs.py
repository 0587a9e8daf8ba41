"""Settings of the lung mask."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings
from lcsd.settings.totalsegmentator import LobeTaskSettings


class LungsSettings(Settings):
    """Lung mask; what says nothing else belongs to the classical method."""

    method: Literal["classical", "totalsegmentator"] = Field(
        "classical",
        description="what segments: classical (thresholds, connected components, morphology; built "
        "in) or totalsegmentator (union of its five lobes; needs its weights)",
    )

    expected_lungs: Literal["auto", "1", "2"] = Field(
        "auto",
        description="both methods: how many lungs the scan shows; auto keeps the largest one or two of plausible size",
    )
    working_spacing_mm: float = Field(
        1.5, gt=0.4, le=4, description="voxels are averaged to about this size while segmenting, mm"
    )
    air_below_hu: float = Field(-400.0, gt=-900, lt=-100, description="lung tissue lies below this, HU")
    gas_below_hu: float = Field(
        -955.0,
        gt=-1000,
        lt=-850,
        description="an air space whose median is below this is gas or room air, not lung, HU",
    )
    min_lung_ml: float = Field(150.0, gt=0, description="both methods: smaller ones are not lungs, ml")
    second_lung_fraction: float = Field(
        0.2, gt=0, le=1, description="both methods: size of the second lung against the first, at least, of 1"
    )
    closing_mm: float = Field(
        10.0, ge=0, description="gaps of vessels and bronchi up to twice this width are closed, mm"
    )
    airway_limit_ml: float = Field(
        120.0, gt=0, description="a trachea and bronchi larger than this have leaked into the lung, ml"
    )
    airway_wall_mm: float = Field(2.0, ge=0, description="thickness taken off around airways, mm")
    totalsegmentator: LobeTaskSettings = Field(LobeTaskSettings(), description="where method is totalsegmentator")
