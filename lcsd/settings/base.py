"""Base of all sections of settings."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Immutable settings; unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    one_line: ClassVar[bool] = False
    """Whether the default configuration prints this section on one line if it is inside another section."""
