"""Settings of the selection of pairs by their motion."""

from pydantic import Field

from lcsd.names import CaseName
from lcsd.settings.base import Settings


class SelectSettings(Settings):
    """Pairs with the strongest motion for training, and the test cases."""

    count: int = Field(550, ge=1, description="training pairs to select, those of the lowest Dice, count")
    exclude: list[CaseName] = Field([], description="cases to leave out, names")
    test_count: int = Field(15, ge=1, description="test cases to select, those of the largest displacement, count")
    correspondences_least: int | None = Field(
        500, ge=0, description="fewest correspondences of a test case, count; null: off"
    )
    kept_least: float | None = Field(
        0.4, ge=0, le=1, description="least share of keypoints that corrfield's last stage keeps, of 1; null: off"
    )
    inconsistency_most_mm: float | None = Field(
        3.0,
        ge=0,
        description="largest median distance between a keypoint and where the way there and back "
        "ends, at corrfield's last stage, mm; null: off",
    )
