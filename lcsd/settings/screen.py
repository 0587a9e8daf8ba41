"""Settings of the screening of a candidate pair by its lung masks."""

from typing import Literal

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class ScreenSettings(Settings):
    """Motion of a candidate pair, measured by its lung masks, and limits for these masks."""

    masks: Literal["made", "published"] = Field(
        "made",
        description="lung masks of candidates: made by the stage lungs (made), or the segmentations published in the "
        "IDC (published), which selected cases keep",
    )
    spacing_mm: float = Field(3.0, ge=1, le=6, description="voxel size of the alignment and the Dice coefficient, mm")
    min_lungs: int | None = Field(2, ge=1, le=2, description="smallest number of lungs in each scan, count; null: off")
    min_volume_l: float | None = Field(
        1.5, ge=0, description="smallest volume of both lungs in each scan, litres; null: off"
    )
    max_volume_l: float | None = Field(
        10.0, gt=0, description="largest volume of both lungs in each scan, litres; null: off"
    )
    min_volume_ratio: float | None = Field(
        0.5, ge=0, le=1, description="smallest ratio of the two scans' volumes, smaller to larger, of 1; null: off"
    )
    min_balance: float | None = Field(
        0.4, ge=0, le=1, description="smallest ratio of a scan's two lungs, smaller to larger, of 1; null: off"
    )
    min_balance_change: float | None = Field(
        0.7,
        ge=0,
        le=1,
        description="smallest agreement of the two scans' ratios of right to left lung, smaller to larger ratio, of 1; "
        "null: off",
    )
    max_border_cm2: float | None = Field(
        20.0, ge=0, description="largest area of lung on one face of a scan, where the lung is cut off, cm2; null: off"
    )
    min_shared: float | None = Field(
        0.9, ge=0, le=1, description="smallest share of each mask that both scans show after alignment, of 1; null: off"
    )
    min_dice: float | None = Field(
        0.6, ge=0, le=1, description="smallest Dice coefficient of the aligned masks, of 1; null: off"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "ScreenSettings":
        least, most = self.min_volume_l, self.max_volume_l
        if least is not None and most is not None and least >= most:
            raise ValueError(f"min_volume_l ({least}) must be below max_volume_l ({most}); swap them")
        return self
