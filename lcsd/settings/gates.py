"""Settings of the gates: which vessel masks are plausible."""

from typing import ClassVar

from pydantic import Field, model_validator

from lcsd.settings.base import Settings

LCSD500 = {"dense": (25_400, 132_300, 72_600), "sparse": (9_000, 22_000, 11_300), "corrfield": (1_100, 3_600, 2_100)}
"""Points per cloud, minimum, maximum and mean: Heinrich et al., ICCV 2023, supplement, Table 1."""


class Limits(Settings):
    """Limits of one figure; null is no limit."""

    one_line: ClassVar[bool] = True

    least: float | None = Field(None, description="below: the pair is discarded")
    usual_least: float | None = Field(None, description="below: flagged for a look")
    usual_most: float | None = Field(None, description="above: flagged for a look")
    most: float | None = Field(None, description="above: the pair is discarded")

    @model_validator(mode="after")
    def _in_order(self) -> "Limits":
        given = [value for value in (self.least, self.usual_least, self.usual_most, self.most) if value is not None]
        if given != sorted(given):
            raise ValueError("limits must not fall: least <= usual_least <= usual_most <= most")
        return self


class GatesSettings(Settings):
    """Vessel masks: discarded beyond least and most, flagged beyond the usual; {} is off."""

    points: Limits = Field(
        Limits(least=12_700, usual_least=LCSD500["dense"][0], usual_most=LCSD500["dense"][1], most=200_000),
        description="vessel voxels of a scan, count; usual: the points of LCSD500's dense clouds",
    )
    share: Limits = Field(
        Limits(least=0.01, usual_least=0.02, usual_most=0.1, most=0.2),
        description="vessel volume of each lung against the lung's, of 1",
    )
    balance: Limits = Field(
        Limits(least=0.4, usual_least=0.6),
        description="share of the lung with the lesser share against that of the other, of 1",
    )
    inside: Limits = Field(Limits(least=0.8, usual_least=0.95), description="vessel voxels within the lung mask, of 1")
    largest: Limits = Field(
        Limits(least=0.02, usual_least=0.1),
        description="largest connected piece of the vessels, of 1; crumbs are noise",
    )
    border: Limits = Field(
        Limits(usual_most=0.001, most=0.01),
        description="vessel voxels in the outermost layer of the grid, of 1: cut lungs",
    )
    ratio: Limits = Field(
        Limits(least=0.4, usual_least=0.55),
        description="vessel voxels of the scan with fewer against the other's, of 1",
    )
