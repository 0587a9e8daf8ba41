"""Settings of the selection of pairs by their motion."""

from pydantic import Field

from lcsd.names import CaseName
from lcsd.settings.base import Settings


class SelectSettings(Settings):
    """Pairs with the strongest motion for training, and the test cases."""

    count: int = Field(
        550, ge=1, description="training pairs to select, those with the lowest Dice coefficients, count"
    )
    exclude: list[CaseName] = Field([], description="names of cases to leave out")
    test_count: int = Field(15, ge=1, description="test cases to select, those with the largest displacements, count")
    min_correspondences: int | None = Field(
        500, ge=0, description="smallest number of correspondences of a test case, count; null: off"
    )
    min_kept: float | None = Field(
        0.4,
        ge=0,
        le=1,
        description="smallest share of keypoints that the last stage of corrfield keeps, of 1; null: off",
    )
    max_inconsistency_mm: float | None = Field(
        3.0,
        ge=0,
        description="largest median forward-backward distance of the keypoints at the last stage of corrfield, mm; "
        "null: off",
    )
