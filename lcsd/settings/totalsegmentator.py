"""Settings of a run of TotalSegmentator, shared by the stages that can use it."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings


class TotalSegmentatorSettings(Settings):
    """How TotalSegmentator is called; with every option that changes the result."""

    weights: Path | None = Field(
        None,
        description="folder with the Dataset... folders of the weights; null: TOTALSEG_WEIGHTS_PATH, or else "
        "TotalSegmentator's folder in the home folder",
    )
    hashes: Path | None = Field(
        None,
        description="file of recorded SHA-256 of the weights (lcsd weights check --record); null: the file in the "
        "user's configuration folder, if there is one",
    )
    robust_crop: bool = Field(
        False,
        description="find the lungs for the crop with the 3 mm model (dataset 297) instead of the 6 mm model (298)",
    )
    resampling_order: int = Field(
        1,
        ge=0,
        le=3,
        description="order of the spline that resamples the scan to a model's voxel size, no unit (TotalSegmentator's "
        "default: 1 since 2.16, 3 before)",
    )
    limit_s: float = Field(7200.0, gt=0, description="time limit of the run, s")


class VesselTaskSettings(TotalSegmentatorSettings):
    """TotalSegmentator for vessels."""

    task: Literal["lung_vessels_LEGACY", "lung_vessels"] = Field(
        "lung_vessels_LEGACY",
        description="lung_vessels_LEGACY: the model of LCSD500, one label; lung_vessels: arteries (1) and veins (2)",
    )
    outside_mm: float = Field(0.0, ge=0, description="vessels farther than this outside the lung mask are cut, mm")


class LobeTaskSettings(TotalSegmentatorSettings):
    """TotalSegmentator for lungs: task total, the five lobes."""

    model: Literal["fast", "fastest"] = Field(
        "fast", description="fast: the 3 mm model (dataset 297); fastest: the 6 mm model (298)"
    )
