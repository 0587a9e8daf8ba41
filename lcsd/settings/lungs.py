"""Settings of the lung mask."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings
from lcsd.settings.totalsegmentator import LobeTaskSettings


class LungsSettings(Settings):
    """Lung mask; keys without a note are for the classical method."""

    method: Literal["classical", "totalsegmentator"] = Field(
        "classical",
        description="classical (thresholds, connected components, morphology; built in) or totalsegmentator (union of "
        "its five lobes; needs its weights)",
    )

    expected_lungs: Literal["auto", "1", "2"] = Field(
        "auto",
        description="both methods: number of lungs in the scan; auto keeps the one or two largest pieces of plausible "
        "size",
    )
    anatomy: Literal["checked", "trusted"] = Field(
        "checked",
        description="all methods and given masks: checked refuses a scan whose windpipe, spine or liver contradict the "
        "axes of its header; trusted takes the header as it is",
    )
    working_spacing_mm: float = Field(
        2.0, gt=0.4, le=4, description="voxels are averaged to about this size for the segmentation, mm"
    )
    air_below_hu: float = Field(-400.0, gt=-900, lt=-100, description="lung tissue is below this, HU")
    gas_below_hu: float = Field(
        -955.0, gt=-1000, lt=-850, description="an air space with a median below this is gas or room air, not lung, HU"
    )
    min_lung_ml: float = Field(150.0, gt=0, description="both methods: smallest volume of a lung, ml")
    second_lung_fraction: float = Field(
        0.2, gt=0, le=1, description="both methods: smallest ratio of the second lung to the first, of 1"
    )
    closing_mm: float = Field(
        10.0, ge=0, description="gaps of vessels and bronchi up to twice this width are closed, mm"
    )
    airway_limit_ml: float = Field(120.0, gt=0, description="a larger airway tree has leaked into the lung, ml")
    airway_wall_mm: float = Field(2.0, ge=0, description="thickness removed around airways, mm")
    totalsegmentator: LobeTaskSettings = Field(LobeTaskSettings(), description="used if method is totalsegmentator")
