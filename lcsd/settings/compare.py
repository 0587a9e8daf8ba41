"""Settings of the statistics over cases and between methods."""

from pydantic import Field

from lcsd.settings.base import Settings


class CompareSettings(Settings):
    """Comparison of methods over cases."""

    confidence: float = Field(0.95, gt=0, lt=1, description="confidence of the intervals of means over cases, of 1")
    resamples: int = Field(10_000, ge=100, description="bootstrap samples of the cases for one interval, count")
    significance: float = Field(
        0.01, gt=0, lt=1, description="differences with a smaller corrected p-value are marked in the table, of 1"
    )
