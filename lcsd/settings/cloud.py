"""Settings of the dense cloud."""

from pydantic import Field

from lcsd.settings.base import Settings


class CloudSettings(Settings):
    """Dense cloud: one point per vessel voxel."""

    max_volume_ml: float = Field(
        1500.0,
        gt=0,
        description="a larger mask is no vessel mask and is refused, ml; the largest cloud of LCSD500 has 450 ml",
    )
