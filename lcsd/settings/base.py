"""Base of all settings sections."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable settings; unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    one_line: ClassVar[bool] = False
    """Whether the default configuration shows a section within a section on one line."""
