"""Settings of the gates: which vessel masks are plausible."""

from typing import ClassVar

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

LCSD500 = {"dense": (25_400, 132_300, 72_600), "sparse": (9_000, 22_000, 11_300), "corrfield": (1_100, 3_600, 2_100)}
"""Points per cloud, minimum, maximum and mean: Heinrich et al., ICCV 2023, supplement, Table 1."""


class Limits(Settings):
    """Limits of one figure; null is no limit."""

    one_line: ClassVar[bool] = True

    min: float | None = Field(None, description="the pair is discarded below this")
    warn_below: float | None = Field(None, description="the pair is flagged for review below this")
    warn_above: float | None = Field(None, description="the pair is flagged for review above this")
    max: float | None = Field(None, description="the pair is discarded above this")

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        given = [value for value in (self.min, self.warn_below, self.warn_above, self.max) if value is not None]
        if given != sorted(given):
            raise ValueError("limits must rise: min <= warn_below <= warn_above <= max")
        return self


class GatesSettings(Settings):
    """Plausible vessel masks: pairs beyond min and max are discarded, beyond the warnings flagged; {} is off."""

    points: Limits = Field(
        Limits(min=12_700, warn_below=LCSD500["dense"][0], warn_above=LCSD500["dense"][1], max=200_000),
        description="vessel voxels of a scan, count; the warnings are the range of LCSD500's dense clouds",
    )
    share: Limits = Field(
        Limits(min=0.01, warn_below=0.02, warn_above=0.1, max=0.2),
        description="volume of the vessels in each lung, of 1 (the lung's volume)",
    )
    balance: Limits = Field(
        Limits(min=0.4, warn_below=0.6), description="ratio of the smaller to the larger share of the two lungs, of 1"
    )
    inside: Limits = Field(Limits(min=0.8, warn_below=0.95), description="vessel voxels inside the lung mask, of 1")
    largest: Limits = Field(
        Limits(min=0.02, warn_below=0.1),
        description="largest connected piece of the vessels, of 1; many small pieces are noise",
    )
    border: Limits = Field(
        Limits(warn_above=0.001, max=0.01),
        description="vessel voxels in the outermost layer of the grid, of 1; many mean that a lung is cut off",
    )
    ratio: Limits = Field(
        Limits(min=0.4, warn_below=0.55), description="ratio of the vessel voxels of the two scans, fewer to more, of 1"
    )
