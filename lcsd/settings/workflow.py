"""Settings of the workflow: how stages are put together."""

from typing import Literal

from pydantic import Field

from lcsd.settings.base import Settings


class WorkflowSettings(Settings):
    """How the workflow connects the stages."""

    registration_cloud: Literal["dense", "keypoints"] = Field(
        "dense", description="clouds that DiVRoC registers: dense or keypoints (sparse)"
    )
    field_mm: float = Field(
        3.0, gt=0, description="spacing of the displacement fields that correspond and register write, mm"
    )
    device: Literal["cpu", "cuda"] = Field(
        "cpu",
        description="device of the stages that support a GPU (correspond, register, and those that use "
        "TotalSegmentator); with cuda each of their jobs takes one unit of the resource gpu",
    )
