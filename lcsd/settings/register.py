"""Settings: DiVRoC registration."""

from lcsd.settings.base import Settings


class RegisterSettings(Settings):
    """DiVRoC registration."""
