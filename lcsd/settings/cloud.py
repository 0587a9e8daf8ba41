"""Settings of the dense cloud."""

from pydantic import Field, model_validator

from lcsd.settings.base import Settings


class CloudSettings(Settings):
    """Dense cloud: one point per vessel voxel."""

    gate_min_points: int | None = Field(
        None, ge=0,
        description="fewer points than this are implausible (gate); none switches it off",
    )  # fmt: skip
    gate_max_points: int | None = Field(
        None, ge=1,
        description="more points than this are implausible (gate); none switches it off",
    )  # fmt: skip

    @model_validator(mode="after")
    def _consistent(self) -> "CloudSettings":
        low, high = self.gate_min_points, self.gate_max_points
        if low is not None and high is not None and low > high:
            raise ValueError(
                f"gate_min_points ({low}) exceeds gate_max_points ({high}); swap or correct them"
            )
        return self
